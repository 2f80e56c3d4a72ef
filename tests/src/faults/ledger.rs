//! What writers tried, with the results, and what readers saw.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many complaints about one rule are kept; the others are counted.
const KEPT_COMPLAINTS: usize = 5;
/// How many of the newest posts are commented on and read.
const RECENT: usize = 40;

/// What a write creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Post,
    /// A comment on this post.
    Comment(String),
}

/// The result of a write, as its writer knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Answered 201 with this id: it must exist.
    Acknowledged(String),
    /// Answered 4xx: it must not exist.
    Refused(u16),
    /// No answer, or 5xx: it may exist.
    Unknown,
}

/// A write that a writer tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub what: What,
    /// The title or the content: unique, unless a writer tried again without a key.
    pub text: String,
    /// Whether it was repeated with its key until it was answered.
    pub keyed: bool,
    pub outcome: Outcome,
}

/// A comment as a reader saw it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenComment {
    pub post: String,
    pub id: String,
    pub status: String,
}

/// A change from `GET /live`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenChange {
    pub sequence: u64,
    pub post: String,
    /// The id of the comment, if a comment changed.
    pub comment: Option<String>,
}

/// What readers saw, without repetitions, so that it stays as small as the log.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Posts by id, with their titles.
    pub posts: BTreeSet<(String, String)>,
    pub comments: BTreeSet<SeenComment>,
    /// Changes from `GET /live`.
    pub changes: BTreeSet<SeenChange>,
    /// The ids of the streamed events, in order, from the first.
    pub streamed: Vec<String>,
}

/// The violations of one rule.
#[derive(Debug, Clone, Default)]
pub struct Complaints {
    count: u64,
    examples: Vec<String>,
}

impl Complaints {
    /// Each example, and the number of the others.
    pub fn sentences(&self) -> Vec<String> {
        let rest = self.count - self.examples.len() as u64;
        let more = (rest > 0).then(|| format!("and {rest} more"));
        self.examples.iter().cloned().chain(more).collect()
    }
}

/// A rule that a single answer can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A repeated request gets its first answer.
    FirstAnswer,
    /// Nothing is answered 500, and every 503 has `Retry-After`.
    ErrorAnswers,
    /// No reader sees text that is not approved.
    ApprovedText,
    /// The streamed log has no gap and does not go back.
    Stream,
}

#[derive(Debug, Default)]
struct Records {
    writes: Vec<Write>,
    attempts: u64,
    unavailable: u64,
    recent: Vec<String>,
    seen: Seen,
    complaints: BTreeMap<Rule, Complaints>,
}

/// The ledger that all writers and readers share.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Records>);

impl Ledger {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a write request; repeated ones count, too.
    pub fn attempt(&self) {
        self.records().attempts += 1;
    }

    /// How many write requests were sent.
    pub fn attempts(&self) -> u64 {
        self.records().attempts
    }

    /// Counts an answer if it was a 503.
    pub fn unavailable(&self, unavailable: bool) {
        self.records().unavailable += u64::from(unavailable);
    }

    /// How many answers were 503.
    pub fn times_unavailable(&self) -> u64 {
        self.records().unavailable
    }

    /// Stores the result of a write.
    pub fn enter(&self, write: Write) {
        let mut records = self.records();
        if let (What::Post, Outcome::Acknowledged(id)) = (&write.what, &write.outcome) {
            if records.recent.len() == RECENT {
                records.recent.remove(0);
            }
            records.recent.push(id.clone());
        }
        records.writes.push(write);
    }

    /// One of the newest acknowledged posts, chosen by this number.
    pub fn recent_post(&self, any: u64) -> Option<String> {
        let records = self.records();
        let count = records.recent.len() as u64;
        (count > 0).then(|| records.recent[(any % count) as usize].clone())
    }

    /// Stores what a reader saw.
    pub fn saw(&self, see: impl FnOnce(&mut Seen)) {
        see(&mut self.records().seen);
    }

    /// Stores a violation of a rule.
    pub fn complain(&self, rule: Rule, what: impl Into<String>) {
        let mut records = self.records();
        let complaints = records.complaints.entry(rule).or_default();
        complaints.count += 1;
        if complaints.examples.len() < KEPT_COMPLAINTS {
            complaints.examples.push(what.into());
        }
    }

    pub fn complaints(&self, rule: Rule) -> Vec<String> {
        self.records().complaints.get(&rule).map(Complaints::sentences).unwrap_or_default()
    }

    pub fn writes(&self) -> Vec<Write> {
        self.records().writes.clone()
    }

    pub fn seen(&self) -> Seen {
        self.records().seen.clone()
    }

    /// How many events of the log were streamed.
    pub fn streamed(&self) -> u64 {
        self.records().seen.streamed.len() as u64
    }
}
