//! The frame of every page: head, header, footer, and the script that wakes the islands.

use super::Page;
use crate::server::{Assets, Nonce};
use hydration_context::SsrSharedContext;
use leptos::prelude::*;
use std::sync::Arc;

/// The name of the site.
const SITE: &str = "mini-blog";

/// Wakes the islands: fetches script and WebAssembly together, waits until the page is at rest (two seconds at
/// most), then wakes one island after the other. One that fails leaves the others alone. Says on `<html>` whether
/// the page is live: `data-live="on"`, or `"off"` where anything was blocked or failed; everything works without.
///
/// Written by hand instead of Leptos' `HydrationScripts`, which gives its preloads a wrong `crossorigin`, waits
/// for rest without end, and stops at the first island that fails.
const WAKE: &str = include_str!("wake.js");

/// Reloads the page when `cargo leptos watch` has built something.
const RELOAD: &str = include_str!("reload.js");

/// What a page is framed with.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The files it loads.
    pub assets: Assets,
    /// What marks its scripts as ours.
    pub nonce: Nonce,
    /// Where it listens for reloads, while the site is being worked on.
    pub reload_port: Option<u16>,
}

/// A script of ours, called with these texts.
fn call(script: &str, arguments: &[&str]) -> String {
    // Paths from a checked hash file and numbers; JSON keeps them texts whatever they are.
    let arguments = serde_json::to_string(arguments).unwrap_or_else(|_| "[]".to_owned()).replace('<', "\\u003c");
    format!("({})(...{arguments})", script.trim())
}

fn scripts(frame: &Frame) -> impl IntoView + use<> {
    let nonce = frame.nonce.as_str().to_owned();
    let wake = frame.assets.script.as_ref().map(|(js, wasm)| call(WAKE, &[js, wasm]));
    let reload = frame.reload_port.map(|port| call(RELOAD, &[&port.to_string()]));
    [wake, reload].into_iter().flatten().map(|script| {
        view! {
            <script type="module" nonce=nonce.clone()>
                {script}
            </script>
        }
    }).collect_view()
}

/// The whole document.
pub(crate) fn document(page: Page, frame: &Frame) -> String {
    let owner = Owner::new_root(Some(Arc::new(SsrSharedContext::new_islands())));
    let html = owner.with(|| framed(page, frame).to_html());
    owner.unset_with_forced_cleanup();
    format!("<!DOCTYPE html>{html}")
}

fn framed(page: Page, frame: &Frame) -> impl IntoView + use<> {
    let title = if page.title.is_empty() { SITE.to_owned() } else { format!("{} · {SITE}", page.title) };
    let css = frame.assets.css.clone().map(|css| view! { <link rel="stylesheet" href=css /> });
    view! {
        <html lang="en">
            <head>
                <meta charset="utf-8" />
                <title>{title}</title>
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                <meta name="color-scheme" content="light dark" />
                <meta name="theme-color" content="#fbfaf7" media="(prefers-color-scheme: light)" />
                <meta name="theme-color" content="#16171a" media="(prefers-color-scheme: dark)" />
                <link rel="icon" href="/favicon.svg" type="image/svg+xml" />
                {css}
                {scripts(frame)}
            </head>
            <body>
                <a class="skip" href="#main">
                    "Skip to content"
                </a>
                <header class="site">
                    <a class="name" href="/">
                        {SITE}
                    </a>
                    <nav aria-label="Site">
                        <a class="write" href="/#new-post">
                            "Write a post"
                        </a>
                    </nav>
                </header>
                <main id="main" tabindex="-1">
                    {(page.content)()}
                </main>
                <footer class="site">
                    <p>"Five services, one log of events, no page without its text."</p>
                    <p class="not-live">"Live updates are off. Reload the page to see what is new."</p>
                </footer>
            </body>
        </html>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_cannot_leave_its_script() {
        assert_eq!(call("f", &["</script>\"\u{2028}"]), "(f)(...[\"\\u003c/script>\\\"\u{2028}\"])");
    }
}
