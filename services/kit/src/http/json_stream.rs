//! JSON arrays and objects of any length, read from a store in chunks.
//!
//! Each chunk is a short read of its own, so that neither the memory nor the time of a read grows with what is stored.
//! The reads are made while the client takes the answer: a slow one keeps one chunk, and no snapshot.
//!
//! An answer that fits one chunk has a content length. A failure in the middle cuts the connection off, so that no
//! client takes a part for the whole.

use super::ApiResult;
use super::json::{JSON, json_bytes};
use crate::store::{ReadError, SqlError};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header;
use serde::Serialize;
use std::ops::ControlFlow;

/// A chunk ends with the row that reaches one of these.
const CHUNK_ROWS: usize = 256;
const CHUNK_BYTES: usize = 64 * 1024;

/// Some of the elements of an array, or of the members of an object, and the position of the last one if there are
/// more. Rows are pushed until it breaks.
#[derive(Debug)]
pub struct Chunk<P> {
    /// The opening bracket, and then the rows with commas between them.
    json: Vec<u8>,
    close: u8,
    rows: usize,
    last: Option<P>,
    /// There is a row that was not taken.
    is_full: bool,
}

impl<P> Chunk<P> {
    /// Of an array.
    pub fn array() -> Self {
        Self::new(*b"[]")
    }

    /// Of an object.
    pub fn object() -> Self {
        Self::new(*b"{}")
    }

    fn new([open, close]: [u8; 2]) -> Self {
        Self { json: vec![open], close, rows: 0, last: None, is_full: false }
    }

    /// Takes an element of the array at its position, or breaks.
    pub fn element(&mut self, position: P, value: &impl Serialize) -> Result<ControlFlow<()>, SqlError> {
        self.push(position, |json| serde_json::to_writer(json, value))
    }

    /// Takes a member of the object at its position, or breaks.
    pub fn member(
        &mut self,
        position: P,
        name: &str,
        value: &impl Serialize,
    ) -> Result<ControlFlow<()>, SqlError> {
        self.push(position, |json| {
            serde_json::to_writer(&mut *json, name)?;
            json.push(b':');
            serde_json::to_writer(json, value)
        })
    }

    fn push(
        &mut self,
        position: P,
        write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
    ) -> Result<ControlFlow<()>, SqlError> {
        if self.rows == CHUNK_ROWS || self.json.len() >= CHUNK_BYTES {
            self.is_full = true;
            return Ok(ControlFlow::Break(()));
        }
        if self.rows > 0 {
            self.json.push(b',');
        }
        write(&mut self.json).map_err(SqlError::data)?;
        (self.rows, self.last) = (self.rows + 1, Some(position));
        Ok(ControlFlow::Continue(()))
    }

    /// The JSON, the closing bracket, and the position after which the next chunk begins.
    fn into_parts(self) -> (Vec<u8>, u8, Option<P>) {
        (self.json, self.close, self.last.filter(|_| self.is_full))
    }
}

