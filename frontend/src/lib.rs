//! The website: pages, islands, form handlers and the front door.
//!
//! The crate is compiled twice. With the feature `ssr` it is the server: it renders the pages, accepts plain forms and
//! forwards the public routes to the services. With the feature `hydrate` it is the browser's WebAssembly, which
//! contains the islands only.
//!
//! - `pages`: the pages, rendered on the server
//! - `islands`: the parts of them that run in the browser
//! - `server`: handlers of pages and forms, the front door, files, headers, settings
//!
//! `server` uses `pages`, and `pages` use `islands`; never the other way round.

// The type of a page contains the types of all its elements.
#![recursion_limit = "256"]

mod islands;

#[cfg(feature = "ssr")]
mod pages;
#[cfg(feature = "ssr")]
pub mod server;

/// Starts the runtime of the islands. The page's script then starts each island by its name.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    leptos::mount::hydrate_islands();
}
