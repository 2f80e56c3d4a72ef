//! The frame of every page: head, header, footer, and the script that wakes the islands.

use super::page::{Content, Page};
use leptos::nonce::use_nonce;
use leptos::prelude::*;

/// The name of the site.
const SITE: &str = "mini-blog";

/// Wakes the islands: fetches script and WebAssembly together, waits until the page is at rest (two seconds at
/// most), then wakes one island after the other. One that fails leaves the others alone. Says on `<html>` whether
/// the page is live: `data-live="on"`, or `"off"` where anything was blocked or failed; everything works without.
///
/// Written by hand instead of Leptos' `HydrationScripts`, which gives its preloads a wrong `crossorigin`, waits
/// for rest without end, and stops at the first island that fails.
const WAKE: &str = include_str!("hydrate.js");

/// Reloads the page when `cargo leptos watch` has built something.
const RELOAD: &str = include_str!("reload.js");

/// What every head says.
const HEAD: &str = "\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<meta name=\"theme-color\" content=\"#fbfaf7\" media=\"(prefers-color-scheme: light)\">
<meta name=\"theme-color\" content=\"#16171a\" media=\"(prefers-color-scheme: dark)\">
<link rel=\"icon\" href=\"/favicon.svg\" type=\"image/svg+xml\">
";

/// The paths of what a page loads. What was not built is left out, and the page works without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Assets {
    /// The style sheet.
    pub css: Option<String>,
    /// The script that loads the WebAssembly, and the WebAssembly.
    pub script: Option<(String, String)>,
}

/// What a page is framed with.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The files it loads.
    pub assets: Assets,
    /// Where it listens for reloads, while the site is being worked on.
    pub reload_port: Option<u16>,
}

/// A script of ours, called with these texts.
fn call(script: &str, arguments: &[&str]) -> String {
    // Paths from a checked hash file and numbers; JSON keeps them texts whatever they are.
    let arguments =
        serde_json::to_string(arguments).unwrap_or_else(|_| "[]".to_owned()).replace('<', "\\u003c");
    format!("({})(...{arguments})", script.trim())
}

/// A text between tags, or as the value of an attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The whole document. The head is plain text, since Leptos marks the places of dynamic children with comments,
/// and a `<title>` would show them.
pub(crate) fn document(page: Page, frame: &Frame) -> impl IntoView + use<> {
    // The page itself is not hydrated, only its islands are: each counts its places anew, here as in the browser.
    if let Some(shared) = Owner::current_shared_context() {
        shared.set_is_hydrating(false);
    }
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head inner_html=head(&page.title, frame)></head>
            {body(page.content)}
        </html>
    }
}

fn head(title: &str, frame: &Frame) -> String {
    let title = if title.is_empty() { SITE.to_owned() } else { format!("{title} · {SITE}") };
    let css =
        frame.assets.css.iter().map(|css| format!("<link rel=\"stylesheet\" href=\"{}\">\n", escape(css)));
    let wake = frame.assets.script.iter().map(|(js, wasm)| call(WAKE, &[js, wasm]));
    let reload = frame.reload_port.iter().map(|port| call(RELOAD, &[&port.to_string()]));
    // The word that marks scripts as ours: leptos_axum gives each answer a new one.
    let nonce = use_nonce().map(|nonce| nonce.to_string()).unwrap_or_default();
    let scripts = wake
        .chain(reload)
        .map(|script| format!("<script type=\"module\" nonce=\"{nonce}\">{script}</script>\n"));
    let files: String = css.chain(scripts).collect();
    format!("\n<meta charset=\"utf-8\">\n<title>{}</title>\n{HEAD}{files}", escape(&title))
}

fn body(content: Content) -> impl IntoView {
    view! {
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
                {content()}
            </main>
            <footer class="site">
                <p>"Five services, one log of events, no page without its text."</p>
                <p class="not-live">"Live updates are off. Reload the page to see what is new."</p>
            </footer>
        </body>
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
