//! How a post begins, for lists.

use pulldown_cmark::{Event, Options, Parser};

/// The most characters of an excerpt, without the sign that there is more.
pub(super) const MOST_CHARS: usize = 240;
/// How much of a body is looked at: enough for an excerpt with long addresses in it.
const READ_CHARS: usize = 4_000;

/// The beginning of a body as plain text: what the page shows of it, in one line, cut between words where there are any.
pub fn excerpt(body: &str) -> String {
    let end = body.char_indices().nth(READ_CHARS).map_or(body.len(), |(at, _)| at);
    let mut text = String::new();
    // Not as tables: a few thousand signs can stand for a hundred thousand cells, and a list has many posts.
    for event in Parser::new_ext(&body[..end], Options::ENABLE_STRIKETHROUGH) {
        match event {
            Event::Text(part) | Event::Code(part) => push(&mut text, &part),
            Event::SoftBreak | Event::HardBreak => push(&mut text, " "),
            // Blocks are not one word; what is bold within a word is.
            Event::Start(tag) if is_block(&tag) => push(&mut text, " "),
            _ => {}
        }
        if text.len() > 4 * MOST_CHARS {
            break;
        }
    }
    let words: Vec<_> = text.split(' ').filter(|word| !word.is_empty() && !is_ruling(word)).collect();
    cut(&words.join(" "))
}

/// The lines of a table, drawn in signs.
fn is_ruling(word: &str) -> bool {
    word.contains('|') && word.chars().all(|c| "|-:".contains(c))
}

fn is_block(tag: &pulldown_cmark::Tag<'_>) -> bool {
    use pulldown_cmark::Tag::{Emphasis, Image, Link, Strikethrough, Strong};
    !matches!(tag, Emphasis | Strong | Strikethrough | Link { .. } | Image { .. })
}

/// Adds a text; all white space between two words is one space.
fn push(text: &mut String, part: &str) {
    for c in part.chars() {
        if !c.is_whitespace() {
            text.push(c);
        } else if !text.is_empty() && !text.ends_with(' ') {
            text.push(' ');
        }
    }
}

/// Cut behind the last word that fits; within one where not even that fits, as in scripts that have no spaces.
fn cut(text: &str) -> String {
    let Some((end, next)) = text.char_indices().nth(MOST_CHARS) else { return text.to_owned() };
    let whole = if next == ' ' { Some(end) } else { text[..end].rfind(' ') };
    format!("{}…", text[..whole.unwrap_or(end)].trim_end())
}
