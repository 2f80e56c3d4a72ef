//! Renders posts from Markdown to safe HTML.
//!
//! Two layers: HTML in the Markdown is dropped, and the result is sanitised with an allow-list. The result is cached,
//! since a version of a post never changes.

use ammonia::{Builder, UrlRelative};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};
use shared::PostId;
use shared::views::PostView;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// How deep quotes and lists may be nested; deeper ones are flattened.
const MAX_DEPTH: u32 = 16;
/// Limit for the table cells of a text: rows are filled up to the width of the table's head, so a short text can make
/// very many. Beyond the limit its tables stay Markdown.
const MAX_CELLS: usize = 5_000;
/// Limit for the cached HTML.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

static ALLOWED: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let tags = [
        "a",
        "blockquote",
        "br",
        "code",
        "del",
        "em",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "li",
        "ol",
        "p",
        "pre",
        "strong",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "ul",
    ];
    let mut allowed = Builder::empty();
    allowed
        .add_tags(tags)
        .add_tag_attributes("a", ["href", "title"])
        .add_tag_attributes("ol", ["start"])
        // What scrolls must be reachable by the keyboard.
        .set_tag_attribute_value("pre", "tabindex", "0")
        // Not added to ammonia's own list, which has many more.
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .url_relative(UrlRelative::PassThrough)
        .link_rel(Some("nofollow ugc noopener"))
        .add_clean_content_tags(["script", "style"]);
    allowed
});

/// What has to be known about the whole text before it is rendered.
#[derive(Default)]
struct Survey {
    /// Whether each level is used.
    headings: [bool; 6],
    cells: usize,
}

impl Survey {
    fn of<'a>(events: impl Iterator<Item = Event<'a>>) -> Self {
        let mut survey = Self::default();
        for event in events {
            match event {
                Event::Start(Tag::Heading { level, .. }) => survey.headings[level as usize - 1] = true,
                Event::Start(Tag::TableCell) => survey.cells += 1,
                _ => {}
            }
        }
        survey
    }

    /// The page's title is its only heading of the first level, so the highest one of the text becomes the second level,
    /// and no level is skipped below it.
    fn level(&self, level: HeadingLevel) -> HeadingLevel {
        let above = self.headings.iter().take(level as usize - 1).filter(|used| **used).count();
        HeadingLevel::try_from(above + 2).unwrap_or(HeadingLevel::H6)
    }
}

fn nests(tag: TagEnd) -> bool {
    matches!(tag, TagEnd::BlockQuote(_) | TagEnd::List(_) | TagEnd::Item)
}

/// Drops HTML, images and nesting beyond the limit.
fn tame<'a>(events: impl Iterator<Item = Event<'a>>, survey: &Survey) -> impl Iterator<Item = Event<'a>> {
    let mut depth = 0_u32;
    events.filter_map(move |event| match event {
        Event::Html(_)
        | Event::InlineHtml(_)
        | Event::Start(Tag::HtmlBlock | Tag::Image { .. })
        | Event::End(TagEnd::HtmlBlock | TagEnd::Image) => None,
        Event::Start(Tag::Heading { level, .. }) => Some(Event::Start(Tag::Heading {
            level: survey.level(level),
            id: None,
            classes: Vec::new(),
            attrs: Vec::new(),
        })),
        Event::End(TagEnd::Heading(level)) => Some(Event::End(TagEnd::Heading(survey.level(level)))),
        Event::Start(tag) if nests(tag.to_end()) => {
            depth += 1;
            (depth <= MAX_DEPTH).then_some(Event::Start(tag))
        }
        Event::End(tag) if nests(tag) => {
            depth = depth.saturating_sub(1);
            (depth < MAX_DEPTH).then_some(Event::End(tag))
        }
        other => Some(other),
    })
}

pub(crate) fn to_html(markdown: &str) -> String {
    let mut extensions = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let survey = Survey::of(Parser::new_ext(markdown, extensions));
    if survey.cells > MAX_CELLS {
        extensions.remove(Options::ENABLE_TABLES);
    }
    let mut raw = String::with_capacity(markdown.len() * 3 / 2);
    html::push_html(&mut raw, tame(Parser::new_ext(markdown, extensions), &survey));
    ALLOWED.clean(&raw).to_string()
}

