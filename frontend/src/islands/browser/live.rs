//! The stream of changes, open only while its page is visible.
//!
//! A browser opens at most six connections to a site over HTTP/1.1, for all its tabs together, and an open stream
//! keeps one. Pages that keep their stream while they are hidden, or while they wait in the back/forward cache, use
//! these connections up until no page of the site loads any more. So a page closes its stream as soon as it is hidden
//! or left, and opens a new one when it is shown again: a window has one stream at most, whatever it has opened and
//! visited. Of many windows side by side only the newest have one ([`Peers`]). (One stream for all would need a leader
//! and a way to notice its death; Chrome on Android has no SharedWorker, and Web Locks need https.)
//!
//! No change is missed, and nothing is loaded again for that. A stream begins after the change that the page has seen
//! last: in its address, as a new `EventSource` cannot send `Last-Event-ID` (the browser does when it resumes a broken
//! stream by itself). Where a page has missed too much, the server says so instead, and `load_again` is called.

use super::Listener;
use super::peers::Peers;
use leptos::prelude::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{EventSource, MessageEvent, js_sys};

/// The names of the events: something has changed, and too much has changed since.
const CHANGE: &str = "change";
const RELOAD: &str = "reload";
/// The longest pause between two attempts to connect, in milliseconds.
const MAX_PAUSE_MS: u32 = 30_000;
/// The attribute of `<html>` that says whether the page is live: `connecting`, `on` or `off`. Styles and tests use it.
const STATE: &str = "data-live";

fn set_state(state: &str) {
    if let Some(html) = document().document_element() {
        // Fails for invalid attribute names only.
        let _ = html.set_attribute(STATE, state);
    }
}

fn is_off() -> bool {
    document().document_element().and_then(|html| html.get_attribute(STATE)).as_deref() == Some("off")
}

