//! The table, the JSON, and the comparison with an earlier run.

use super::figures::{Better, Row, Samples};
use super::machine::Machine;
use super::run::Settings;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    pub settings: Settings,
    pub rows: Vec<Row>,
}

/// A change that is smaller than this is not marked, whatever the spreads.
const LEAST_CHANGE: f64 = 3.0;

impl Report {
    /// The whole report as JSON, for a later comparison.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// A table in Markdown that is also readable on a terminal.
    pub fn table(&self) -> String {
        let mut rows = vec![["figure", "", "unit", "ceiling", "", "ratio"].map(str::to_owned)];
        for row in &self.rows {
            let Some(samples) = &row.samples else {
                let why = row.skipped.as_deref().unwrap_or("not measured");
                rows.push([
                    row.name.clone(),
                    String::new(),
                    format!("skipped: {why}"),
                    String::new(),
                    String::new(),
                    String::new(),
                ]);
                continue;
            };
            let ceiling = row.ceiling.as_ref();
            rows.push([
                row.name.clone(),
                figure(samples),
                row.unit.clone(),
                ceiling.map(|c| figure(&c.samples)).unwrap_or_default(),
                ceiling.map(|c| c.what.clone()).unwrap_or_default(),
                row.ratio().map(ratio).unwrap_or_default(),
            ]);
        }
        format!("{}\n\n{}", self.machine, aligned(&rows))
    }

    /// What has changed since an earlier run, row by row.
    pub fn comparison(&self, before: &Self) -> String {
        let mut rows = vec![["figure", "before", "now", "unit", "change", ""].map(str::to_owned)];
        for row in &self.rows {
            let old = before.rows.iter().find(|old| key(&old.name) == key(&row.name));
            let (Some(now), Some(was)) = (&row.samples, old.and_then(|old| old.samples.as_ref())) else {
                continue;
            };
            let percent = 100.0 * (now.median() / was.median() - 1.0);
            let noise = now.spread().unwrap_or(0.0) + was.spread().unwrap_or(0.0);
            let improves = (percent > 0.0) == (row.better == Better::Higher);
            let verdict = match percent.abs() > noise.max(LEAST_CHANGE) {
                false => "within the noise",
                true if improves => "better",
                true => "worse",
            };
            let change = format!("{percent:+.0}%");
            rows.push([
                row.name.clone(),
                figure(was),
                figure(now),
                row.unit.clone(),
                change,
                verdict.to_owned(),
            ]);
        }
        let mut text = String::new();
        if before.machine.processor != self.machine.processor || before.machine.cores != self.machine.cores {
            let _ = writeln!(text, "Before: another machine ({}).\n", before.machine);
        }
        text + &aligned(&rows)
    }
}

/// The name without the size in parentheses, which may change.
fn key(name: &str) -> &str {
    name.split(" (").next().unwrap_or(name)
}

/// The median with half the range: `24,100 ±4%`.
fn figure(samples: &Samples) -> String {
    let spread = samples.spread().map(|percent| format!(" ±{percent:.0}%")).unwrap_or_default();
    number(samples.median()) + &spread
}

/// Three digits or all of the whole ones, with commas.
fn number(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.2}");
    }
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn ratio(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { number(value) }
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    // A reason may be long, and would widen its column for all.
    let widths: [usize; N] = std::array::from_fn(|at| width(at).min(48));
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if n == 0 {
            for width in widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rate: f64) -> Report {
        let row = Row::new("GET /posts (2.0 kB)", "req/s", Better::Higher, vec![rate, rate * 1.02]);
        let rows = vec![
            row.with_ceiling("bare axum", vec![50_000.0]),
            Row::skipped("rebuild", "events/s", Better::Higher, "no memory"),
            Row::new("start", "ms", Better::Lower, vec![rate / 100.0]),
        ];
        let settings = Settings { quick: true, posts: 1, comments: 2, only: Vec::new() };
        Report { machine: Machine::look(), settings, rows }
    }

    #[test]
    fn the_table_has_each_figure_with_ceiling_and_ratio_and_each_reason() {
        let table = report(24_000.0).table();
        for part in ["24,240 ±1%", "50,000", "0.48", "skipped: no memory"] {
            assert!(table.contains(part), "{part}: {table}");
        }
    }

    #[test]
    fn a_comparison_says_what_is_better_worse_or_noise() {
        let (before, now) = (report(20_000.0), report(30_000.0));
        let text = now.comparison(&serde_json::from_str(&before.json().unwrap()).unwrap());
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap();
        assert!(line("GET /posts").contains("+50%") && line("GET /posts").contains("better"), "{text}");
        assert!(line("start").contains("worse"), "{text}");
        assert!(before.comparison(&before).contains("within the noise"));
    }

    #[test]
    fn numbers_are_short_and_have_commas() {
        let texts = [0.5, 12.34, 123.4, 1_234_567.0].map(number);
        assert_eq!(texts, ["0.50", "12.3", "123", "1,234,567"]);
    }
}
