//! The website: pages, islands, form handlers and the front door.
//!
//! The crate is compiled twice. With the feature `ssr` it is the server, in which everything is: it renders the
//! pages, takes plain forms and forwards the public routes to the services. With the feature `hydrate` it is the
//! browser's WebAssembly, which holds the islands alone.
//!
//! Where to look:
//! - `pages`: what a reader is sent; `islands`: the parts of it that wake up in the browser; `thread` and
//!   `notice`: what islands decide, as plain functions; `browser`: how they send and listen.
//! - `server`: the front door, the form handlers, the files, the headers.

// The type of a page spells out all of its elements.
#![recursion_limit = "256"]

mod islands;

#[cfg(feature = "ssr")]
mod pages;
#[cfg(feature = "ssr")]
pub mod server;

/// Wakes the runtime of the islands; the page's script then wakes each island by its name.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    leptos::mount::hydrate_islands();
}
