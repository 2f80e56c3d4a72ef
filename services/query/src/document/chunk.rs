//! A piece of the document, rendered from the spot where it begins and nothing else.

use crate::store::{Entry, Spot, last_move, rows_after};
use bytes::Bytes;
use kit::store::{SqlError, Tx};
use serde::Serialize;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// The most rows in a chunk.
pub(super) const MAX_ROWS: usize = if cfg!(test) { 6 } else { 512 };
/// The most bytes in a chunk of more than one row.
pub(super) const MAX_BYTES: usize = if cfg!(test) { 500 } else { 256 * 1024 };

/// A piece of the document.
#[derive(Debug)]
pub(super) struct Chunk {
    pub text: Bytes,
    /// Where the next chunk begins; nothing where the document ends with this one.
    pub end: Option<Spot>,
    /// The last change of position that it shows.
    pub last_move: i64,
}

/// What to do with more rows than fit into one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overflow {
    /// As many as fit: for a range that was never rendered.
    Fill,
    /// About half of them: for a chunk that has grown, which would be cut again with the next new row otherwise.
    Halve,
}

/// What to render.
#[derive(Debug)]
pub(super) struct Range {
    /// The rows after this one; all rows where there is none.
    pub after: Option<Spot>,
    /// The rows up to this one; to the end of the document where there is none.
    pub until: Option<Spot>,
    /// The last change of position when that was a row.
    pub last_move: i64,
    pub overflow: Overflow,
    /// The ids of posts to leave out.
    pub skip: BTreeSet<String>,
}

/// Renders the rows of a range, or as many as fit into a chunk.
pub(super) fn render(tx: &Tx<'_>, range: &Range) -> Result<Chunk, SqlError> {
    let last_move = last_move(tx)?;
    // The next chunk goes on after a row: a chunk must not end with what is none any more.
    let until = range.until.as_ref().filter(|_| last_move == range.last_move);
    let mut draft = Draft::after(range.after.clone());
    let mut is_full = false;
    rows_after(tx, range.after.as_ref(), |spot, entry| {
        if until.is_some_and(|until| spot > *until) {
            return Ok(ControlFlow::Break(()));
        }
        if !range.skip.contains(&spot.post.id) {
            is_full = !draft.push(spot, &entry)?;
        }
        Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if is_full {
        if let (Overflow::Halve, Some((length, spot))) = (range.overflow, draft.half.take()) {
            draft.text.truncate(length);
            draft.last = Some(spot);
        }
    } else if until.is_none() {
        draft.finish();
    }
    let end = if is_full { draft.last } else { until.cloned() };
    Ok(Chunk { text: draft.text.into(), end, last_move })
}

/// The text of a chunk so far. What a row writes depends on the row before it alone.
struct Draft {
    text: Vec<u8>,
    rows: usize,
    /// The last row written, here or in an earlier chunk.
    last: Option<Spot>,
    /// Length and last row when the chunk was half full.
    half: Option<(usize, Spot)>,
}

impl Draft {
    fn after(last: Option<Spot>) -> Self {
        let text = if last.is_none() { b"{".to_vec() } else { Vec::new() };
        Self { text, rows: 0, last, half: None }
    }

    /// Writes a row, unless the chunk is full; returns whether it did.
    fn push(&mut self, spot: Spot, entry: &Entry) -> Result<bool, SqlError> {
        if self.rows == MAX_ROWS {
            return Ok(false);
        }
        let length = self.text.len();
        match entry {
            Entry::Post(post) => {
                if self.last.is_some() {
                    self.text.extend_from_slice(b"]},");
                }
                self.write(&post.id)?;
                self.text.push(b':');
                self.write(&post.headline())?;
                // The object goes on with its comments.
                self.text.pop();
                self.text.extend_from_slice(b",\"comments\":[");
            }
            Entry::Comment(comment) => {
                if self.last.as_ref().is_some_and(|last| last.comment.is_some()) {
                    self.text.push(b',');
                }
                self.write(&comment.view(None))?;
            }
        }
        if self.rows > 0 && self.text.len() > MAX_BYTES {
            self.text.truncate(length);
            return Ok(false);
        }
        self.rows += 1;
        let is_half = self.rows >= MAX_ROWS / 2 || self.text.len() >= MAX_BYTES / 2;
        if is_half && self.half.is_none() {
            self.half = Some((self.text.len(), spot.clone()));
        }
        self.last = Some(spot);
        Ok(true)
    }

    fn write(&mut self, value: &impl Serialize) -> Result<(), SqlError> {
        serde_json::to_writer(&mut self.text, value).map_err(SqlError::data)
    }

    fn finish(&mut self) {
        self.text.extend_from_slice(if self.last.is_some() { b"]}}" } else { b"}" });
    }
}
