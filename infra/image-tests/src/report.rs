//! The table at the end, and the limits that it is held to.

use shared::ServiceName;
use std::fmt::Write as _;
use std::time::Duration;

/// How large an image may be, uncompressed.
pub fn most_bytes(service: ServiceName) -> u64 {
    let megabytes = if service == ServiceName::Frontend { 25 } else { 15 };
    megabytes * 1_000_000
}

/// What was measured of one image and its container.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which.
    pub service: ServiceName,
    /// All its files together.
    pub bytes: u64,
    /// From the start of its process until it was ready.
    pub start_ms: i64,
    /// What it holds when it has nothing to do, as the engine says it.
    pub memory: String,
    /// From SIGTERM to its end, with streams open.
    pub stop: Duration,
}

/// The table.
pub fn table(rows: &[Row]) -> String {
    let mut text =
        String::from("image          size    start to ready    idle memory    stop, streams open\n");
    for Row { service, bytes, start_ms, memory, stop } in rows {
        let size = format!("{:.1} MB", *bytes as f64 / 1e6);
        let start = format!("{start_ms} ms");
        let stop = format!("{:.1} s", stop.as_secs_f64());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<10} {size:>9} {start:>17} {memory:>14} {stop:>21}", service.as_str());
    }
    text
}
