//! What must be true in the end. Pure: each check is a function of what was tried, what was seen and what is there.

mod events;
mod fold;
mod processes;
mod sights;
mod writes;

pub use processes::{MOST_FILES, MOST_MEMORY_KIB, Machine};

use super::history::History;
use super::ledger::{Seen, Write};

/// How many examples of what is wrong a check gives.
const EXAMPLES: usize = 5;

/// A check with what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What must be true.
    pub name: &'static str,
    /// What was held against it.
    pub looked_at: String,
    /// Where it is not true; nothing where it holds.
    pub wrong: Vec<String>,
}

impl Check {
    fn new(name: &'static str, looked_at: impl Into<String>) -> Self {
        Self { name, looked_at: looked_at.into(), wrong: Vec::new() }
    }

    /// A check that is made of what was noticed at once.
    pub fn noticed(name: &'static str, looked_at: impl Into<String>, wrong: Vec<String>) -> Self {
        Self { wrong, ..Self::new(name, looked_at) }
    }

    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.wrong.is_empty()
    }

    /// Notes what is wrong: some in words, the rest as a number.
    fn wrong(&mut self, what: impl FnOnce() -> String) {
        match self.wrong.len() {
            0..EXAMPLES => self.wrong.push(what()),
            EXAMPLES => self.wrong.push("and more of these".to_owned()),
            _ => {}
        }
    }
}

/// Everything that is held against the history.
pub fn history(writes: &[Write], seen: &Seen, history: &History) -> Vec<Check> {
    vec![
        writes::acknowledged(writes, history),
        writes::unanswered(writes, history),
        writes::nothing_else(writes, history),
        events::sequences(history),
        events::one_verdict(history),
        events::order(history),
        events::order_in_comments(history),
        events::dead_letters(history),
        sights::pages(seen, history),
        sights::changes(seen, history),
        sights::stream(seen, history),
        fold::rebuilt(history),
        fold::folded(history),
    ]
}

#[cfg(test)]
mod tests;
