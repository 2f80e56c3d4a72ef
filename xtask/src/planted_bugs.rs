//! Planted bugs: each is put into a copy of the sources, and the tests named for it must fail.
//!
//! The bugs are data (`tests/planted`), so that what is released has no switch for any of them.

mod catalogue;
mod run;
mod table;
mod tree;

use crate::shell::{Shell, say};
use anyhow::Result;
use catalogue::CaughtBy;
pub use catalogue::Planted;
use std::time::Instant;
use table::Outcome;

/// The whole catalogue, by name.
pub fn catalogue(shell: &Shell) -> Result<Vec<Planted>> {
    catalogue::read(shell.root())
}

/// The named ones of the catalogue; all if no name is given. The error is the first name that does not exist.
pub fn choose(all: Vec<Planted>, names: &[String]) -> Result<Vec<Planted>, String> {
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|planted| planted.name != **name)) {
        return Err(format!(
            "there is no planted bug {unknown:?}; `cargo xtask planted-bugs --list` shows them"
        ));
    }
    Ok(all.into_iter().filter(|planted| names.is_empty() || names.contains(&planted.name)).collect())
}

/// Prints what is planted, and what must notice it.
pub fn list(chosen: &[Planted]) {
    print!("{}", table::listed(chosen));
}

/// Tries every planted bug; returns whether all were caught.
pub fn run_all(shell: &Shell) -> Result<bool> {
    run(shell, &catalogue(shell)?)
}

/// Tries these, and prints what caught each; returns whether all were caught.
///
/// A test that is red before anything is planted proves nothing: then none is tried.
pub fn run(shell: &Shell, chosen: &[Planted]) -> Result<bool> {
    let begun = Instant::now();
    let tree = tree::Tree::take(shell.root())?;
    let bench = run::Bench::new(shell, &tree);
    say("running the tests without bugs");
    let red = bench.red_before(chosen)?;
    if !red.is_empty() {
        for why in &red {
            say(why);
        }
        say("these tests fail without any bug: fix them first");
        return Ok(false);
    }
    // One after the other by what they are compiled into, so that little is compiled again.
    let mut order: Vec<_> = chosen.iter().collect();
    order.sort_by_key(|planted| (&planted.caught_by.package, &planted.caught_by.target, &planted.name));
    let mut outcomes = Vec::new();
    for (at, planted) in order.iter().enumerate() {
        let outcome = bench.plant(planted)?;
        say(&format!("{}/{} {}: {}", at + 1, order.len(), planted.name, outcome.in_words()));
        outcomes.push((*planted, outcome));
    }
    outcomes.sort_by_key(|(planted, _)| &planted.name);
    print!("{}", table::of(&outcomes));
    let caught = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Caught).count();
    println!("\n{} planted, {caught} caught, in {} s", outcomes.len(), begun.elapsed().as_secs());
    Ok(caught == outcomes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_choose_and_an_unknown_one_is_named() {
        let all = || catalogue(&Shell::new().unwrap()).unwrap();
        assert_eq!(choose(all(), &[]).unwrap().len(), all().len());
        let one = choose(all(), &["gap-accepted".to_owned()]).unwrap();
        assert_eq!(one.iter().map(|planted| planted.name.as_str()).collect::<Vec<_>>(), ["gap-accepted"]);
        let error = choose(all(), &["gap-accepted".to_owned(), "no-such".to_owned()]).unwrap_err();
        assert!(error.contains("\"no-such\""), "{error}");
    }
}
