//! What all pages have in common: head, header, footer, and the script that starts the islands.

use super::page::{Content, Page};
use html_escape::encode_double_quoted_attribute as escape;
use leptos::prelude::*;

const SITE: &str = "mini-blog";

/// Loads script and WebAssembly in parallel, waits until the browser is idle (two seconds at most), and hydrates one
/// island after the other. An island that fails does not affect the others. Sets `data-live` on `<html>`: `"off"` if
/// anything was blocked or failed, otherwise `"on"` unless an island follows the stream, which then sets it. The page
/// works without any of this.
///
/// Used instead of Leptos' `HydrationScripts`, which sets a wrong `crossorigin` on its preloads, waits for idleness
/// without a limit, and stops at the first island that fails.
const HYDRATE: &str = include_str!("hydrate.js");

/// Reloads the page after `cargo leptos watch` has built something.
const RELOAD: &str = include_str!("reload.js");

const HEAD: &str = "\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<meta name=\"theme-color\" content=\"#fbfaf7\" media=\"(prefers-color-scheme: light)\">
<meta name=\"theme-color\" content=\"#16171a\" media=\"(prefers-color-scheme: dark)\">
<link rel=\"icon\" href=\"/favicon.svg\" type=\"image/svg+xml\">
";

/// The paths of the built files that a page loads. The page works without them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Assets {
    pub css: Option<String>,
    /// The script, and the WebAssembly that it loads.
    pub script: Option<(String, String)>,
}

/// What a page has besides its content.
#[derive(Debug)]
pub(crate) struct Frame {
    css: Option<String>,
    /// The scripts inside the page, which its content security policy names.
    scripts: Vec<String>,
}

impl Frame {
    /// `reload_port` is that of `cargo leptos watch`, while it runs.
    pub(crate) fn new(assets: Assets, reload_port: Option<u16>) -> Self {
        let hydrate = assets.script.iter().map(|(js, wasm)| call(HYDRATE, &[js, wasm]));
        let reload = reload_port.iter().map(|port| call(RELOAD, &[&port.to_string()]));
        Self { scripts: hydrate.chain(reload).collect(), css: assets.css }
    }

    pub(crate) fn scripts(&self) -> &[String] {
        &self.scripts
    }
}

/// Calls a script with these arguments.
fn call(script: &str, arguments: &[&str]) -> String {
    // JSON strings, in which no `</script>` can occur.
    let arguments =
        serde_json::to_string(arguments).unwrap_or_else(|_| "[]".to_owned()).replace('<', "\\u003c");
    format!("({})(...{arguments})", script.trim())
}

/// The head is plain text: Leptos marks the places of dynamic children with comments, which a `<title>` would show.
pub(crate) fn document(page: Page, frame: &Frame) -> impl IntoView + use<> {
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
    let css = frame.css.iter().map(|css| format!("<link rel=\"stylesheet\" href=\"{}\">\n", escape(css)));
    let scripts = frame.scripts.iter().map(|script| format!("<script type=\"module\">{script}</script>\n"));
    let files: String = css.chain(scripts).collect();
    format!("\n<meta charset=\"utf-8\">\n<title>{}</title>\n{HEAD}{files}", escape(&title))
}

/// A whole page of ready HTML, without Leptos and without scripts.
pub(crate) fn plain_document(title: &str, content: &str, frame: &Frame) -> String {
    let frame = Frame { css: frame.css.clone(), scripts: Vec::new() };
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head>{}</head><body>\
         <header class=\"site\"><a class=\"name\" href=\"/\">{SITE}</a></header>\
         <main id=\"main\">{content}</main></body></html>",
        head(title, &frame)
    )
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
