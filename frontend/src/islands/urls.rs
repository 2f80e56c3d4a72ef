//! Addresses that the pages, the forms and the islands share.

#[cfg(feature = "ssr")]
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
#[cfg(feature = "ssr")]
use shared::views::DEFAULT_PAGE;
use shared::{CommentId, PostId, routes};

/// The page of a post, scrolled to one of its comments. It waits a moment for a comment that was just sent.
pub(crate) fn comment_page(post: &PostId, comment: &CommentId) -> String {
    format!("{}?comment={comment}#comment-{comment}", routes::post_page(post))
}

/// The page with the newest comments of a post.
pub(crate) fn newest_comments(post: &PostId) -> String {
    format!("{}#comments", routes::post_page(post))
}

/// The page with the comments before or after a cursor, which needs no escapes.
pub(crate) fn page_of_comments(post: &PostId, side: &str, cursor: &str) -> String {
    format!("{}?comments={side}:{cursor}#comments", routes::post_page(post))
}

/// The comment that an address names in its fragment.
pub(crate) fn comment_in(fragment: &str) -> Option<CommentId> {
    fragment.strip_prefix("#comment-")?.parse().ok()
}

/// Where the plain form for a new post is sent.
pub(crate) const NEW_POST_ACTION: &str = "/p/new";

/// Where the plain form for a comment is sent.
pub(crate) fn new_comment_action(post: &PostId) -> String {
    format!("/p/{post}/comments")
}

/// The page of a post that query may not know yet.
pub(crate) fn new_post_page(post: &PostId) -> String {
    format!("/p/{post}?new=1")
}

/// The API's address of a post; query waits a moment for one that was just written.
pub(crate) fn awaited_post(post: &PostId) -> String {
    format!("{}?wait=2000", routes::query_post(post))
}

/// The API's address of a page of comments, chosen by `before:CURSOR` and the like.
#[cfg(feature = "ssr")]
pub(crate) fn list_of_comments(post: &PostId, page: &str) -> String {
    format!("{}?comments={}", routes::query_post(post), utf8_percent_encode(page, RESERVED))
}

/// The API's address of a page of posts, from a cursor on.
#[cfg(feature = "ssr")]
pub(crate) fn list_of_posts(cursor: Option<&str>) -> String {
    let list = format!("/posts?limit={DEFAULT_PAGE}");
    cursor.map_or(list.clone(), |cursor| format!("{list}&cursor={}", utf8_percent_encode(cursor, RESERVED)))
}

/// The page of posts from a cursor on.
#[cfg(feature = "ssr")]
pub(crate) fn older_posts(cursor: &str) -> String {
    format!("/?cursor={}", utf8_percent_encode(cursor, RESERVED))
}

/// Everything but the unreserved characters of RFC 3986.
#[cfg(feature = "ssr")]
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

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
