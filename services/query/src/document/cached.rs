//! Which chunks are rendered, and which of them are out of date.

use super::chunk::{Chunk, Overflow, Range};
use crate::store::{Spot, Touched};
use shared::Sequence;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// The chunks as of a commit. Their ranges do not overlap, but may leave gaps.
#[derive(Debug)]
pub(super) struct Cached {
    /// Up to this commit the chunks are up to date.
    commit: Option<u64>,
    /// The last change that they may show; nothing before the first reader.
    last_change: Option<i64>,
    place: Place,
    last_move: i64,
    /// By the row before them.
    slots: BTreeMap<Option<Spot>, Slot>,
    /// The length of all rendered chunks.
    bytes: usize,
    budget: usize,
}

/// Up to which event a read model is up to date.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// The last one that was applied.
    pub cursor: Sequence,
    /// The last one that changed anything.
    pub sequence: Sequence,
}

/// A chunk, rendered or not.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    /// Its last row, if it is not cut shorter; nothing for the end of the document.
    until: Option<Spot>,
    /// The last change of position when it was.
    last_move: i64,
    overflow: Overflow,
    /// The bytes that are counted for it.
    counted: usize,
    pub chunk: Arc<OnceCell<Arc<Chunk>>>,
}

impl Slot {
    fn new(until: Option<Spot>, last_move: i64, overflow: Overflow) -> Self {
        Self { until, last_move, overflow, counted: 0, chunk: Arc::default() }
    }

    pub fn range(&self, after: Option<&Spot>) -> Range {
        Range {
            after: after.cloned(),
            until: self.until.clone(),
            last_move: self.last_move,
            overflow: self.overflow,
            skip: BTreeSet::new(),
        }
    }

    /// Its last row; nothing for the end of the document.
    fn end(&self) -> Option<&Spot> {
        self.chunk.get().map_or(self.until.as_ref(), |chunk| chunk.end.as_ref())
    }

    /// Whether it ends after this row.
    fn goes_beyond(&self, row: &Spot) -> bool {
        self.end().is_none_or(|end| end > row)
    }
}

impl Cached {
    pub fn new(budget: usize) -> Self {
        let (slots, place) = (BTreeMap::new(), Place::default());
        Self { commit: None, last_change: None, place, last_move: 0, slots, bytes: 0, budget }
    }

    /// Up to which event the chunks are up to date, if that is up to this commit and up to the event `minimum`.
    pub fn up_to(&self, commit: u64, minimum: Sequence) -> Option<Sequence> {
        let is_up_to = self.commit.is_some_and(|at| at >= commit) && self.place.cursor >= minimum;
        is_up_to.then_some(self.place.sequence)
    }

    pub fn last_change(&self) -> Option<i64> {
        self.last_change
    }

    /// Takes note of the changes after the last one that was noted, or of some of them: `newest` is the last one of
    /// all. Where it is not known any more what has changed, or where a row has changed its position, no chunk is kept.
    pub fn apply(
        &mut self,
        commit: u64,
        touched: Option<Touched>,
        newest: i64,
        last_move: i64,
        place: Place,
    ) {
        match touched {
            Some(touched) if last_move == self.last_move => {
                for row in &touched.spots {
                    self.invalidate(row);
                }
                self.last_change = Some(touched.last);
                if touched.last < newest {
                    return;
                }
            }
            _ => {
                self.slots.clear();
                self.bytes = 0;
                self.last_change = Some(newest);
                self.last_move = last_move;
            }
        }
        (self.commit, self.place) = (Some(commit), place);
    }

    fn invalidate(&mut self, row: &Spot) {
        let before_row = (Bound::Unbounded, Bound::Excluded(Some(row.clone())));
        let Some((_, slot)) = self.slots.range_mut(before_row).next_back() else { return };
        if slot.goes_beyond(row) || slot.end() == Some(row) {
            self.bytes -= slot.counted;
            *slot = Slot::new(slot.end().cloned(), self.last_move, Overflow::Halve);
        }
    }

    /// The slot of the chunk that begins after a row; nothing where that row is within another chunk, or may be no row
    /// any more: `last_move` is the last change of position when it was.
    pub fn slot(&mut self, after: Option<&Spot>, last_move: Option<i64>) -> Option<Slot> {
        if last_move.is_some_and(|last_move| last_move != self.last_move) {
            return None;
        }
        let after = after.cloned();
        if let Some(slot) = self.slots.get(&after) {
            return Some(slot.clone());
        }
        // The one before may end with this row, but not after it.
        let earlier = self.slots.range(..&after).next_back();
        if let (Some(row), Some((_, slot))) = (&after, earlier)
            && slot.goes_beyond(row)
        {
            return None;
        }
        let later = self.slots.range((Bound::Excluded(&after), Bound::Unbounded)).next();
        let until = later.and_then(|(after, _)| after.clone());
        let slot = Slot::new(until, self.last_move, Overflow::Fill);
        self.slots.insert(after, slot.clone());
        Some(slot)
    }

    /// Where the chunk ends that a row is in, and the last change of position when that is a row.
    pub fn end_around(&self, row: &Spot) -> (Option<Spot>, i64) {
        let earlier = self.slots.range(..Some(row.clone())).next_back();
        let end = earlier.and_then(|(_, slot)| slot.end()).filter(|end| *end > row);
        (end.cloned(), self.last_move)
    }

    /// Counts a chunk that was rendered just now, or gives it up where there are too many.
    pub fn keep(&mut self, after: Option<&Spot>, slot: &Slot, length: usize) {
        let after = after.cloned();
        let kept = self.slots.get_mut(&after).filter(|kept| Arc::ptr_eq(&kept.chunk, &slot.chunk));
        // Out of date already.
        let Some(kept) = kept else { return };
        if self.bytes + length > self.budget {
            self.slots.remove(&after);
        } else {
            kept.counted = length;
            self.bytes += length;
        }
    }

    #[cfg(test)]
    pub fn kept_bytes(&self) -> usize {
        let kept = self.slots.values().filter_map(|slot| slot.chunk.get());
        assert_eq!(self.bytes, kept.map(|chunk| chunk.text.len()).sum::<usize>());
        self.bytes
    }
}
