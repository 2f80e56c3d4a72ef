//! The parts of a page that wake up in the browser. Each renders on the server to something that works without
//! waking up: forms are plain forms, comments are text.
//!
//! Nothing here may depend on clock, chance or locale: the browser must find in the page what it would have made
//! itself.

pub(crate) mod browser;
pub(crate) mod dates;
pub(crate) mod notice;
pub(crate) mod thread;
pub(crate) mod urls;

mod comment;
mod comments;
mod fields;
mod new_post;
mod new_posts;
mod props;
mod responses;

#[cfg(feature = "ssr")]
pub(crate) use comments::{CommentDraft, CommentFields, Comments};
#[cfg(feature = "ssr")]
pub(crate) use new_post::{NewPost, PostDraft};
#[cfg(feature = "ssr")]
pub(crate) use new_posts::{NewPosts, count_element};
#[cfg(feature = "ssr")]
pub(crate) use props::Handed;
