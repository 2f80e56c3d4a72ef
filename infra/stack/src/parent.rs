//! A service ends with its supervisor, even if the supervisor is killed.
//!
//! The supervisor holds one end of the service's standard input and never writes. When the supervisor ends, the system
//! closes that end; the service sees the end of its input and stops as on SIGTERM.

use rustix::process::{Signal, getpid, kill_process};
use std::io::{self, Read};
use std::time::Duration;

/// The variable that is set in supervised processes.
pub const SUPERVISED: &str = "MINI_BLOG_SUPERVISED";
/// How long the service may take to stop by itself.
const LIMIT: Duration = Duration::from_secs(12);

/// If the supervisor started this process, stops it when the supervisor ends.
pub fn end_with_supervisor() {
    if std::env::var_os(SUPERVISED).is_some() {
        // A suspended process cannot see the end of its input: the supervisor's end resumes it. If the system refuses,
        // all but suspended processes still end.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::CONT));
        std::thread::spawn(|| {
            wait_for_end(io::stdin());
            // If the signal fails or is ignored, the exit below remains.
            let _ = kill_process(getpid(), Signal::TERM);
            std::thread::sleep(LIMIT);
            std::process::exit(1);
        });
    }
}

/// Reads until the end of the input.
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
