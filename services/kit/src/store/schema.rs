//! What tables a service has.

use super::Migration;

/// What tables a service has, and how earlier versions of the program get there.
///
/// A file of SQLite is made by the history, all of it. A database of PostgreSQL is made by the present text, with the number
/// of the last step; the steps that are added from then on run on both. Both texts are written for SQLite, and translated.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// The tables as they are now.
    pub present: &'static [&'static str],
    /// How they came about, step by step.
    pub history: &'static [Migration],
    /// The number of the step that a program must know at least to use the present tables: while replicas are replaced, old
    /// ones meet the new tables. A step that takes away what they need comes one release after they need it.
    pub oldest_program: usize,
}
