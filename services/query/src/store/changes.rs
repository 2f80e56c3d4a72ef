//! The latest changes of the read model, for clients of `GET /live` and for the cached document. Not part of the read
//! model.

use crate::domain::Key;
use kit::store::{Row, SqlError, Tx, values};
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
    /// The event up to which whoever has received the changes up to this one is up to date: the event that caused it, or
    /// a later one where that event was applied late.
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
    pub fn write(self, tx: &Tx<'_>) -> Result<(), SqlError> {
        if self.latest.is_empty() {
            return Ok(());
        }
        let (before, mut place) = last_change(tx)?;
        if self.left_out > 0 {
            tx.execute("DELETE FROM changes", &[])?;
        }
        let first = before + self.left_out + 1;
        let mut last = before;
        for (n, (sequence, post_id, comment_id)) in (first..).zip(&self.latest) {
            let comment_id = comment_id.as_ref().map(CommentId::as_str);
            place = place.max(*sequence);
            let sql = "INSERT INTO changes (n, seq, post_id, comment_id) VALUES ($1, $2, $3, $4)";
            tx.execute(sql, values![n, place.get(), post_id.as_str(), comment_id])?;
            last = n;
        }
        if last / PRUNED_AT_ONCE > before / PRUNED_AT_ONCE {
            tx.execute("DELETE FROM changes WHERE n <= $1", values![last - KEPT_CHANGES])?;
        }
        Ok(())
    }
}

/// Where a post, or a comment of it, stood until now.
pub fn note_move(
    tx: &Tx<'_>,
    post_id: &PostId,
    comment_id: Option<&CommentId>,
    from: &Key,
) -> Result<(), SqlError> {
    let sql = "INSERT INTO moves (post_id, comment_id, at, place) VALUES ($1, $2, $3, $4)";
    let values = values![post_id.as_str(), comment_id.map(CommentId::as_str), from.at, from.place];
    tx.execute(sql, values)?;
    let sql = "DELETE FROM moves WHERE n <= (SELECT max(n) FROM moves) - $1";
    tx.execute(sql, values![KEPT_CHANGES]).map(drop)
}

/// The number of the last change of position.
pub fn last_move(tx: &Tx<'_>) -> Result<i64, SqlError> {
    tx.one("SELECT coalesce(max(n), 0) FROM moves", &[], |row| row.int(0))
}

/// A post that stands elsewhere than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedPost {
    pub from: Key,
    pub to: Key,
}

/// The posts that changed their position after the `n`-th change of position; nothing where some of these changes
/// are not stored any more.
pub fn posts_moved_after(tx: &Tx<'_>, n: i64) -> Result<Option<Vec<MovedPost>>, SqlError> {
    let oldest: Option<i64> = tx.one("SELECT min(n) FROM moves", &[], |row| row.opt_int(0))?;
    if oldest.is_some_and(|oldest| oldest > n + 1) {
        return Ok(None);
    }
    let sql = "
        SELECT moves.at, moves.place, id, posts.at, posts.place FROM moves JOIN posts ON id = post_id
        WHERE n > $1 AND comment_id IS NULL";
    let moved = tx.query(sql, values![n], |row| {
        let id = row.text(2)?.to_owned();
        Ok(MovedPost {
            from: Key { at: row.int(0)?, place: row.int(1)?, id: id.clone() },
            to: Key { at: row.int(3)?, place: row.int(4)?, id },
        })
    });
    moved.map(Some)
}

/// The number of the last change, and the event up to which the read model is up to date with it.
pub fn last_change(tx: &Tx<'_>) -> Result<(i64, Sequence), SqlError> {
    let sql = "SELECT n, seq FROM changes ORDER BY n DESC LIMIT 1";
    let last = tx.first(sql, &[], |row| Ok((row.int(0)?, Sequence::new(row.int(1)?))))?;
    Ok(last.unwrap_or((0, Sequence::START)))
}

/// The number of the first change that is stored.
pub fn first_change(tx: &Tx<'_>) -> Result<Option<i64>, SqlError> {
    tx.one("SELECT min(n) FROM changes", &[], |row| row.opt_int(0))
}

/// Changes after the `n`-th, oldest first.
pub fn changes_after(tx: &Tx<'_>, n: i64, limit: i64) -> Result<Vec<Change>, SqlError> {
    let sql = "SELECT n, seq, post_id, comment_id FROM changes WHERE n > $1 ORDER BY n LIMIT $2";
    tx.query(sql, values![n, limit], read_change)
}

/// The number of the change after which a client resumes that is up to date up to this event, here or on another replica.
///
/// A redriven event is applied late, and on each replica at another time, so its change says to be up to date up to the
/// event before it. If no change says so (any more), the client resumes before the first change that goes further.
/// Receiving a change twice does no harm, as each one carries the current state.
pub fn change_at(tx: &Tx<'_>, sequence: Sequence) -> Result<i64, SqlError> {
    if sequence == Sequence::START {
        return Ok(0);
    }
    let sql = "
        SELECT coalesce(
            (SELECT min(n) FROM changes WHERE seq = $1),
            (SELECT min(n) - 1 FROM changes WHERE seq > $1),
            (SELECT max(n) FROM changes),
            0)";
    tx.one(sql, values![sequence.get()], |row| row.int(0))
}

fn read_change(row: &Row<'_>) -> Result<Change, SqlError> {
    let comment_id = if row.opt_text(3)?.is_some() { Some(row.parsed(3)?) } else { None };
    Ok(Change { n: row.int(0)?, sequence: Sequence::new(row.int(1)?), post_id: row.parsed(2)?, comment_id })
}
