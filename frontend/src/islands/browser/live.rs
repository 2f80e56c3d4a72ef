//! The stream of changes, for as long as the page is looked at.
//!
//! The browser reconnects a broken stream by itself and says where it was (`Last-Event-ID`). What is added here:
//! a stream that was refused is tried again, slower each time; and a page that nobody looks at gives its
//! connection back, because browsers grant only six of them per site.

use super::Listener;
use leptos::prelude::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{EventSource, MessageEvent, js_sys};

/// The name of the stream's events.
const EVENT: &str = "change";
/// The longest pause between two attempts, in milliseconds.
const LONGEST_PAUSE: u32 = 30_000;
/// How long a page may be out of sight before it gives its connection back.
const OUT_OF_SIGHT: Duration = Duration::from_secs(20);

/// An open stream with what listens to it. Dropping it closes the stream.
struct Stream {
    source: EventSource,
    _listeners: [(&'static str, Listener); 3],
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.source.close();
    }
}

struct Follower {
    url: String,
    on_open: Box<dyn Fn()>,
    on_change: Rc<dyn Fn(String)>,
    stream: RefCell<Option<Stream>>,
    failures: Cell<u32>,
}

/// Follows the changes at `url`: `on_open` is called whenever the stream begins, `on_change` with each change.
pub(crate) fn follow(url: String, on_open: impl Fn() + 'static, on_change: impl Fn(String) + 'static) {
    let follower = Rc::new(Follower {
        url,
        on_open: Box::new(on_open),
        on_change: Rc::new(on_change),
        stream: RefCell::new(None),
        failures: Cell::new(0),
    });
    follower.connect();
    let seen = Listener::new(move |_| follower.seen_or_not());
    // Refused by no browser; if one did, the stream would merely stay open.
    let _ = document().add_event_listener_with_callback("visibilitychange", seen.as_ref().unchecked_ref());
    // Lives as long as the page.
    seen.forget();
}

impl Follower {
    fn connect(self: &Rc<Self>) {
        if self.stream.borrow().is_some() || document().hidden() {
            return;
        }
        let Ok(source) = EventSource::new(&self.url) else { return };
        let this = self.clone();
        let open = Listener::new(move |_| {
            this.failures.set(0);
            (this.on_open)();
        });
        let on_change = self.on_change.clone();
        let change = Listener::new(move |event: JsValue| {
            if let Some(data) = event.unchecked_into::<MessageEvent>().data().as_string() {
                on_change(data);
            }
        });
        let this = self.clone();
        let error = Listener::new(move |_| this.broken());
        let listeners = [("open", open), (EVENT, change), ("error", error)];
        for (event, listener) in &listeners {
            // Refused by no browser; if one did, the page would merely not be live.
            let _ = source.add_event_listener_with_callback(event, listener.as_ref().unchecked_ref());
        }
        *self.stream.borrow_mut() = Some(Stream { source, _listeners: listeners });
    }

    /// The stream broke. If the browser has given up on it, it is opened anew after a pause.
    fn broken(self: &Rc<Self>) {
        let given_up =
            self.stream.borrow().as_ref().is_some_and(|s| s.source.ready_state() == EventSource::CLOSED);
        if !given_up {
            return;
        }
        let failures = self.failures.get();
        self.failures.set(failures + 1);
        let pause = (1000_u32 << failures.min(5)).min(LONGEST_PAUSE);
        // Half of it by chance, so that the readers of a site that comes back do not all come at once.
        let pause = f64::from(pause) * f64::midpoint(1.0, js_sys::Math::random());
        let this = self.clone();
        set_timeout(
            move || {
                // Not before: the listener that runs now is part of it.
                this.stream.take();
                this.connect();
            },
            Duration::from_millis(pause as u64),
        );
    }

    fn seen_or_not(self: &Rc<Self>) {
        if document().hidden() {
            let this = self.clone();
            set_timeout(
                move || {
                    if document().hidden() {
                        this.stream.take();
                    }
                },
                OUT_OF_SIGHT,
            );
        } else {
            self.connect();
        }
    }
}
