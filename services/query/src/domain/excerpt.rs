//! The excerpt of a post in lists.

use pulldown_cmark::{Event, Options, Parser};

/// The longest excerpt, in characters, without the ellipsis.
pub(super) const MOST_CHARS: usize = 240;
/// How much of a body is parsed: enough for an excerpt with long addresses in it.
const READ_CHARS: usize = 4_000;

/// The beginning of a body as plain text in one line: what the page shows of it, cut between words if possible.
pub fn excerpt(body: &str) -> String {
    let end = body.char_indices().nth(READ_CHARS).map_or(body.len(), |(at, _)| at);
    let mut text = String::new();
    // Without tables: a few thousand characters can make a hundred thousand cells, and a list has many posts.
    for event in Parser::new_ext(&body[..end], Options::ENABLE_STRIKETHROUGH) {
        match event {
            Event::Text(part) | Event::Code(part) => push(&mut text, &part),
            Event::SoftBreak | Event::HardBreak => push(&mut text, " "),
            // A block starts a new word; bold text within a word does not.
            Event::Start(tag) if is_block(&tag) => push(&mut text, " "),
            _ => {}
        }
        if text.len() > 4 * MOST_CHARS {
            break;
        }
    }
    let words: Vec<_> = text.split(' ').filter(|word| !word.is_empty() && !is_table_ruler(word)).collect();
    cut(&words.join(" "))
}

/// The line between the head and the body of a Markdown table.
fn is_table_ruler(word: &str) -> bool {
    word.contains('|') && word.chars().all(|c| "|-:".contains(c))
}

fn is_block(tag: &pulldown_cmark::Tag<'_>) -> bool {
    use pulldown_cmark::Tag::{Emphasis, Image, Link, Strikethrough, Strong};
    !matches!(tag, Emphasis | Strong | Strikethrough | Link { .. } | Image { .. })
}

/// Appends text and collapses white space into one space.
fn push(text: &mut String, part: &str) {
    for c in part.chars() {
        if !c.is_whitespace() {
            text.push(c);
        } else if !text.is_empty() && !text.ends_with(' ') {
            text.push(' ');
        }
    }
}

/// Cuts after the last word that fits, or within a word where none fits, as in scripts without spaces.
fn cut(text: &str) -> String {
    let Some((end, next)) = text.char_indices().nth(MOST_CHARS) else { return text.to_owned() };
    let whole = if next == ' ' { Some(end) } else { text[..end].rfind(' ') };
    format!("{}…", text[..whole.unwrap_or(end)].trim_end())
}
