//! What an event says, merged into the rows that are known.

use super::{COMMENT, comment, note_move, post};
use crate::domain::{Comment, Post, excerpt};
use rusqlite::Connection;
use shared::events::Status;
use shared::{PostId, Sequence, Timestamp};

/// Merges what an event says about a post; returns whether that changed anything.
pub fn merge_post(tx: &Connection, said: Post) -> rusqlite::Result<bool> {
    let known = post(tx, &said.id)?;
    let merged = known.clone().map_or(said.clone(), |known| known.merge(said));
    if known.as_ref() == Some(&merged) {
        return Ok(false);
    }
    if let Some(known) = known.as_ref().filter(|known| known.key() != merged.key()) {
        note_move(tx, &merged.id, None, &known.key())?;
    }
    let approved = if known.is_some() { 0 } else { count_approved(tx, &merged.id)? };
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
pub fn merge_comment(tx: &Connection, said: Comment) -> rusqlite::Result<bool> {
    let known = comment(tx, &said.id)?;
    let merged = known.clone().map_or(said.clone(), |known| known.merge(said));
    if known.as_ref() == Some(&merged) {
        return Ok(false);
    }
    let (origin, position) = (merged.origin.as_ref(), merged.position());
    tx.prepare_cached(&format!(
        "INSERT OR REPLACE INTO comments ({COMMENT}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
    ))?
    .execute((
        merged.id.as_str(),
        merged.post_id.as_str(),
        origin.is_some(),
        position.created_at.map(Timestamp::unix_ms),
        position.sequence.map(Sequence::get),
        origin.map_or("", |o| o.author.as_str()),
        origin.and_then(|o| o.author_key.as_deref()),
        merged.version,
        merged.status.as_str(),
        &merged.content,
        &merged.reason,
    ))?;
    let is_elsewhere = |known: &&Comment| known.key() != merged.key() || known.post_id != merged.post_id;
    if let Some(known) = known.as_ref().filter(is_elsewhere) {
        note_move(tx, &merged.post_id, Some(&merged.id), &known.key())?;
    }
    let (before, after) = (known.as_ref().and_then(approved_in), approved_in(&merged));
    if before != after {
        add_approved(tx, before, -1)?;
        add_approved(tx, after, 1)?;
    }
    Ok(true)
}

/// The post that counts this comment.
fn approved_in(comment: &Comment) -> Option<&PostId> {
    (comment.status == Status::Approved).then_some(&comment.post_id)
}

/// A post that is not known yet counts its comments when it arrives.
fn add_approved(tx: &Connection, post: Option<&PostId>, change: i64) -> rusqlite::Result<()> {
    let Some(post) = post else { return Ok(()) };
    tx.prepare_cached("UPDATE posts SET approved = approved + ?2 WHERE id = ?1")?
        .execute((post.as_str(), change))?;
    Ok(())
}
