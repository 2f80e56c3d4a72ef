//! What an event says, merged into the rows that are known.

use super::{Pending, note_move, post, read_comment};
use crate::domain::{Comment, Post, excerpt};
use rusqlite::{Connection, OptionalExtension};
use shared::events::Status;
use shared::{CommentId, PostId, Sequence, Timestamp};

/// Merges what an event says about a post; returns whether that changed anything.
pub fn merge_post(tx: &Connection, pending: &mut Pending, said: Post) -> rusqlite::Result<bool> {
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
    tx.prepare_cached(
        "INSERT INTO posts (id, title, author, created_at, seq, version, excerpt, approved)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (id) DO UPDATE SET title = excluded.title, author = excluded.author,
             created_at = excluded.created_at, seq = excluded.seq, version = excluded.version,
             excerpt = excluded.excerpt",
    )?
    .execute((
        merged.id.as_str(),
        &merged.title,
        &merged.author,
        merged.position.created_at.map(Timestamp::unix_ms),
        merged.position.sequence.map(Sequence::get),
        merged.version,
        excerpt(&merged.body),
        approved,
    ))?;
    let known_body = known.as_ref().map_or("", |known| known.body.as_str());
    if merged.body != known_body {
        store_body(tx, &merged)?;
    }
    Ok(true)
}

fn store_body(tx: &Connection, post: &Post) -> rusqlite::Result<()> {
    if post.body.is_empty() {
        tx.prepare_cached("DELETE FROM bodies WHERE post_id = ?1")?.execute([post.id.as_str()])?;
    } else {
        tx.prepare_cached("INSERT OR REPLACE INTO bodies (post_id, body) VALUES (?1, ?2)")?
            .execute((post.id.as_str(), &post.body))?;
    }
    Ok(())
}

/// Comments may come before their post.
fn count_approved(tx: &Connection, post: &PostId) -> rusqlite::Result<i64> {
    tx.prepare_cached("SELECT count(*) FROM comments WHERE post_id = ?1 AND status = 'approved'")?
        .query_row([post.as_str()], |row| row.get(0))
}

/// Merges what an event says about a comment; returns whether that changed anything.
///
/// While the log is read anew, these are most statements of all: a comment that is created is nearly always unknown, so
/// it is inserted without a look; one that is updated is nearly always known with an earlier version.
pub fn merge_comment(tx: &Connection, pending: &mut Pending, said: Comment) -> rusqlite::Result<bool> {
    let is_written = if said.origin.is_some() { insert(tx, &said)? } else { update_usual(tx, &said)? };
    if is_written {
        pending.add_approved(approved_in(&said), 1);
        return Ok(true);
    }
    let Some((row, known)) = comment_row(tx, &said.id)? else {
        insert(tx, &said)?;
        pending.add_approved(approved_in(&said), 1);
        return Ok(true);
    };
    let merged = known.clone().merge(said);
    if known == merged {
        return Ok(false);
    }
    if known.origin == merged.origin && known.post_id == merged.post_id {
        update_head(tx, row, &merged)?;
    } else {
        update(tx, row, &merged)?;
        if known.key() != merged.key() || known.post_id != merged.post_id {
            note_move(tx, &merged.post_id, Some(&merged.id), &known.key())?;
        }
    }
    let (before, after) = (approved_in(&known), approved_in(&merged));
    if before != after {
        pending.add_approved(before, -1);
        pending.add_approved(after, 1);
    }
    Ok(true)
}

/// Returns whether the comment is new; otherwise nothing is changed.
fn insert(tx: &Connection, comment: &Comment) -> rusqlite::Result<bool> {
    let (origin, position) = (comment.origin.as_ref(), comment.position());
    let inserted = tx
        .prepare_cached(
            "INSERT INTO comments
                 (id, post_id, created, created_at, seq, author, author_key, version, status, content, reason)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (id) DO NOTHING",
        )?
        .execute((
            comment.id.as_str(),
            comment.post_id.as_str(),
            origin.is_some(),
            position.created_at.map(Timestamp::unix_ms),
            position.sequence.map(Sequence::get),
            origin.map_or("", |o| o.author.as_str()),
            origin.and_then(|o| o.author_key.as_deref()),
            comment.version,
            comment.status.as_str(),
            &comment.content,
            &comment.reason,
        ))?;
    Ok(inserted == 1)
}

/// The usual update: of a comment that is known with an earlier version, that no post counts yet. Returns whether it is
/// one; otherwise nothing is changed.
fn update_usual(tx: &Connection, said: &Comment) -> rusqlite::Result<bool> {
    let updated = tx
        .prepare_cached(
            "UPDATE comments SET version = ?2, status = ?3, content = ?4, reason = ?5
             WHERE id = ?1 AND version < ?2 AND post_id = ?6 AND status <> 'approved'",
        )?
        .execute((
            said.id.as_str(),
            said.version,
            said.status.as_str(),
            &said.content,
            &said.reason,
            said.post_id.as_str(),
        ))?;
    Ok(updated == 1)
}

/// Only what no index holds.
fn update_head(tx: &Connection, row: i64, comment: &Comment) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE comments SET version = ?2, status = ?3, content = ?4, reason = ?5 WHERE rowid = ?1",
    )?
    .execute((row, comment.version, comment.status.as_str(), &comment.content, &comment.reason))
    .map(drop)
}

fn update(tx: &Connection, row: i64, comment: &Comment) -> rusqlite::Result<()> {
    let (origin, position) = (comment.origin.as_ref(), comment.position());
    tx.prepare_cached(
        "UPDATE comments SET post_id = ?2, created = ?3, created_at = ?4, seq = ?5, author = ?6, author_key = ?7
         WHERE rowid = ?1",
    )?
    .execute((
        row,
        comment.post_id.as_str(),
        origin.is_some(),
        position.created_at.map(Timestamp::unix_ms),
        position.sequence.map(Sequence::get),
        origin.map_or("", |o| o.author.as_str()),
        origin.and_then(|o| o.author_key.as_deref()),
    ))?;
    update_head(tx, row, comment)
}

/// A comment, and the number of its row.
fn comment_row(tx: &Connection, id: &CommentId) -> rusqlite::Result<Option<(i64, Comment)>> {
    tx.prepare_cached(
        "SELECT id, post_id, created, created_at, seq, author, author_key, version, status, content, reason, rowid
         FROM comments WHERE id = ?1",
    )?
    .query_row([id.as_str()], |row| Ok((row.get(11)?, read_comment(row)?)))
    .optional()
}

/// The post that counts this comment.
fn approved_in(comment: &Comment) -> Option<&PostId> {
    (comment.status == Status::Approved).then_some(&comment.post_id)
}
