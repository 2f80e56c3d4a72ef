//! What writers tried and what became of it, and what readers saw.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many complaints about one rule are kept; the others are counted.
const KEPT_COMPLAINTS: usize = 5;
/// How many posts are new enough to be commented on and read.
const RECENT: usize = 40;

/// What was to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A post.
    Post,
    /// A comment on this post.
    Comment(String),
}

/// What a writer knows in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered 201, with this id: it must be there.
    Acknowledged(String),
    /// It was refused: it must not be there.
    Refused(u16),
    /// There was no answer, or one that says that something went wrong: it may be there.
    Unknown,
}

/// One thing that a writer wanted written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// What.
    pub what: What,
    /// The title or the content: the same only where a writer tried again without a key.
    pub text: String,
    /// Whether it was tried under one key until it was answered.
    pub keyed: bool,
    /// How it ended.
    pub outcome: Outcome,
}

/// A comment as a reader saw it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenComment {
    /// Its post.
    pub post: String,
    /// Its id.
    pub id: String,
    /// Where it stood.
    pub status: String,
}

/// A change as `GET /live` told it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenChange {
    /// The place in the log that it names.
    pub sequence: u64,
    /// The post.
    pub post: String,
    /// The comment, where one changed.
    pub comment: Option<String>,
}

/// What readers saw. What is seen again is kept once, so that it stays as small as the log.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Posts by id, with their titles.
    pub posts: BTreeSet<(String, String)>,
    /// Comments.
    pub comments: BTreeSet<SeenComment>,
    /// What `GET /live` told.
    pub changes: BTreeSet<SeenChange>,
    /// The log as it was streamed: the ids of the events, in order, from the first.
    pub streamed: Vec<String>,
}

/// What is wrong at first sight.
#[derive(Debug, Clone, Default)]
pub struct Complaints {
    count: u64,
    examples: Vec<String>,
}

impl Complaints {
    /// One sentence for each example, and how many there are beside them.
    pub fn sentences(&self) -> Vec<String> {
        let rest = self.count - self.examples.len() as u64;
        let more = (rest > 0).then(|| format!("and {rest} more"));
        self.examples.iter().cloned().chain(more).collect()
    }
}

/// What a single answer can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Whoever repeats a request with its key gets the first answer.
    FirstAnswer,
    /// Nothing is answered 500, and 503 says when to come back.
    Manners,
    /// Text that is not approved is shown to nobody.
    ApprovedText,
    /// The streamed log has no gap and does not go back.
    Stream,
}

#[derive(Debug, Default)]
struct Books {
    writes: Vec<Write>,
    attempts: u64,
    unavailable: u64,
    recent: Vec<String>,
    seen: Seen,
    complaints: BTreeMap<Rule, Complaints>,
}

/// The ledger that all writers and readers share.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Books>);

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request to write is sent, perhaps not the first for the same thing.
    pub fn attempt(&self) {
        self.books().attempts += 1;
    }

    /// How many requests to write were sent.
    pub fn attempts(&self) -> u64 {
        self.books().attempts
    }

    /// An answer came; whether it was a 503.
    pub fn unavailable(&self, unavailable: bool) {
        self.books().unavailable += u64::from(unavailable);
    }

    /// How many answers were 503.
    pub fn times_unavailable(&self) -> u64 {
        self.books().unavailable
    }

    /// Enters what became of a write.
    pub fn enter(&self, write: Write) {
        let mut books = self.books();
        if let (What::Post, Outcome::Acknowledged(id)) = (&write.what, &write.outcome) {
            if books.recent.len() == RECENT {
                books.recent.remove(0);
            }
            books.recent.push(id.clone());
        }
        books.writes.push(write);
    }

    /// A post that was acknowledged not long ago, chosen by this number.
    pub fn recent_post(&self, any: u64) -> Option<String> {
        let books = self.books();
        let count = books.recent.len() as u64;
        (count > 0).then(|| books.recent[(any % count) as usize].clone())
    }

    /// Takes in what a reader saw.
    pub fn saw(&self, see: impl FnOnce(&mut Seen)) {
        see(&mut self.books().seen);
    }

    /// Something is wrong at first sight.
    pub fn complain(&self, rule: Rule, what: impl Into<String>) {
        let mut books = self.books();
        let complaints = books.complaints.entry(rule).or_default();
        complaints.count += 1;
        if complaints.examples.len() < KEPT_COMPLAINTS {
            complaints.examples.push(what.into());
        }
    }

    /// What is wrong by this rule.
    pub fn complaints(&self, rule: Rule) -> Vec<String> {
        self.books().complaints.get(&rule).map(Complaints::sentences).unwrap_or_default()
    }

    /// Everything that was to be written.
    pub fn writes(&self) -> Vec<Write> {
        self.books().writes.clone()
    }

    /// Everything that was seen.
    pub fn seen(&self) -> Seen {
        self.books().seen.clone()
    }

    /// How far the log was streamed.
    pub fn streamed(&self) -> u64 {
        self.books().seen.streamed.len() as u64
    }
}