/// A post and its version.
type Key = (PostId, u32);

/// The HTML of posts, rendered once for each version.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    html: HashMap<Key, Arc<str>>,
    oldest: VecDeque<Key>,
    bytes: usize,
}

impl Rendered {
    pub(super) fn body(&self, post: &PostView) -> Arc<str> {
        // A post without a version may have changed.
        let Some(version) = post.version else { return to_html(&post.body).into() };
        let key = (post.id.clone(), version);
        if let Some(html) = self.cache().html.get(&key) {
            return html.clone();
        }
        let html: Arc<str> = to_html(&post.body).into();
        self.cache().insert(key, html.clone(), CACHE_BYTES);
        html
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn insert(&mut self, key: Key, html: Arc<str>, limit: usize) {
        self.bytes += html.len();
        if let Some(before) = self.html.insert(key.clone(), html) {
            self.bytes -= before.len();
        } else {
            self.oldest.push_back(key);
        }
        while self.bytes > limit {
            let Some(oldest) = self.oldest.pop_front() else { return };
            self.bytes -= self.html.remove(&oldest).map_or(0, |html| html.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    #[test]
    fn markdown_becomes_html() {
        assert_eq!(to_html("a **b** *c* `d`"), "<p>a <strong>b</strong> <em>c</em> <code>d</code></p>\n");
        assert_eq!(to_html("# Title\n###### Deep"), "<h2>Title</h2>\n<h3>Deep</h3>\n");
        assert_eq!(to_html("### a\n# b\n## c"), "<h4>a</h4>\n<h2>b</h2>\n<h3>c</h3>\n");
        assert!(to_html("# 1\n## 2\n### 3\n#### 4\n##### 5\n###### 6").ends_with("<h6>5</h6>\n<h6>6</h6>\n"));
        assert_eq!(
            to_html("[a](https://example.com \"t\")"),
            "<p><a href=\"https://example.com\" title=\"t\" rel=\"nofollow ugc noopener\">a</a></p>\n"
        );
        assert!(to_html("```rust\nlet a = 1 < 2;\n```").contains("let a = 1 &lt; 2;"));
        assert!(to_html("|a|b|\n|-|-|\n|1|2|").contains("<td>1</td>"));
        assert!(to_html("3. x").contains("<ol start=\"3\">"));
    }

    #[test]
    fn nothing_that_runs_comes_through() {
        for evil in [
            "<script>alert(1)</script>",
            "<svg onload=alert(1)>",
            "<svg/onload=alert(1)//",
            "<img src=x onerror=alert(1)>",
            "![x](javascript:alert(1))",
            "![x](https://tracker.example/p.gif)",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "[x](java\tscript:alert(1))",
            "[x](&#x6A;avascript:alert(1))",
            "[x](data:text/html;base64,PHNjcmlwdD4=)",
            "[x](vbscript:msgbox)",
            "[x]: javascript:alert(1)\n\n[x]",
            "<javascript:alert(1)>",
            "<a href=\"javascript:alert(1)\" onclick=\"alert(1)\">x</a>",
            "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
            "<style>*{background:url(javascript:alert(1))}</style>",
            "<p style=\"position:fixed\">x</p>",
            "<form action=https://evil.example><input name=password></form>",
            "<base href=https://evil.example>",
            "<meta http-equiv=refresh content=0;url=https://evil.example>",
            "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
            "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
            "[x](https://a.example \"\\\" onmouseover=alert(1) \\\"\")",
            "```\"><script>alert(1)</script>\n```",
            "# x {#id onclick=alert(1)}",
            "a\u{0}<script>alert(1)</script>",
        ] {
            let html = to_html(evil);
            let tags = html.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag);
            for tag in tags {
                let tag = tag.to_lowercase();
                let name =
                    tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default().to_owned();
                assert!(ALLOWED.clone_tags().contains(name.as_str()), "{evil} gave {html}");
                for attribute in
                    [" on", "style=", "javascript:", "data:", "vbscript:", " src=", " id=", " class="]
                {
                    let text = tag.split(" title=\"").next().unwrap_or_default();
                    assert!(!text.contains(attribute), "{evil} gave {html}");
                }
            }
        }
    }

    #[test]
    fn only_addresses_of_the_web_and_of_mail_become_links() {
        for scheme in [
            "ssh", "tel", "sms", "magnet", "ftp", "git", "irc", "xmpp", "bitcoin", "sip", "news", "geo",
            "webcal", "file", "data", "blob", "intent", "vscode", "ms-word",
        ] {
            for text in [
                format!("[x]({scheme}:a)"),
                format!("[x]({scheme}://a.example/b)"),
                format!("<{scheme}:abc>"),
            ] {
                let html = to_html(&text);
                assert!(!html.contains("href"), "{text} gave {html}");
            }
        }
        for (text, address) in [
            ("[x](http://a.example)", "http://a.example"),
            ("[x](HTTPS://a.example)", "HTTPS://a.example"),
            ("<mailto:ada@a.example>", "mailto:ada@a.example"),
            ("[x](/p/1#comments)", "/p/1#comments"),
        ] {
            assert!(to_html(text).contains(&format!("href=\"{address}\"")), "{text}");
        }
    }

    #[test]
    fn a_quote_in_a_title_does_not_end_it() {
        let html = to_html("[x](https://a.example 'a\" onmouseover=\"alert(1)')");
        assert!(html.contains("title=\"a&quot; onmouseover=&quot;alert(1)\""), "{html}");
    }

    #[test]
    fn nesting_and_other_traps_cost_little() {
        for (name, text) in [
            ("quotes", "> ".repeat(10_000) + "x"),
            ("quotes without spaces", ">".repeat(50_000)),
            ("lists", (0..600).map(|n| " ".repeat(n % 160 * 2) + "- x\n").collect()),
            ("inline lists", "- ".repeat(20_000)),
            ("brackets", "[".repeat(50_000)),
            ("links", "[a](".repeat(12_000)),
            ("emphasis", "*a _b ".repeat(8_000)),
            ("ticks", (1..300).map(|n| "`".repeat(n) + " ").collect()),
            ("html", "<a ".repeat(16_000)),
            ("table", "|a".repeat(200) + "\n" + &"|-".repeat(200) + "\n" + &"|x\n".repeat(10_000)),
            ("references", "[1]: /x\n".repeat(4_000) + &"[1]".repeat(5_000)),
        ] {
            let started = Instant::now();
            let html = to_html(&text);
            assert!(html.matches("<blockquote>").count() <= MAX_DEPTH as usize, "{name}");
            // Generous: debug builds on a busy machine. What is quadratic takes minutes.
            assert!(started.elapsed() < Duration::from_secs(10), "{name} took {:?}", started.elapsed());
            assert!(html.len() < 8_000_000, "{name} gave {} bytes", html.len());
        }
    }

    #[test]
    fn flattened_nesting_stays_balanced() {
        let html = to_html(&("> ".repeat(40) + "deep\n\nafter"));
        assert_eq!(html.matches("<blockquote>").count(), html.matches("</blockquote>").count());
        assert!(html.ends_with("<p>after</p>\n"), "{html}");
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut cache = Cache::default();
        let key = |n: u32| ("p".parse::<PostId>().unwrap(), n);
        for n in 0..100 {
            cache.insert(key(n), "x".repeat(10).into(), 50);
            cache.insert(key(n), "y".repeat(10).into(), 50);
        }
        assert_eq!((cache.bytes, cache.html.len(), cache.oldest.len()), (50, 5, 5));
        assert!(cache.html.contains_key(&key(99)) && !cache.html.contains_key(&key(94)));
        cache.insert(key(100), "z".repeat(60).into(), 50);
        assert_eq!((cache.bytes, cache.html.len()), (0, 0));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_emit_a_script(text in "(<script>|</|>|<|javascript:|[\\[\\]()!`*_~|#> \n\\-\"'&;=a-z0-9]){0,80}") {
            let html = to_html(&text).to_lowercase();
            prop_assert!(!html.contains("<script") && !html.contains("href=\"javascript:"));
        }
    }
}
