//! One stream of lines from many processes, each line with the name of its process.

use crate::process_name::ProcessName;
use shared::ServiceName;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How many lines may wait to be written. More are dropped and counted: a terminal whose output is paused, or a full
/// pipe, must not block the services.
const WAITING: usize = 4_096;
/// The size at which the write buffer is flushed; its last line may exceed it.
const WRITE_BUFFER: usize = 64 * 1024;
/// How long the last lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);
/// The width of the longest name, and what the number of a replica adds to it.
const WIDTH: usize = 10;
const NUMBER_WIDTH: usize = 2;
/// The label of the supervisor's own lines.
const OWN_NAME: &str = "mini-blog";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineSource {
    Stack,
    Service(ProcessName),
}

/// Writes labelled lines; clones write to the same place.
#[derive(Debug, Clone)]
pub struct Output {
    lines: SyncSender<Option<String>>,
    dropped: Arc<AtomicU64>,
    colour: bool,
    width: usize,
}

/// Waits until everything has been written.
#[derive(Debug)]
pub struct Writer(Receiver<()>);

impl Output {
    /// Writes to standard output, in colour if that is a terminal and `NO_COLOR` is not set.
    pub fn stdout() -> (Self, Writer) {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self::to(io::stdout(), colour)
    }

    pub fn to(target: impl Write + Send + 'static, colour: bool) -> (Self, Writer) {
        let (lines, waiting) = sync_channel(WAITING);
        let (done, writer) = sync_channel(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let output = Self { lines, dropped: Arc::clone(&dropped), colour, width: WIDTH };
        std::thread::spawn(move || {
            write_lines(target, &waiting, &dropped);
            let _ = done.send(());
        });
        (output, Writer(writer))
    }

    /// With room for the numbers of replicas.
    pub fn with_numbers(mut self) -> Self {
        self.width = WIDTH + NUMBER_WIDTH;
        self
    }

    pub fn line(&self, source: LineSource, text: &str) {
        self.send(format!("{}{}\n", label(source, self.colour, self.width), printable(text)));
    }

    /// One line of the supervisor itself.
    pub fn say(&self, text: &str) {
        self.line(LineSource::Stack, text);
    }

    /// One line without a label, for scripts that wait for it.
    pub fn plain(&self, text: &str) {
        self.send(format!("{}\n", printable(text)));
    }

    fn send(&self, line: String) {
        if self.lines.try_send(Some(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes the remaining lines, for a second at most.
    pub fn finish(self, writer: &Writer) {
        let until = Instant::now() + LAST_LINES;
        while self.lines.try_send(None).is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = writer.0.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn write_lines(mut target: impl Write, waiting: &Receiver<Option<String>>, dropped: &AtomicU64) {
    let mut buffer = String::new();
    while let Ok(Some(first)) = waiting.recv() {
        buffer.clear();
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            buffer = format!(
                "{}{lost} lines could not be written in time\n",
                label(LineSource::Stack, false, WIDTH)
            );
        }
        buffer.push_str(&first);
        // All waiting lines in one write: a busy stack logs thousands of lines a second.
        let mut last = false;
        while buffer.len() < WRITE_BUFFER {
            match waiting.try_recv() {
                Ok(Some(line)) => buffer.push_str(&line),
                Ok(None) => last = true,
                Err(_) => break,
            }
        }
        // The services go on without a reader.
        let _ = target.write_all(buffer.as_bytes()).and_then(|()| target.flush());
        if last {
            return;
        }
    }
}

fn label(source: LineSource, colour: bool, width: usize) -> String {
    let (name, code) = match source {
        LineSource::Stack => (OWN_NAME.to_owned(), 1),
        LineSource::Service(process) => (process.to_string(), colour_of(process.service)),
    };
    if colour { format!("\x1b[{code}m{name:<width$} |\x1b[0m ") } else { format!("{name:<width$} | ") }
}

const fn colour_of(service: ServiceName) -> u8 {
    match service {
        ServiceName::EventBus => 35,
        ServiceName::Posts => 36,
        ServiceName::Comments => 32,
        ServiceName::Moderation => 33,
        ServiceName::Query => 34,
        ServiceName::Frontend => 95,
    }
}

/// Without control characters, by which a logged text could control the reader's terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A terminal whose output is paused for ever; reports its first line.
    struct Held(SyncSender<()>);

    impl Write for Held {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(());
            loop {
                std::thread::park();
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn names_stand_in_one_column_and_lines_stay_whole() {
        let buffer = Page::default();
        let (output, writer) = Output::to(buffer.clone(), false);
        output.line(LineSource::Service(ServiceName::Posts.into()), "one");
        output.line(LineSource::Service(ServiceName::Moderation.into()), "two\x1b[2J");
        output.plain("ready");
        output.finish(&writer);
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "posts      | one\nmoderation | two\u{fffd}[2J\nready\n");
        let second = LineSource::Service("moderation/2".parse().unwrap());
        assert_eq!(label(second, false, WIDTH + NUMBER_WIDTH), "moderation/2 | ");
    }

    #[test]
    fn every_service_has_a_colour_of_its_own() {
        let colours: std::collections::HashSet<_> = ServiceName::ALL.into_iter().map(colour_of).collect();
        assert_eq!(colours.len(), ServiceName::ALL.len());
        assert!(ServiceName::ALL.into_iter().all(|s| s.as_str().len() <= WIDTH));
        assert!(
            label(LineSource::Service(ServiceName::Posts.into()), true, WIDTH).starts_with("\x1b[36mposts")
        );
    }

    #[test]
    fn a_blocked_terminal_does_not_block_services() {
        let (holding, held) = sync_channel(1);
        let (output, writer) = Output::to(Held(holding), false);
        output.say("the line that is held");
        held.recv().unwrap();
        for _ in 0..WAITING * 2 {
            output.say("line");
        }
        assert_eq!(output.dropped.load(Ordering::Relaxed), WAITING as u64);
        output.finish(&writer);
    }
}
