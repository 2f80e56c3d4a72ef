//! The latest changes of the read model, for clients of `GET /live` and for the cached document. Not part of the read
//! model.

use crate::domain::Key;
use kit::store::parsed;
use rusqlite::{Connection, OptionalExtension, Row};
use shared::{CommentId, PostId, Sequence};
use std::collections::VecDeque;

/// How many changes are stored for clients that reconnect, and how many changes of position.
const KEPT_CHANGES: i64 = 10_000;
/// One change in so many deletes what is beyond.
const PRUNED_AT_ONCE: i64 = 256;
/// The most changes of one delivery that are stored. Where there are more, none before them stays: all clients have to load
/// again what they show.
pub const MOST_OF_A_DELIVERY: usize = 1_024;

/// A change of the read model, for `GET /live`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Counts the changes of this store; never used twice.
    pub n: i64,
    /// The event that caused it.
    pub sequence: Sequence,
    pub post_id: PostId,
    /// `None` if the post itself changed.
    pub comment_id: Option<CommentId>,
}

/// The changes of one delivery that are not stored yet.
#[derive(Debug, Default)]
pub struct NewChanges {
    /// The latest, oldest first.
    latest: VecDeque<(Sequence, PostId, Option<CommentId>)>,
    /// How many there were before these.
    left_out: i64,
}

impl NewChanges {
    pub fn note(&mut self, sequence: Sequence, post_id: &PostId, comment_id: Option<&CommentId>) {
        if self.latest.len() == MOST_OF_A_DELIVERY {
            self.latest.pop_front();
            self.left_out += 1;
        }
        self.latest.push_back((sequence, post_id.clone(), comment_id.cloned()));
    }

    /// Stores them. Those that are left out have numbers, too, so that whoever has read up to before them finds that some
    /// are missing.
    pub fn write(self, tx: &Connection) -> rusqlite::Result<()> {
        if self.latest.is_empty() {
            return Ok(());
        }
        let before = last_change(tx)?.0;
        if self.left_out > 0 {
            tx.prepare_cached("DELETE FROM changes")?.execute([])?;
        }
        let first = before + self.left_out + 1;
        let mut insert =
            tx.prepare_cached("INSERT INTO changes (n, seq, post_id, comment_id) VALUES (?1, ?2, ?3, ?4)")?;
        let mut last = before;
        for (n, (sequence, post_id, comment_id)) in (first..).zip(&self.latest) {
            let comment_id = comment_id.as_ref().map(CommentId::as_str);
            insert.execute((n, sequence.get(), post_id.as_str(), comment_id))?;
            last = n;
        }
        if last / PRUNED_AT_ONCE > before / PRUNED_AT_ONCE {
            tx.prepare_cached("DELETE FROM changes WHERE n <= ?1")?.execute([last - KEPT_CHANGES])?;
        }
        Ok(())
    }
}

/// Where a post, or a comment of it, stood until now.
pub fn note_move(
    tx: &Connection,
    post_id: &PostId,
    comment_id: Option<&CommentId>,
    from: &Key,
) -> rusqlite::Result<()> {
    let n = tx
        .prepare_cached("INSERT INTO moves (post_id, comment_id, at, place) VALUES (?1, ?2, ?3, ?4)")?
        .insert((post_id.as_str(), comment_id.map(CommentId::as_str), from.at, from.place))?;
    tx.prepare_cached("DELETE FROM moves WHERE n <= ?1")?.execute([n - KEPT_CHANGES])?;
    Ok(())
}

/// The number of the last change of position.
pub fn last_move(c: &Connection) -> rusqlite::Result<i64> {
    c.prepare_cached("SELECT coalesce(max(n), 0) FROM moves")?.query_row([], |row| row.get(0))
}

/// A post that stands elsewhere than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedPost {
    pub from: Key,
    pub to: Key,
}

/// The posts that changed their position after the `n`-th change of position; nothing where some of these changes
/// are not stored any more.
pub fn posts_moved_after(c: &Connection, n: i64) -> rusqlite::Result<Option<Vec<MovedPost>>> {
    let oldest: Option<i64> =
        c.prepare_cached("SELECT min(n) FROM moves")?.query_row([], |row| row.get(0))?;
    if oldest.is_some_and(|oldest| oldest > n + 1) {
        return Ok(None);
    }
    let moved = c
        .prepare_cached(
            "SELECT moves.at, moves.place, id, posts.at, posts.place FROM moves JOIN posts ON id = post_id
             WHERE n > ?1 AND comment_id IS NULL",
        )?
        .query_map([n], |row| {
            let id: String = row.get(2)?;
            Ok(MovedPost {
                from: Key { at: row.get(0)?, place: row.get(1)?, id: id.clone() },
                to: Key { at: row.get(3)?, place: row.get(4)?, id },
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(moved))
}

/// The number of the last change, and the sequence of its event.
pub fn last_change(c: &Connection) -> rusqlite::Result<(i64, Sequence)> {
    let last = c
        .prepare_cached("SELECT n, seq FROM changes ORDER BY n DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, Sequence::new(row.get(1)?))))
        .optional()?;
    Ok(last.unwrap_or((0, Sequence::START)))
}

/// The number of the first change that is stored.
pub fn first_change(c: &Connection) -> rusqlite::Result<Option<i64>> {
    c.prepare_cached("SELECT min(n) FROM changes")?.query_row([], |row| row.get(0))
}

/// Changes after the `n`-th, oldest first.
pub fn changes_after(c: &Connection, n: i64, limit: i64) -> rusqlite::Result<Vec<Change>> {
    c.prepare_cached("SELECT n, seq, post_id, comment_id FROM changes WHERE n > ?1 ORDER BY n LIMIT ?2")?
        .query_map([n, limit], read_change)?
        .collect()
}

/// The number of the change that a client received last, found by the sequence of its event.
///
/// A redriven event is applied late although its place in the log is early, so a client resumes after that change and
/// not after that place. If the change is not stored (any more), the client resumes before the first change of a later
/// event. Receiving a change twice does no harm, as each one carries the current state.
pub fn change_at(c: &Connection, sequence: Sequence) -> rusqlite::Result<i64> {
    if sequence == Sequence::START {
        return Ok(0);
    }
    c.prepare_cached(
        "SELECT coalesce(
             (SELECT min(n) FROM changes WHERE seq = ?1),
             (SELECT min(n) - 1 FROM changes WHERE seq > ?1),
             (SELECT max(n) FROM changes),
             0)",
    )?
    .query_row([sequence.get()], |row| row.get(0))
}

fn read_change(row: &Row<'_>) -> rusqlite::Result<Change> {
    let comment_id =
        if row.get_ref(3)? == rusqlite::types::ValueRef::Null { None } else { Some(parsed(row, 3)?) };
    Ok(Change { n: row.get(0)?, sequence: Sequence::new(row.get(1)?), post_id: parsed(row, 2)?, comment_id })
}
