//! wrk: a closed-loop HTTP load generator that takes little time from the program that it measures.
//!
//! It is used for throughput only. Its latencies leave out what a stalled server keeps from being sent, so latencies
//! are measured by the rows that need them.

use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// What a machine without it is told.
const MISSING: &str = "wrk is missing: install the package wrk";

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    pub url: &'a str,
    pub connections: usize,
    pub seconds: u64,
    /// A Lua script that sets method, headers and body.
    pub script: Option<&'a Path>,
}

impl Load<'_> {
    /// Requests per second; an error if any answer was not 2xx or 3xx.
    pub async fn run(self) -> Result<f64, String> {
        let mut command = Command::new("wrk");
        command.arg("-t1").arg(format!("-c{}", self.connections)).arg(format!("-d{}s", self.seconds));
        command.arg("--timeout").arg("10s");
        if let Some(script) = self.script {
            command.arg("-s").arg(script);
        }
        command.arg(self.url).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => MISSING.to_owned(),
            _ => format!("wrk: {e}"),
        })?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(format!("wrk failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        read(&text)
    }
}

/// Reads wrk's report.
fn read(report: &str) -> Result<f64, String> {
    let value = |name: &str| report.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    if let Some(count) = value("Non-2xx or 3xx responses:") {
        return Err(format!("{count} answers were errors"));
    }
    if let Some(errors) = value("Socket errors:") {
        return Err(format!("connections failed: {errors}"));
    }
    let rate = value("Requests/sec:").and_then(|rate| rate.parse().ok());
    rate.filter(|rate| *rate > 0.0).ok_or_else(|| "no request was answered".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_rate_or_an_error() {
        let good = "  2 requests in 1.00s, 1KB read\nRequests/sec:  24130.25\nTransfer/sec:  1MB\n";
        assert_eq!(read(good), Ok(24_130.25));
        let refused = "  Non-2xx or 3xx responses: 17\nRequests/sec:  9.0\n";
        assert_eq!(read(refused).unwrap_err(), "17 answers were errors");
        let broken = "  Socket errors: connect 0, read 3, write 0, timeout 1\nRequests/sec:  9.0\n";
        assert!(read(broken).unwrap_err().contains("read 3"));
        assert!(read("Requests/sec:      0.00\n").is_err());
    }
}
