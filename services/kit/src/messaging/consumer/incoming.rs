//! The events of a delivery. A large one is read on a thread of its own, while the writer applies what was read.

use crate::http::{ApiResult, RawBody};
use crate::messaging::events_body::read_each;
use shared::{Envelope, Event, EventType, ServiceName};
use std::sync::mpsc::{Receiver, channel};

/// How many events are passed on at once.
const PART: usize = 256;

/// Events in order, all of them or those that were read so far.
#[derive(Debug)]
pub(super) struct Incoming {
    /// In the parts in which they were read: an event is large, and is not moved again.
    read: Vec<Vec<Arrived>>,
    rest: Option<Receiver<Part>>,
}

#[derive(Debug)]
struct Part {
    events: Vec<Arrived>,
    is_last: bool,
}

/// An event as it was read.
#[derive(Debug)]
pub(super) struct Arrived {
    pub envelope: Envelope,
    /// Read from the envelope beside the writer, if it concerns the service and can be read.
    pub event: Option<Event>,
}

impl Arrived {
    fn read(envelope: Envelope, me: ServiceName) -> Self {
        let concerns = envelope.kind.parse::<EventType>().is_ok_and(|kind| kind.concerns(me));
        let event = if concerns { envelope.event().ok().flatten() } else { None };
        Self { envelope, event }
    }
}

/// The rest of the delivery cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable;

impl From<Vec<Envelope>> for Incoming {
    fn from(read: Vec<Envelope>) -> Self {
        let read = read.into_iter().map(|envelope| Arrived { envelope, event: None }).collect();
        Self { read: vec![read], rest: None }
    }
}

impl Incoming {
    /// The events of a body, and what has to run beside whoever takes them: it reads them.
    pub(super) fn reading(
        body: RawBody,
        me: ServiceName,
    ) -> (Self, impl FnOnce() -> ApiResult<()> + Send + 'static) {
        let (parts, rest) = channel();
        let read = move || {
            let mut events = Vec::with_capacity(PART);
            // Where nobody takes them any more, the write has failed, and says so.
            read_each(&body, |event| {
                events.push(Arrived::read(event, me));
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

    /// The part at this index, as soon as it is read; `None` after the last.
    pub(super) fn part(&mut self, at: usize) -> Result<Option<&mut [Arrived]>, Unreadable> {
        while at >= self.read.len()
            && let Some(rest) = &self.rest
        {
            // Without the last part, whoever reads has ended with an error.
            let part = rest.recv().map_err(|_| Unreadable)?;
            self.read.push(part.events);
            if part.is_last {
                self.rest = None;
            }
        }
        Ok(self.read.get_mut(at).map(Vec::as_mut_slice))
    }
}
