//! Verifies the checksums of the log, before the bus listens and in the background.
//!
//! A small log is read as a whole before the bus listens. Of a large one, the store holds how far it is verified: what
//! follows that is read before the bus listens, and the rest in the background, once for each run of the bus, beside the
//! check of the file itself ([`Store::check_in_background`]). What is appended is read again, too, so that little is left
//! for the next start.

use super::row::{AFTER, Damage, checked, rows};
use super::sqlite::last;
use kit::rt::{self, Instant};
use kit::store::{Guard, ReadError, SqlError, Store, Tx, values};
use shared::Sequence;
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How far the log is verified: every event up to there was read from the disk, and was as it was appended.
pub const VERIFIED: &str = "
    CREATE TABLE verified (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        seq INTEGER NOT NULL
    ) STRICT;
    INSERT INTO verified (one, seq) VALUES (1, 0);
";

/// How many events are appended before they are read again, in a moment without appends.
const STEP: i64 = 4_096;
/// How long no event is appended in such a moment.
const QUIET: Duration = Duration::from_secs(1);
/// How many events are appended before they are read again in any case: the most that is left for a start, nearly.
const BACKLOG: i64 = 100_000;
/// The most events in one read of the background.
const CHUNK: usize = 1_024;
/// The most bytes of envelopes in one read of the background, unless one event alone is larger.
const CHUNK_BYTES: usize = 1024 * 1024;
/// How long the background waits where the log cannot be read.
const RETRY: Duration = Duration::from_secs(1);

/// What was found at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verified {
    /// The end of the log.
    pub head: Sequence,
    /// Up to here, the start relied on an earlier verification.
    pub unread: Sequence,
    /// What the store holds about it.
    saved: Sequence,
}

/// Verifies the whole log, or what follows its verified prefix. The inner error says what is damaged.
pub(super) async fn at_start(store: &Store) -> Result<Result<Verified, String>, ReadError> {
    let (saved, end) = store.read(|tx| Ok((saved(tx)?, last(tx)?))).await?;
    // Of a log that has lost its tail, nothing is taken as verified.
    let unread = if store.is_checked() || saved > end { Sequence::START } else { saved };
    if !store.is_checked()
        && unread == Sequence::START
        && let Some(fault) = store.check().await?
    {
        return Ok(Err(fault));
    }
    let verified = store.read(move |tx| verify(tx, unread, usize::MAX, usize::MAX)).await?;
    Ok(verified.map(|head| Verified { head, unread, saved }).map_err(|damage| damage.to_string()))
}

fn saved(tx: &Tx<'_>) -> Result<Sequence, SqlError> {
    tx.one("SELECT seq FROM verified", &[], |row| row.int(0)).map(Sequence::new)
}

/// Reads and checks the events after a sequence; returns the last one.
fn verify(
    tx: &Tx<'_>,
    after: Sequence,
    limit: usize,
    max_bytes: usize,
) -> Result<Result<Sequence, Damage>, SqlError> {
    let (mut verified, mut events, mut bytes, mut damaged) = (after, 0, 0, None);
    tx.each(AFTER, values![after.get(), rows(limit)], |row| {
        match checked(row, verified.next())? {
            Ok((_, envelope)) => bytes += envelope.len(),
            Err(damage) => {
                damaged = Some(damage);
                return Ok(ControlFlow::Break(()));
            }
        }
        verified = verified.next();
        events += 1;
        let goes_on = events < limit && bytes < max_bytes;
        Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(damaged.map_or(Ok(verified), Err))
}

/// Runs until `stopping`, or until damage has ended the store.
pub(super) async fn run(
    store: &Store,
    found: Verified,
    mut head: watch::Receiver<Sequence>,
    stopping: &CancellationToken,
) {
    let work = async {
        let mut verified = found.head;
        if verified != found.saved {
            save(store, verified).await;
        }
        if !store.is_checked() {
            verify_the_rest(store, found.unread).await?;
        }
        loop {
            let end = backlog(&mut head, verified).await?;
            verified = verify_range(store, verified, end).await?;
            save(store, verified).await;
        }
    };
    tokio::select! {
        biased;
        () = stopping.cancelled() => {}
        Err::<std::convert::Infallible, Ended>(_) = work => stopping.cancelled().await,
    }
}

/// Waits until it is time to read what was appended; returns the end of it.
async fn backlog(head: &mut watch::Receiver<Sequence>, verified: Sequence) -> Result<Sequence, Ended> {
    loop {
        let appended = |head: &Sequence| head.get() - verified.get();
        let end = *head.wait_for(|head| appended(head) >= STEP).await.map_err(|_| Ended)?;
        if appended(&end) >= BACKLOG || rt::timeout(QUIET, head.changed()).await.is_err() {
            return Ok(end);
        }
    }
}

/// The log is damaged or gone: there is nothing left to verify.
struct Ended;

async fn verify_the_rest(store: &Store, unread: Sequence) -> Result<(), Ended> {
    let begun = Instant::now();
    tracing::info!(events = unread.get(), "verifying the log in the background");
    verify_range(store, Sequence::START, unread).await?;
    let seconds = begun.elapsed().as_secs();
    tracing::info!(events = unread.get(), seconds, "the log is verified");
    Ok(())
}

async fn verify_range(store: &Store, after: Sequence, end: Sequence) -> Result<Sequence, Ended> {
    let mut verified = after;
    while verified < end {
        let begun = Instant::now();
        let from = verified;
        match store.read(move |tx| verify(tx, from, CHUNK, CHUNK_BYTES)).await {
            // It was there a moment ago.
            Ok(Ok(to)) if to == from => {
                let missing = Damage::Missing(from.next()).to_string();
                return Err(damaged(store, from, &missing).await);
            }
            Ok(Ok(to)) => verified = to,
            Ok(Err(damage)) => return Err(damaged(store, from, &damage.to_string()).await),
            Err(ReadError::Stopped) => return Err(Ended),
            Err(error) => {
                tracing::warn!(%error, "the log cannot be verified; trying again");
                rt::sleep(RETRY).await;
            }
        }
        // A fifth of the time at most: publications and deliveries come first.
        rt::sleep(4 * begun.elapsed()).await;
    }
    Ok(verified)
}

/// Ends the store. Only what is before the damage still counts as verified, so that the next start refuses the log.
async fn damaged(store: &Store, verified: Sequence, what: &str) -> Ended {
    if let Err(error) = store.write(Guard::None, move |tx| set_verified(tx, verified)).await {
        tracing::warn!(%error, "the next start has to find the damage in the background again");
    }
    store.end_as_damaged(what);
    Ended
}

/// Notes how far the log is verified. Lost with the process, the next start reads more.
async fn save(store: &Store, verified: Sequence) {
    if let Err(error) = store.write_lazily(move |tx| set_verified(tx, verified)).await {
        tracing::debug!(%error, "how far the log is verified could not be saved");
    }
}

fn set_verified(tx: &Tx<'_>, verified: Sequence) -> Result<(), SqlError> {
    tx.execute("UPDATE verified SET seq = $1", values![verified.get()]).map(drop)
}

#[cfg(test)]
mod tests;
