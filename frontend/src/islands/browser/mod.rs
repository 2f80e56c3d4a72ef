//! What islands do in the browser: take over forms, send requests, listen for changes. On the server this is
//! compiled, since the islands name it, and never runs.

pub(crate) mod form;
pub(crate) mod live;
pub(crate) mod request;

use std::pin::Pin;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::Closure;

/// What the browser calls. One kind for every event, since each kind brings its own glue.
type Listener = Closure<dyn Fn(JsValue)>;

/// Whether this is the browser. Islands run on the server as well, where they must start nothing.
pub(crate) const HERE: bool = cfg!(feature = "hydrate");

/// Runs a future beside everything else. (Boxed: each kind of future would bring its own copy of the executor.)
pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) {
    let future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(future);
    leptos::task::spawn_local(future);
}
