//! The other visible pages of this browser, which share its few connections to the site.
//!
//! Only the newest streams stay open. Each page tells the others when its stream opens and closes, and so knows how many
//! are newer than its own. There is no leader: a page that dies unexpectedly leaves nothing behind but a wrong count,
//! until the next page is shown.

use super::Listener;
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{BroadcastChannel, MessageEvent, js_sys};

/// How many streams a browser has open at the same time: half of its connections.
const MAX_STREAMS: usize = 3;

/// The messages are numbers: the id of a page whose stream opens, the negative id of one whose stream closes.
pub(super) struct OtherPages {
    channel: BroadcastChannel,
    id: i32,
    /// The pages whose streams opened after this page's.
    newer: Rc<RefCell<Vec<i32>>>,
    _listener: Listener,
}

impl OtherPages {
    /// Calls `on_change` whenever another stream opens or closes, and says whether there are too many newer ones. `None`
    /// if the browser has no such channel.
    pub(super) fn join(on_change: impl Fn(bool) + 'static) -> Option<Self> {
        let channel = BroadcastChannel::new("live").ok()?;
        let newer = Rc::new(RefCell::new(Vec::new()));
        let ids = newer.clone();
        let listener = Listener::new(move |event: JsValue| {
            let Some(message) = event.unchecked_into::<MessageEvent>().data().as_f64() else { return };
            let message = message as i32;
            let mut ids = ids.borrow_mut();
            ids.retain(|id| *id != message.abs());
            if message > 0 {
                ids.push(message);
            }
            let crowded = ids.len() >= MAX_STREAMS;
            drop(ids);
            on_change(crowded);
        });
        channel.set_onmessage(Some(listener.as_ref().unchecked_ref()));
        Some(Self { channel, id: 1 + (js_sys::Math::random() * 1e9) as i32, newer, _listener: listener })
    }

    /// This page's stream opens, and is the newest.
    pub(super) fn opened(&self) {
        self.newer.borrow_mut().clear();
        self.send(self.id);
    }

    pub(super) fn closed(&self) {
        self.send(-self.id);
    }

    fn send(&self, message: i32) {
        // Fails for closed channels and for values that cannot be copied: not here.
        let _ = self.channel.post_message(&message.into());
    }
}

impl Drop for OtherPages {
    fn drop(&mut self) {
        self.closed();
        // A page with an open channel might not be kept for going back.
        self.channel.close();
    }
}