/// Closes when it is dropped.
struct Stream {
    source: EventSource,
    _listeners: [(&'static str, Listener); 4],
}

impl Stream {
    fn is_closed(&self) -> bool {
        self.source.ready_state() == EventSource::CLOSED
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.source.close();
    }
}

struct Follower {
    /// The address of the stream, to which the sequence is added.
    url: String,
    /// The change that the page has seen last.
    after: RefCell<String>,
    load_again: Box<dyn Fn()>,
    on_change: Box<dyn Fn(&str)>,
    stream: RefCell<Option<Stream>>,
    peers: RefCell<Option<Peers>>,
    failures: Cell<u32>,
    /// The next attempt to connect: never more than one.
    retry: Cell<Option<TimeoutHandle>>,
}

/// Calls `on_change` with the data of each change after `sequence`, and `load_again` where changes are missing, for as
/// long as the page exists. `url` ends where the sequence belongs.
pub(crate) fn follow(
    url: String,
    sequence: String,
    load_again: impl Fn() + 'static,
    on_change: impl Fn(&str) + 'static,
) {
    let follower = Rc::new(Follower {
        url,
        after: RefCell::new(sequence),
        load_again: Box::new(load_again),
        on_change: Box::new(on_change),
        stream: RefCell::new(None),
        peers: RefCell::new(None),
        failures: Cell::new(0),
        retry: Cell::new(None),
    });
    follower.connect();
    let this = follower.clone();
    let changed = Listener::new(move |_| this.on_visibility_change());
    // `visibilitychange` comes late or not at all for pages that are left, depending on the browser.
    let this = follower.clone();
    let left = Listener::new(move |_| this.disconnect());
    // A visible page without a stream becomes the newest one by being clicked.
    let shown = Listener::new(move |_| follower.connect());
    let (document, window) = (document(), window());
    // No browser refuses these; one that did would only keep the stream open.
    let _ = document.add_event_listener_with_callback("visibilitychange", changed.as_ref().unchecked_ref());
    let _ = window.add_event_listener_with_callback("pagehide", left.as_ref().unchecked_ref());
    let _ = window.add_event_listener_with_callback("pageshow", shown.as_ref().unchecked_ref());
    let _ = window.add_event_listener_with_callback("focus", shown.as_ref().unchecked_ref());
    // They live as long as the page.
    for listener in [changed, left, shown] {
        listener.forget();
    }
}

impl Follower {
    fn connect(self: &Rc<Self>) {
        let connected = self.stream.borrow().as_ref().is_some_and(|stream| !stream.is_closed());
        if connected || document().hidden() {
            return;
        }
        self.cancel_retry();
        if !is_off() {
            set_state("connecting");
        }
        let url = self.url.clone() + &self.after.borrow();
        let Ok(source) = EventSource::new(&url) else { return };
        let this = self.clone();
        let open = Listener::new(move |_| {
            this.failures.set(0);
            set_state("on");
        });
        let this = self.clone();
        let change = Listener::new(move |event: JsValue| {
            if let Some(data) = this.seen(event).data().as_string() {
                (this.on_change)(&data);
            }
        });
        let this = self.clone();
        let reload = Listener::new(move |event: JsValue| {
            this.seen(event);
            (this.load_again)();
        });
        let this = self.clone();
        let error = Listener::new(move |_| this.on_error());
        let listeners = [("open", open), (CHANGE, change), (RELOAD, reload), ("error", error)];
        for (event, listener) in &listeners {
            // No browser refuses this; in one that did, the page would not be live.
            let _ = source.add_event_listener_with_callback(event, listener.as_ref().unchecked_ref());
        }
        *self.stream.borrow_mut() = Some(Stream { source, _listeners: listeners });
        if self.peers.borrow().is_none() {
            let this = self.clone();
            *self.peers.borrow_mut() = Peers::join(move |crowded| this.on_peers_change(crowded));
        }
        if let Some(peers) = &*self.peers.borrow() {
            peers.opened();
        }
    }

    /// Notes the event as the last one.
    fn seen(&self, event: JsValue) -> MessageEvent {
        let event: MessageEvent = event.unchecked_into();
        *self.after.borrow_mut() = event.last_event_id();
        event
    }

    fn cancel_retry(&self) {
        if let Some(retry) = self.retry.take() {
            retry.clear();
        }
    }

    fn disconnect(&self) {
        self.cancel_retry();
        self.stream.take();
        self.peers.take();
    }

    fn on_peers_change(self: &Rc<Self>, crowded: bool) {
        if !crowded {
            // One that was refused waits for its next attempt: what other pages do is no reason to hurry.
            let has_stream = self.stream.borrow().is_some();
            if !has_stream {
                self.connect();
            }
        } else if self.stream.take().is_some() {
            self.cancel_retry();
            set_state("off");
            if let Some(peers) = &*self.peers.borrow() {
                peers.closed();
            }
        }
    }

    fn on_visibility_change(self: &Rc<Self>) {
        if document().hidden() {
            self.disconnect();
        } else {
            self.connect();
        }
    }

    /// The stream is lost. Where the browser does not reconnect by itself (the request was refused), a new stream is
    /// opened after a pause.
    fn on_error(self: &Rc<Self>) {
        set_state("off");
        if !self.stream.borrow().as_ref().is_some_and(Stream::is_closed) {
            return;
        }
        let failures = self.failures.get();
        self.failures.set(failures + 1);
        let this = self.clone();
        self.cancel_retry();
        let retry = set_timeout_with_handle(move || this.connect(), pause(failures, js_sys::Math::random()));
        self.retry.set(retry.ok());
    }
}

/// How long to wait after another failure: twice as long each time. Half of it is random (from 0 to 1), so that the
/// readers of a site that is back do not all connect at once.
fn pause(failures_before: u32, random: f64) -> Duration {
    let longest = (1000_u32 << failures_before.min(5)).min(MAX_PAUSE_MS);
    Duration::from_millis((f64::from(longest) * f64::midpoint(1.0, random)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_twice_the_last_one_up_to_a_limit_and_half_of_it_is_random() {
        let pauses = |random| [0, 1, 4, 5, u32::MAX].map(|failures| pause(failures, random).as_millis());
        assert_eq!(pauses(1.0), [1_000, 2_000, 16_000, 30_000, 30_000]);
        assert_eq!(pauses(0.0), [500, 1_000, 8_000, 15_000, 15_000]);
    }
}
