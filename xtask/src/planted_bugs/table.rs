//! What came of each planted bug, as a table that can stand in a document.

use super::Planted;
use std::fmt::Write as _;

/// What came of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every test that must notice it has.
    Caught,
    /// These tests did not fail.
    NotCaught(Vec<String>),
    /// The code is no longer what it was written for.
    DoesNotApply(String),
    /// The changed code does not compile, which proves nothing.
    DoesNotCompile,
}

impl Outcome {
    /// The outcome in a few words.
    pub fn in_words(&self) -> String {
        match self {
            Self::Caught => "caught".to_owned(),
            Self::NotCaught(tests) => format!("NOT CAUGHT by {}", tests.join(", ")),
            Self::DoesNotApply(why) => format!("DOES NOT APPLY: {why}"),
            Self::DoesNotCompile => "DOES NOT COMPILE".to_owned(),
        }
    }
}

/// The outcomes as a table.
pub fn of(outcomes: &[(&Planted, Outcome)]) -> String {
    let mut text = head();
    for (planted, outcome) in outcomes {
        let cell = match outcome {
            Outcome::Caught => noticed_by(planted),
            other => format!("**{}**", other.in_words().replace('\n', " ").replace('|', "\\|")),
        };
        row(&mut text, planted, &cell);
    }
    text
}

/// What is planted and what must notice it, untried.
pub fn listed(all: &[Planted]) -> String {
    let mut text = head();
    for planted in all {
        row(&mut text, planted, &noticed_by(planted));
    }
    text
}

fn head() -> String {
    "| planted | effect | caught by |\n|---|---|---|\n".to_owned()
}

fn row(text: &mut String, planted: &Planted, cell: &str) {
    let _ = writeln!(text, "| {} | {} | {cell} |", planted.name, planted.says.replace('|', "\\|"));
}

fn noticed_by(planted: &Planted) -> String {
    let tests: Vec<_> = planted.caught_by.tests.iter().map(|test| format!("`{}`", last(test))).collect();
    format!("{} ({})", tests.join(", "), planted.caught_by.package)
}

fn last(test: &str) -> &str {
    test.rsplit("::").next().unwrap_or(test)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planted_bugs::catalogue;
    use crate::shell::Shell;

    #[test]
    fn a_row_for_each_and_what_went_wrong_stands_out() {
        let all = catalogue::read(Shell::new().unwrap().root()).unwrap();
        let [a, b, c, d] = &all[..4] else { panic!("too few") };
        let text = of(&[
            (a, Outcome::Caught),
            (b, Outcome::NotCaught(vec!["x::y".into()])),
            (c, Outcome::DoesNotApply("no\nsuch | text".into())),
            (d, Outcome::DoesNotCompile),
        ]);
        let rows: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(rows.len(), 4, "{text}");
        assert!(rows[0].contains(&a.says) && rows[0].contains(last(&a.caught_by.tests[0])), "{text}");
        assert!(rows[1].ends_with("**NOT CAUGHT by x::y** |"), "{text}");
        assert!(rows[2].ends_with("**DOES NOT APPLY: no such \\| text** |"), "{text}");
        assert!(rows[3].ends_with("**DOES NOT COMPILE** |"), "{text}");
        assert_eq!(listed(&all).lines().count(), all.len() + 2);
    }

    #[test]
    fn the_document_has_the_table_of_what_is_planted() {
        let shell = Shell::new().unwrap();
        let document = std::fs::read_to_string(shell.root().join("docs/PLANTED_BUGS.md")).unwrap();
        let table = listed(&catalogue::read(shell.root()).unwrap());
        assert!(
            document.contains(&table),
            "docs/PLANTED_BUGS.md: copy what `cargo xtask planted-bugs --list` prints into it"
        );
    }
}
