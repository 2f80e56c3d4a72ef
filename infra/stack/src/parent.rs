//! A service that was started by the supervisor ends with it, even where the supervisor had no time to say so.
//!
//! The supervisor holds one end of the service's standard input and never writes. When it ends, however it ends,
//! the system closes that end; the service sees the end of its input and stops as on SIGTERM.

use rustix::process::{Signal, getpid, kill_process};
use std::io::{self, Read};
use std::time::Duration;

/// The setting by which a process is told that it is supervised.
pub const SUPERVISED: &str = "MINI_BLOG_SUPERVISED";
/// How long the service may take to stop by itself.
const LIMIT: Duration = Duration::from_secs(12);

/// Where the supervisor started this process, watches for its end.
pub fn end_with_supervisor() {
    if std::env::var_os(SUPERVISED).is_some() {
        std::thread::spawn(|| {
            wait_for_end(io::stdin());
            // Where even that cannot be sent, or nobody listens to it, the exit below remains.
            let _ = kill_process(getpid(), Signal::TERM);
            std::thread::sleep(LIMIT);
            std::process::exit(1);
        });
    }
}

/// Reads until there is nothing more to come.
fn wait_for_end(mut input: impl Read) {
    let mut ignored = [0; 256];
    loop {
        match input.read(&mut ignored) {
            Ok(0) => return,
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{RecvTimeoutError, channel};

    #[test]
    fn the_end_is_seen_when_the_other_side_closes_and_not_before() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (seen, end) = channel();
        std::thread::spawn(move || {
            wait_for_end(reader);
            let _ = seen.send(());
        });
        io::Write::write_all(&mut writer, b"noise").unwrap();
        assert_eq!(end.recv_timeout(Duration::from_millis(50)), Err(RecvTimeoutError::Timeout));
        drop(writer);
        assert_eq!(end.recv_timeout(Duration::from_secs(5)), Ok(()));
    }
}
