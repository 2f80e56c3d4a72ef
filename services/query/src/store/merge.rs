//! What an event says, merged into the rows that are known.

use super::{Pending, comment, note_move, post};
use crate::domain::{Comment, Post, excerpt};
use kit::store::{SqlError, Tx, Value, values};
use shared::events::Status;
use shared::{PostId, Sequence, Timestamp};

/// Merges what an event says about a post; returns whether that changed anything.
pub fn merge_post(tx: &Tx<'_>, pending: &mut Pending, said: Post) -> Result<bool, SqlError> {
    let known = post(tx, &said.id)?;
    let merged = known.clone().map_or(said.clone(), |known| known.merge(said));
    if known.as_ref() == Some(&merged) {
        return Ok(false);
    }
    if let Some(known) = known.as_ref().filter(|known| known.key() != merged.key()) {
        note_move(tx, &merged.id, None, &known.key())?;
    }
    let approved = if known.is_some() {
        0
    } else {
        pending.counted(&merged.id);
        count_approved(tx, &merged.id)?
    };
    // An update leaves `approved` alone: the comments have been counted.
    tx.execute(
        "INSERT INTO posts (id, title, author, created_at, seq, version, excerpt, approved)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET title = excluded.title, author = excluded.author,
             created_at = excluded.created_at, seq = excluded.seq, version = excluded.version,
             excerpt = excluded.excerpt",
        values![
            merged.id.as_str(),
            &merged.title,
            &merged.author,
            merged.position.created_at.map(Timestamp::unix_ms),
            merged.position.sequence.map(Sequence::get),
            merged.version,
            &excerpt(&merged.body),
            approved,
        ],
    )?;
    let known_body = known.as_ref().map_or("", |known| known.body.as_str());
    if merged.body != known_body {
        store_body(tx, &merged)?;
    }
    Ok(true)
}

fn store_body(tx: &Tx<'_>, post: &Post) -> Result<(), SqlError> {
    if post.body.is_empty() {
        tx.execute("DELETE FROM bodies WHERE post_id = $1", values![post.id.as_str()])?;
    } else {
        let sql = "INSERT OR REPLACE INTO bodies (post_id, body) VALUES ($1, $2)";
        tx.execute(sql, values![post.id.as_str(), &post.body])?;
    }
    Ok(())
}

/// Comments may come before their post.
fn count_approved(tx: &Tx<'_>, post: &PostId) -> Result<i64, SqlError> {
    let sql = "SELECT count(*) FROM comments WHERE post_id = $1 AND status = 'approved'";
    tx.one(sql, values![post.as_str()], |row| row.int(0))
}

/// Merges what an event says about a comment; returns whether that changed anything.
///
/// While the log is read anew, these are most statements of all: a comment that is created is nearly always unknown, so
/// it is inserted without a look; one that is updated is nearly always known with an earlier version.
pub fn merge_comment(tx: &Tx<'_>, pending: &mut Pending, said: Comment) -> Result<bool, SqlError> {
    let is_written = if said.origin.is_some() { insert(tx, &said)? } else { update_usual(tx, &said)? };
    if is_written {
        pending.add_approved(approved_in(&said), 1);
        return Ok(true);
    }
    let Some(known) = comment(tx, &said.id)? else {
        insert(tx, &said)?;
        pending.add_approved(approved_in(&said), 1);
        return Ok(true);
    };
    let merged = known.clone().merge(said);
    if known == merged {
        return Ok(false);
    }
    update(tx, &merged)?;
    if known.key() != merged.key() || known.post_id != merged.post_id {
        note_move(tx, &merged.post_id, Some(&merged.id), &known.key())?;
    }
    let (before, after) = (approved_in(&known), approved_in(&merged));
    if before != after {
        pending.add_approved(before, -1);
        pending.add_approved(after, 1);
    }
    Ok(true)
}

/// What a comment's columns hold, in the order of [`super::COMMENT`].
fn columns(comment: &Comment) -> [Value<'_>; 11] {
    let (origin, position) = (comment.origin.as_ref(), comment.position());
    [
        comment.id.as_str().into(),
        comment.post_id.as_str().into(),
        origin.is_some().into(),
        position.created_at.map(Timestamp::unix_ms).into(),
        position.sequence.map(Sequence::get).into(),
        origin.map_or("", |o| o.author.as_str()).into(),
        origin.and_then(|o| o.author_key.as_deref()).into(),
        comment.version.into(),
        comment.status.as_str().into(),
        (&comment.content).into(),
        (&comment.reason).into(),
    ]
}

/// Returns whether the comment is new; otherwise nothing is changed.
fn insert(tx: &Tx<'_>, comment: &Comment) -> Result<bool, SqlError> {
    let sql = "
        INSERT INTO comments
            (id, post_id, created, created_at, seq, author, author_key, version, status, content, reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (id) DO NOTHING";
    Ok(tx.execute(sql, &columns(comment))? == 1)
}

/// The usual update: of a comment that is known with an earlier version, that no post counts yet. Returns whether it is
/// one; otherwise nothing is changed.
fn update_usual(tx: &Tx<'_>, said: &Comment) -> Result<bool, SqlError> {
    let updated = tx.execute(
        "UPDATE comments SET version = $1, status = $2, content = $3, reason = $4
         WHERE id = $5 AND version < $1 AND post_id = $6 AND status <> 'approved'",
        values![
            said.version,
            said.status.as_str(),
            &said.content,
            &said.reason,
            said.id.as_str(),
            said.post_id.as_str(),
        ],
    )?;
    Ok(updated == 1)
}

/// The unusual update: of everything.
fn update(tx: &Tx<'_>, comment: &Comment) -> Result<(), SqlError> {
    let sql = "
        UPDATE comments SET
            (id, post_id, created, created_at, seq, author, author_key, version, status, content, reason) =
            ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        WHERE id = $1";
    tx.execute(sql, &columns(comment)).map(drop)
}

/// The post that counts this comment.
fn approved_in(comment: &Comment) -> Option<&PostId> {
    (comment.status == Status::Approved).then_some(&comment.post_id)
}
