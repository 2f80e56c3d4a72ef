//! The live updates of a page: a stream of Server-Sent Events, open only while the page is visible.
//!
//! Over HTTP/1.1 a browser opens at most six connections to a site, for all its tabs together, and an open stream uses
//! one of them. If hidden pages, and those in the back/forward cache, kept their streams, no connection would be left to
//! load a page with. So a page closes its stream when it is hidden or left, and opens a new one when it is shown again:
//! each window has at most one. With many windows side by side, only those that opened last have one ([`OtherPages`]). One
//! stream for all pages would need a leader election: Chrome on Android has no SharedWorker, and Web Locks need https.
//!
//! A new stream starts after the last event that the page has received, so no update is lost and nothing is loaded
//! twice. The sequence of that event is part of the address, since a new `EventSource` cannot send `Last-Event-ID`; when
//! the browser reconnects by itself, it does. If the page is too far behind, the server sends `reload` instead of the
//! updates, and `load_again` is called.

use super::Listener;
use super::other_pages::OtherPages;
use leptos::prelude::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{EventSource, MessageEvent, js_sys};

/// The names of the events: an update, and a request to load the page's data again instead of too many updates.
const CHANGE: &str = "change";
const RELOAD: &str = "reload";
/// The longest delay between two attempts to connect, in milliseconds.
const MAX_PAUSE_MS: u32 = 30_000;
/// The attribute of `<html>` with the state of the stream: `connecting`, `on` or `off`. Styles and tests use it.
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
    /// The address of the stream; the sequence is appended to it.
    url: String,
    /// The sequence of the last event that the page has received.
    after: RefCell<String>,
    load_again: Box<dyn Fn(&MessageEvent)>,
    on_change: Box<dyn Fn(&MessageEvent)>,
    stream: RefCell<Option<Stream>>,
    other_pages: RefCell<Option<OtherPages>>,
    failures: Cell<u32>,
    /// The timer of the next attempt to connect; there is at most one.
    retry: Cell<Option<TimeoutHandle>>,
}

/// Calls `on_change` with each update after `sequence`, and `load_again` if there were too many to send, for as long as the
/// page exists. The sequence is appended to `url`. What is loaded because of an event must be as new as its id says.
pub(crate) fn follow(
    url: String,
    sequence: String,
    load_again: impl Fn(&MessageEvent) + 'static,
    on_change: impl Fn(&MessageEvent) + 'static,
) {
    let follower = Rc::new(Follower {
        url,
        after: RefCell::new(sequence),
        load_again: Box::new(load_again),
        on_change: Box::new(on_change),
        stream: RefCell::new(None),
        other_pages: RefCell::new(None),
        failures: Cell::new(0),
        retry: Cell::new(None),
    });
    follower.connect();
    let this = follower.clone();
    let changed = Listener::new(move |_| this.on_visibility_change());
    // When a page is left, some browsers send `visibilitychange` late or never.
    let this = follower.clone();
    let left = Listener::new(move |_| this.disconnect());
    // A click into a visible page without a stream makes it the newest one.
    let shown = Listener::new(move |_| follower.connect());
    let (document, window) = (document(), window());
    // These never fail in practice; if one did, the stream would only stay open for too long.
    let _ = document.add_event_listener_with_callback("visibilitychange", changed.as_ref().unchecked_ref());
    let _ = window.add_event_listener_with_callback("pagehide", left.as_ref().unchecked_ref());
    let _ = window.add_event_listener_with_callback("pageshow", shown.as_ref().unchecked_ref());
    let _ = window.add_event_listener_with_callback("focus", shown.as_ref().unchecked_ref());
    // They are needed as long as the page exists.
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
        let change = Listener::new(move |event: JsValue| (this.on_change)(&this.seen(event)));
        let this = self.clone();
        let reload = Listener::new(move |event: JsValue| (this.load_again)(&this.seen(event)));
        let this = self.clone();
        let error = Listener::new(move |_| this.on_error());
        let listeners = [("open", open), (CHANGE, change), (RELOAD, reload), ("error", error)];
        for (event, listener) in &listeners {
            // This never fails in practice; if it did, the page would only miss its updates.
            let _ = source.add_event_listener_with_callback(event, listener.as_ref().unchecked_ref());
        }
        *self.stream.borrow_mut() = Some(Stream { source, _listeners: listeners });
        if self.other_pages.borrow().is_none() {
            let this = self.clone();
            *self.other_pages.borrow_mut() =
                OtherPages::join(move |crowded| this.on_other_pages_change(crowded));
        }
        if let Some(other_pages) = &*self.other_pages.borrow() {
            other_pages.opened();
        }
    }

    /// Stores the sequence of the event, and returns the event.
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
        self.other_pages.take();
    }

    fn on_other_pages_change(self: &Rc<Self>, crowded: bool) {
        if !crowded {
            // After a refused connection the timer decides when to try again, not the other pages.
            let has_stream = self.stream.borrow().is_some();
            if !has_stream {
                self.connect();
            }
        } else if self.stream.take().is_some() {
            self.cancel_retry();
            set_state("off");
            if let Some(other_pages) = &*self.other_pages.borrow() {
                other_pages.closed();
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

    /// The stream is broken. If the browser does not reconnect by itself, which is so after a refused request, a new
    /// stream is opened after a delay.
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

/// The delay before the next attempt: it doubles with each failure. Half of it is random (`random` is from 0 to 1), so
/// that not all readers connect at the same moment when the site is available again.
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
