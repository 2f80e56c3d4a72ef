//! What islands do in the browser: take over forms, send requests, follow the stream of changes. The server compiles
//! this too, since the islands name it, but never runs it.

pub(crate) mod form;
pub(crate) mod json;
pub(crate) mod live;
mod other_pages;
pub(crate) mod request;

use std::pin::Pin;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::Closure;

/// One type for every event, since each type brings its own glue code.
type Listener = Closure<dyn Fn(JsValue)>;

/// Islands run on the server too, where they must not start anything.
pub(crate) const IS_BROWSER: bool = cfg!(feature = "hydrate");

/// Runs a future in the background. (Boxed, because each type of future would bring its own copy of the executor.)
pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) {
    let future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(future);
    leptos::task::spawn_local(future);
}