/// Answers with what `read` reads. It is called with no position for the first chunk, and then with that of the last
/// row of the chunk before.
pub async fn json_stream<P, F, R>(mut read: F) -> ApiResult<Response>
where
    P: Send + 'static,
    F: FnMut(Option<P>) -> R + Send + 'static,
    R: Future<Output = Result<Chunk<P>, ReadError>> + Send,
{
    // The first chunk before the status: what fails later can only cut the answer off.
    let (mut json, close, next) = read(None).await?.into_parts();
    if next.is_none() {
        json.push(close);
        return Ok(json_bytes(json.into()));
    }
    let rest = stream::try_unfold((next, read), move |(position, mut read)| async move {
        let Some(position) = position else { return Ok::<_, ReadError>(None) };
        let chunk = read(Some(position)).await.inspect_err(|error| {
            tracing::error!(%error, "an answer is cut off: the rest of it cannot be read");
        })?;
        let (mut json, _, next) = chunk.into_parts();
        // There may be nothing left.
        if json.len() > 1 {
            json[0] = b',';
        } else {
            json.clear();
        }
        if next.is_none() {
            json.push(close);
        }
        Ok(Some((Bytes::from(json), (next, read))))
    });
    let first = stream::once(std::future::ready(Ok(Bytes::from(json))));
    Ok(([(header::CONTENT_TYPE, JSON)], Body::from_stream(first.chain(rest))).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    type Rows = Arc<Vec<String>>;

    /// Pushes the rows after a position until the chunk is full.
    fn filled(
        mut chunk: Chunk<usize>,
        rows: &Rows,
        position: Option<usize>,
        push: impl Fn(&mut Chunk<usize>, usize, &str) -> Result<ControlFlow<()>, SqlError>,
    ) -> Chunk<usize> {
        for at in position.map_or(0, |at| at + 1)..rows.len() {
            if push(&mut chunk, at, &rows[at]).unwrap().is_break() {
                break;
            }
        }
        chunk
    }

    fn elements(rows: &Rows, position: Option<usize>) -> Chunk<usize> {
        filled(Chunk::array(), rows, position, |chunk, at, row| chunk.element(at, &row))
    }

    fn members(rows: &Rows, position: Option<usize>) -> Chunk<usize> {
        let push = |chunk: &mut Chunk<_>, at: usize, row: &str| chunk.member(at, &format!("{at:09}"), &row);
        filled(Chunk::object(), rows, position, push)
    }

    async fn array(rows: &Rows) -> Response {
        let rows = Arc::clone(rows);
        let read = move |position| std::future::ready(Ok(elements(&rows, position)));
        json_stream(read).await.unwrap()
    }

    async fn object(rows: &Rows) -> Response {
        let rows = Arc::clone(rows);
        let read = move |position| std::future::ready(Ok(members(&rows, position)));
        json_stream(read).await.unwrap()
    }

    async fn bytes(response: Response) -> Bytes {
        to_bytes(response.into_body(), usize::MAX).await.unwrap()
    }

    fn content_length(response: &Response) -> Option<u64> {
        let body = axum::body::HttpBody::size_hint(response.body());
        body.exact()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn however_many_chunks_it_takes_the_bytes_are_those_of_the_whole(
            rows in prop_oneof![
                prop::collection::vec(".{0,8}", 0..3),
                prop::collection::vec(".{0,8}", (CHUNK_ROWS - 1)..(3 * CHUNK_ROWS)),
                prop::collection::vec("x{100,60000}", 0..20),
            ],
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let rows: Rows = Arc::new(rows);
            runtime.block_on(async {
                let whole = serde_json::to_vec(&*rows).unwrap();
                assert_eq!(bytes(array(&rows).await).await, whole);
                let members: BTreeMap<_, _> = rows.iter().enumerate().map(|(at, row)| (format!("{at:09}"), row)).collect();
                assert_eq!(bytes(object(&rows).await).await, serde_json::to_vec(&members).unwrap());
            });
        }
    }

    #[tokio::test]
    async fn what_fits_one_chunk_has_a_length_and_the_rest_is_read_bit_by_bit() {
        let rows = |count: usize, length: usize| Rows::new(vec!["x".repeat(length); count]);
        for (count, length, is_whole) in
            [(0, 0, true), (CHUNK_ROWS, 5, true), (CHUNK_ROWS + 1, 5, false), (2, CHUNK_BYTES, false)]
        {
            let response = array(&rows(count, length)).await;
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
            assert_eq!(content_length(&response).is_some(), is_whole, "{count} of {length}");
            let pieces: Vec<_> = response.into_body().into_data_stream().collect().await;
            for piece in pieces {
                let piece = piece.unwrap();
                let count = piece.split(|b| *b == b',').filter(|row| !row.is_empty()).count();
                assert!(count <= CHUNK_ROWS && piece.len() < CHUNK_BYTES + length + 10, "{count}");
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_read_that_nobody_takes() {
        let rows: Rows = Arc::new(vec!["x".to_owned(); 10 * CHUNK_ROWS]);
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        let read = move |position| {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(elements(&rows, position)))
        };
        let mut body = json_stream(read).await.unwrap().into_body().into_data_stream();
        for chunk in 1..=3 {
            body.next().await.unwrap().unwrap();
            assert_eq!(reads.load(Ordering::Relaxed), chunk);
        }
    }

    #[tokio::test]
    async fn a_failure_at_first_is_an_error_and_later_the_answer_breaks_off() {
        let refuse = |_: Option<usize>| std::future::ready(Err::<Chunk<usize>, _>(ReadError::Stopped));
        assert_eq!(json_stream(refuse).await.unwrap_err().problem().status, 503);

        let rows: Rows = Arc::new(vec!["x".to_owned(); 2 * CHUNK_ROWS]);
        let read = move |position: Option<usize>| {
            std::future::ready(match position {
                None => Ok(elements(&rows, None)),
                Some(_) => Err(ReadError::Stopped),
            })
        };
        let body = json_stream(read).await.unwrap().into_body();
        let pieces: Vec<_> = body.into_data_stream().collect().await;
        assert_eq!(pieces.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
        serde_json::from_slice::<serde_json::Value>(pieces[0].as_ref().unwrap()).unwrap_err();
    }
}
