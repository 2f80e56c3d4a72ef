//! One response with the whole document.

use super::Document;
use super::chunk::{Chunk, Overflow, Range, render};
use crate::domain::Key;
use crate::store::{self, Spot};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::header;
use kit::http::{ApiError, ApiResult, json_bytes};
use kit::store::{ReadError, Tx};
use shared::{ProblemKind, Sequence};
use std::collections::BTreeSet;

/// Why a response ends before its document.
#[derive(Debug, thiserror::Error)]
pub(super) enum CutOff {
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is not known any more which posts it has sent.
    #[error("more posts have changed their position than are stored")]
    TooManyMoves,
}

/// Sends the chunks one after another.
#[derive(Debug)]
pub(super) struct Reader {
    document: Document,
    /// The last row sent.
    after: Option<Spot>,
    is_done: bool,
    /// The last change of position that a chunk sent has shown.
    last_move: Option<i64>,
    /// Posts that were sent and now stand behind the last row: they are not sent again.
    skip: BTreeSet<String>,
    /// The event up to which it has to be up to date, at least.
    minimum: Sequence,
    /// The event up to which the first chunk sent is up to date.
    sequence: Option<Sequence>,
}

impl Reader {
    pub fn new(document: Document, minimum: Sequence) -> Self {
        let skip = BTreeSet::new();
        Self { document, after: None, is_done: false, last_move: None, skip, minimum, sequence: None }
    }

    /// The next piece of the document; nothing at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CutOff> {
        while !self.is_done {
            let sequence = self.document.sync(self.minimum).await?;
            self.sequence.get_or_insert(sequence);
            let text = match self.shared().await? {
                Some(text) => text,
                None => self.own().await?,
            };
            if !text.is_empty() {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// The chunk that all readers share, unless this one has to leave posts out.
    async fn shared(&mut self) -> Result<Option<Bytes>, ReadError> {
        if !self.skip.is_empty() {
            return Ok(None);
        }
        let Some(chunk) = self.document.shared(self.after.as_ref(), self.last_move).await? else {
            return Ok(None);
        };
        let last_move = *self.last_move.get_or_insert(chunk.last_move);
        Ok((chunk.last_move == last_move).then(|| self.sent(&chunk)))
    }

    /// A chunk without the posts that this reader has already.
    async fn own(&mut self) -> Result<Bytes, CutOff> {
        let (after, seen) = (self.after.clone(), self.last_move.unwrap_or(0));
        // To where the shared chunks go on.
        let cached = after.as_ref().map(|after| self.document.cached().end_around(after));
        let (until, last_move) = cached.unwrap_or_default();
        let skip = self.skip.clone();
        let mut range = Range { after, until, last_move, overflow: Overflow::Fill, skip };
        let read = move |tx: &Tx<'_>| {
            // In the same snapshot as the rows.
            let Some(moved) = store::posts_moved_after(tx, seen)? else { return Ok(None) };
            let sent = |post: &Key| range.after.as_ref().is_some_and(|after| *post <= after.post);
            let again = moved.into_iter().filter(|post| sent(&post.from) && !sent(&post.to));
            let again: Vec<_> = again.map(|post| post.to.id).collect();
            range.skip.extend(again);
            Ok(Some((render(tx, &range)?, range.skip)))
        };
        let (chunk, skip) = self.document.inner.store.read(read).await?.ok_or(CutOff::TooManyMoves)?;
        self.skip = skip;
        Ok(self.sent(&chunk))
    }

    fn sent(&mut self, chunk: &Chunk) -> Bytes {
        self.last_move = Some(chunk.last_move);
        self.after.clone_from(&chunk.end);
        self.is_done = chunk.end.is_none();
        chunk.text.clone()
    }
}

impl Document {
    /// The whole document: in one piece with its length if it is one chunk, else chunk by chunk. The event `minimum` was
    /// applied. Also returns up to which event it is up to date, at least.
    pub async fn response(&self, minimum: Sequence) -> ApiResult<(Response, Sequence)> {
        let mut reader = Reader::new(self.clone(), minimum);
        let first = reader.next().await.map_err(|error| match error {
            CutOff::Read(error) => error.into(),
            // A reader that has been sent nothing has missed nothing.
            CutOff::TooManyMoves => ApiError::new(ProblemKind::Internal),
        })?;
        let first = first.unwrap_or_default();
        let sequence = reader.sequence.unwrap_or_default();
        if reader.is_done {
            return Ok((json_bytes(first), sequence));
        }
        let rest = stream::try_unfold(reader, async |mut reader| {
            Ok::<_, CutOff>(reader.next().await?.map(|text| (text, reader)))
        });
        let rest = rest.inspect_err(|error| tracing::error!(%error, "a response with all posts is cut off"));
        let body = Body::from_stream(stream::iter([Ok(first)]).chain(rest));
        Ok((([(header::CONTENT_TYPE, "application/json")], body).into_response(), sequence))
    }
}
