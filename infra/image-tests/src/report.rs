//! The table of measurements, and their limits.

use shared::ServiceName;
use std::fmt::Write as _;
use std::time::Duration;

/// The largest size of an image, uncompressed.
pub fn most_bytes(service: ServiceName) -> u64 {
    let megabytes = if service == ServiceName::Frontend { 25 } else { 15 };
    megabytes * 1_000_000
}

/// The measurements of one image and its container.
#[derive(Debug, Clone)]
pub struct Row {
    pub service: ServiceName,
    /// The size of all its files.
    pub bytes: u64,
    /// From `docker run` until ready.
    pub start: Duration,
    /// The part of the service itself.
    pub own_start_ms: i64,
    /// Idle after some work, as the engine prints it.
    pub memory: String,
    /// From SIGTERM to its end, with open streams.
    pub stop: Duration,
}

pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "image          size    docker run to ready    of that its own    idle memory    stop, streams open\n",
    );
    for Row { service, bytes, start, own_start_ms, memory, stop } in rows {
        let size = format!("{:.1} MB", *bytes as f64 / 1e6);
        let (start, own) = (format!("{} ms", start.as_millis()), format!("{own_start_ms} ms"));
        let stop = format!("{} ms", stop.as_millis());
        let name = service.as_str();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<10} {size:>8} {start:>22} {own:>18} {memory:>14} {stop:>21}");
    }
    text
}
