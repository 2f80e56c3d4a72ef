//! The parts of a page that wake up in the browser. Each renders on the server to something that works without
//! waking up: forms are plain forms, comments are text.
//!
//! Nothing here may depend on clock, chance or locale: the browser must find in the page what it would have made
//! itself.

mod answers;
mod comment;
mod comments;
mod fields;
mod handed;
mod home;
mod new_post;

#[cfg(feature = "ssr")]
pub(crate) use comment::comment_page;
#[cfg(feature = "ssr")]
pub(crate) use comments::{CommentDraft, CommentFields, Comments};
pub(crate) use fields::Form;
#[cfg(feature = "ssr")]
pub(crate) use handed::Handed;
#[cfg(feature = "ssr")]
pub(crate) use home::{NewPosts, count_element};
#[cfg(feature = "ssr")]
pub(crate) use new_post::{NewPost, PostDraft};

use shared::PostId;

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
    format!("{}?wait=2000", shared::routes::query_post(post))
}
