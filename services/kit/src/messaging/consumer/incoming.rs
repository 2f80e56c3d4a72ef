//! The events of a delivery. A large one is read on a thread of its own, while the writer applies what was read.

use crate::http::{ApiResult, RawBody};
use crate::messaging::events_body::read_each;
use shared::Envelope;
use std::sync::mpsc::{Receiver, channel};

/// How many events are passed on at once.
const PART: usize = 256;

/// Events in order, all of them or those that were read so far.
#[derive(Debug)]
pub(super) struct Incoming {
    read: Vec<Envelope>,
    rest: Option<Receiver<Part>>,
}

#[derive(Debug)]
struct Part {
    events: Vec<Envelope>,
    is_last: bool,
}

/// The rest of the delivery cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable;

impl From<Vec<Envelope>> for Incoming {
    fn from(read: Vec<Envelope>) -> Self {
        Self { read, rest: None }
    }
}

impl Incoming {
    /// The events of a body, and what has to run beside whoever takes them: it reads them.
    pub(super) fn reading(body: RawBody) -> (Self, impl FnOnce() -> ApiResult<()> + Send + 'static) {
        let (parts, rest) = channel();
        let read = move || {
            let mut events = Vec::with_capacity(PART);
            // Where nobody takes them any more, the write has failed, and says so.
            read_each(&body, |event| {
                events.push(event);
                if events.len() == PART {
                    let events = std::mem::replace(&mut events, Vec::with_capacity(PART));
                    let _ = parts.send(Part { events, is_last: false });
                }
            })?;
            let _ = parts.send(Part { events, is_last: true });
            Ok(())
        };
        (Self { read: Vec::new(), rest: Some(rest) }, read)
    }

    /// The event at this index, as soon as it is read; `None` after the last.
    pub(super) fn get(&mut self, at: usize) -> Result<Option<&Envelope>, Unreadable> {
        while at >= self.read.len()
            && let Some(rest) = &self.rest
        {
            // Without the last part, whoever reads has ended with an error.
            let part = rest.recv().map_err(|_| Unreadable)?;
            self.read.extend(part.events);
            if part.is_last {
                self.rest = None;
            }
        }
        Ok(self.read.get(at))
    }
}
