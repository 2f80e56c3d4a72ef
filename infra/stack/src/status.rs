//! The answer to `mini-blog status`.

use crate::process_name::ProcessName;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StackStatus {
    /// The supervisor's process.
    pub pid: u32,
    pub address: String,
    /// In the order of starting.
    pub services: Vec<ServiceStatus>,
    /// The subscribers of the bus; none if the bus does not answer.
    pub subscribers: Option<Vec<Subscriber>>,
    /// None where each service has a file.
    #[serde(default)]
    pub database: Option<DatabaseStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseStatus {
    /// None while it does not run.
    pub pid: Option<u32>,
    pub log: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    pub service: ProcessName,
    pub process: ProcessState,
    pub pid: Option<u32>,
    pub uptime_ms: Option<u64>,
    /// How often it died and was restarted.
    pub restarts: u32,
    /// Why it is not ready; none if it is.
    pub not_ready: Option<String>,
    /// Why it ended, while it is failed or backing off.
    pub last_error: Option<String>,
    pub url: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessState {
    Running,
    /// Down by command.
    Stopped,
    /// It died and will be restarted.
    BackingOff,
    /// It cannot start, and is not restarted.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscriber {
    pub name: String,
    /// How many events it has not applied yet.
    pub lag: i64,
    /// Of the last delivery.
    pub last_error: Option<String>,
}

impl ProcessState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::BackingOff => "backing off",
            Self::Failed => "failed",
        }
    }
}

/// The status as a table.
pub fn table(status: &StackStatus) -> String {
    let head = ["SERVICE", "STATE", "PID", "UPTIME", "RESTARTS", "READY", "ADDRESS"].map(str::to_owned);
    let rows = status.services.iter().map(|s| {
        let dash = || "-".to_owned();
        [
            s.service.to_string(),
            s.process.as_str().to_owned(),
            s.pid.map_or_else(dash, |pid| pid.to_string()),
            s.uptime_ms.map_or_else(dash, |ms| uptime(Duration::from_millis(ms))),
            s.restarts.to_string(),
            if s.not_ready.is_none() { "yes" } else { "no" }.to_owned(),
            s.url.clone(),
        ]
    });
    let mut text = columns(std::iter::once(head).chain(rows));
    for s in &status.services {
        // Writing to a string cannot fail.
        let _ = match (s.process, &s.not_ready, &s.last_error) {
            (ProcessState::Running, Some(why), _) => writeln!(text, "\n{} is not ready: {why}", s.service),
            (ProcessState::BackingOff, _, Some(why)) => {
                writeln!(text, "\n{} is restarting: {why}", s.service)
            }
            (ProcessState::Failed, _, Some(why)) => writeln!(
                text,
                "\n{0} has failed: {why}\nFix the cause, then run `mini-blog start {0}`.",
                s.service
            ),
            _ => Ok(()),
        };
    }
    text.push('\n');
    text.push_str(&match &status.subscribers {
        None => "The event bus does not answer, so the lag of its subscribers is unknown.\n".to_owned(),
        Some(subscribers) => {
            let head = ["SUBSCRIBER", "LAG", "LAST ERROR"].map(str::to_owned);
            columns(std::iter::once(head).chain(subscribers.iter().map(|s| {
                [s.name.clone(), s.lag.to_string(), s.last_error.clone().unwrap_or_else(|| "-".to_owned())]
            })))
        }
    });
    if let Some(DatabaseStatus { pid, log }) = &status.database {
        let state = pid.map_or_else(|| "does not run".to_owned(), |pid| format!("runs (pid {pid})"));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\nPostgreSQL {state}; its log is {log}");
    }
    text
}

/// Aligned rows: each column is as wide as its widest cell.
pub fn columns<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = rows.collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn uptime(ran: Duration) -> String {
    let seconds = ran.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, _, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ServiceName;

    fn status() -> StackStatus {
        let row = |service: ServiceName, process, pid, not_ready: Option<&str>| ServiceStatus {
            service: service.into(),
            process,
            pid,
            uptime_ms: pid.map(|_| 63_000),
            restarts: 1,
            last_error: not_ready.filter(|_| pid.is_none()).map(str::to_owned),
            not_ready: not_ready.map(str::to_owned),
            url: "http://127.0.0.1:4000".into(),
        };
        StackStatus {
            pid: 1,
            address: "http://127.0.0.1:3000".into(),
            services: vec![
                row(ServiceName::Posts, ProcessState::Running, Some(42), None),
                row(ServiceName::Query, ProcessState::Running, Some(43), Some("waits for the bus")),
                row(ServiceName::Comments, ProcessState::BackingOff, None, Some("no space left")),
                row(ServiceName::Moderation, ProcessState::Failed, None, Some("no such file")),
            ],
            subscribers: Some(vec![Subscriber { name: "query".into(), lag: 7, last_error: None }]),
            database: None,
        }
    }

    #[test]
    fn the_table_is_aligned_and_says_why_something_is_not_ready() {
        let text = table(&status());
        let expected = "\
SERVICE     STATE        PID  UPTIME     RESTARTS  READY  ADDRESS
posts       running      42   1 min 3 s  1         yes    http://127.0.0.1:4000
query       running      43   1 min 3 s  1         no     http://127.0.0.1:4000
comments    backing off  -    -          1         no     http://127.0.0.1:4000
moderation  failed       -    -          1         no     http://127.0.0.1:4000

query is not ready: waits for the bus

comments is restarting: no space left

moderation has failed: no such file
Fix the cause, then run `mini-blog start moderation`.

SUBSCRIBER  LAG  LAST ERROR
query       7    -
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_bus_that_is_down_is_said() {
        let text = table(&StackStatus { subscribers: None, ..status() });
        assert!(text.ends_with("The event bus does not answer, so the lag of its subscribers is unknown.\n"));
        let database = |pid| Some(DatabaseStatus { pid, log: "data/postgres/postgres.log".into() });
        for (pid, says) in [(Some(5), "runs (pid 5)"), (None, "does not run")] {
            let text = table(&StackStatus { database: database(pid), ..status() });
            assert!(
                text.ends_with(&format!("\nPostgreSQL {says}; its log is data/postgres/postgres.log\n")),
                "{text}"
            );
        }
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let json = serde_json::to_string(&status()).unwrap();
        assert_eq!(serde_json::from_str::<StackStatus>(&json).unwrap(), status());
    }

    #[test]
    fn times_are_short_at_every_size() {
        let written = [5, 65, 3_660, 90_000].map(|s| uptime(Duration::from_secs(s)));
        assert_eq!(written, ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
    }
}
