//! The report.

use super::check::Check;
use super::inject::Injected;
use super::ledger::{Outcome, Write};
use super::plan::Kind;
use std::fmt;
use std::path::PathBuf;

#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    /// For how many minutes faults were injected.
    pub minutes: f64,
    /// Write requests, with repeated ones.
    pub attempts: u64,
    /// How many answers were 503.
    pub unavailable: u64,
    /// Every write with its result.
    pub writes: Vec<Write>,
    /// The length of the log.
    pub events: usize,
    pub injected: Injected,
    pub checks: Vec<Check>,
    /// The folder with data and output, if a check fails.
    pub kept: Option<PathBuf>,
}

impl Report {
    pub fn passed(&self) -> bool {
        self.checks.iter().all(Check::holds)
    }

    fn count(&self, condition: impl Fn(&Outcome) -> bool) -> usize {
        self.writes.iter().filter(|write| condition(&write.outcome)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, value: String| writeln!(f, "| {name} | {value} |");
        writeln!(f, "| campaign | |\n|---|---|")?;
        row(f, "seed", self.seed.to_string())?;
        row(f, "minutes", format!("{}", self.minutes))?;
        row(f, "writes tried (requests)", format!("{} ({})", self.writes.len(), self.attempts))?;
        let acknowledged = self.count(|outcome| matches!(outcome, Outcome::Acknowledged(_)));
        row(f, "acknowledged", acknowledged.to_string())?;
        row(f, "unknown", self.count(|outcome| *outcome == Outcome::Unknown).to_string())?;
        row(f, "refused", self.count(|outcome| matches!(outcome, Outcome::Refused(_))).to_string())?;
        row(f, "answers 503", self.unavailable.to_string())?;
        row(f, "events in the log", self.events.to_string())?;
        writeln!(f, "\n| fault | times |\n|---|---|")?;
        for kind in Kind::ALL {
            let count = self.injected.counts.get(&kind).copied().unwrap_or(0);
            let why = self.injected.refused.get(&kind).map(|why| why.iter().cloned().collect::<Vec<_>>());
            let refused = why.map(|why| format!(" (not injected: {})", why.join("; "))).unwrap_or_default();
            let met = self.injected.met.get(&kind);
            let met = met.map(|met| format!(", {met} exchanges hit")).unwrap_or_default();
            row(f, kind.label(), format!("{count}{met}{refused}"))?;
        }
        writeln!(f, "\n| check | examined | result |\n|---|---|---|")?;
        for check in &self.checks {
            let result = if check.holds() { "holds" } else { "**fails**" };
            writeln!(f, "| {} | {} | {result} |", check.name, check.examined)?;
        }
        for check in self.checks.iter().filter(|check| !check.holds()) {
            writeln!(f, "\n{}:", check.name)?;
            for wrong in &check.wrong {
                writeln!(f, "  - {wrong}")?;
            }
        }
        if !self.passed() {
            writeln!(
                f,
                "\nrepeat it with: cargo xtask faults --seed {} --minutes {}",
                self.seed, self.minutes
            )?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "data and output are in {}", kept.display())?;
        }
        Ok(())
    }
}
