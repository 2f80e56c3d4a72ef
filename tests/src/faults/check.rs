//! What must be true after the faults. Pure: each check is a function of the writes, of what readers saw, and of the
//! state at the end.

mod events;
mod fold;
mod observations;
mod processes;
mod writes;

pub use processes::{MOST_FILES, MOST_MEMORY_KIB, Machine};

use super::history::History;
use super::ledger::{Seen, Write};

/// How many examples a failed check shows.
const EXAMPLES: usize = 5;

/// A check with its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What must be true.
    pub name: &'static str,
    /// What it examined.
    pub examined: String,
    /// Examples where it is not true; none if it holds.
    pub wrong: Vec<String>,
}

impl Check {
    fn new(name: &'static str, examined: impl Into<String>) -> Self {
        Self { name, examined: examined.into(), wrong: Vec::new() }
    }

    /// A check whose violations were found during the campaign.
    pub fn noticed(name: &'static str, examined: impl Into<String>, wrong: Vec<String>) -> Self {
        Self { wrong, ..Self::new(name, examined) }
    }

    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.wrong.is_empty()
    }

    /// Adds an example, up to the limit.
    fn wrong(&mut self, what: impl FnOnce() -> String) {
        match self.wrong.len() {
            0..EXAMPLES => self.wrong.push(what()),
            EXAMPLES => self.wrong.push("and more like these".to_owned()),
            _ => {}
        }
    }
}

/// Every check of the state at the end.
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
        observations::pages(seen, history),
        observations::changes(seen, history),
        observations::stream(seen, history),
        fold::rebuilt(history),
        fold::folded(history),
    ]
}

#[cfg(test)]
mod tests;
