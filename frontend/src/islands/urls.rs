//! Addresses that both the pages and the islands name.

use shared::views::DEFAULT_PAGE;
use shared::{CommentId, PostId, routes};

/// The page of a post, at one of its comments.
pub(crate) fn comment_page(post: &PostId, comment: &CommentId) -> String {
    format!("{}?comment={comment}#comment-{comment}", routes::post_page(post))
}

/// Where the plain form for a new post goes.
pub(crate) const NEW_POST_ACTION: &str = "/p/new";

/// Where the plain form for a comment goes.
pub(crate) fn new_comment_action(post: &PostId) -> String {
    format!("/p/{post}/comments")
}

/// The page of a post that the reading side may not know yet.
pub(crate) fn new_post_page(post: &PostId) -> String {
    format!("/p/{post}?new=1")
}

/// Where the reading side is asked for a post, waiting a moment for one that was just written.
pub(crate) fn awaited_post(post: &PostId) -> String {
    format!("{}?wait=2000", routes::query_post(post))
}

/// Where a list of posts comes from.
#[cfg(feature = "ssr")]
pub(crate) fn list_of_posts(cursor: Option<&str>) -> String {
    let list = format!("/posts?limit={DEFAULT_PAGE}");
    cursor.map_or(list.clone(), |cursor| format!("{list}&cursor={}", escape(cursor)))
}

/// The page of posts from a place in the list on.
#[cfg(feature = "ssr")]
pub(crate) fn older_posts(cursor: &str) -> String {
    format!("/?cursor={}", escape(cursor))
}

/// A text as part of a query.
#[cfg(feature = "ssr")]
fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let part = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(part).collect()
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_escaped() {
        assert_eq!(list_of_posts(None), "/posts?limit=20");
        assert_eq!(list_of_posts(Some("1~a")), "/posts?limit=20&cursor=1~a");
        assert_eq!(list_of_posts(Some("a&b=ä #")), "/posts?limit=20&cursor=a%26b%3D%C3%A4%20%23");
    }
}
