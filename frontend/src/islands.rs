//! The parts of a page that run in the browser. The server renders each to something that works without script: forms
//! are plain forms, comments are text.
//!
//! Islands (`comments`, `new_post`, `new_posts`) and what they are made of: `comment`, `fields`. `island` renders and
//! starts them; `thread`, `notice` and `dates` are plain functions; `browser` holds what talks to the browser.
//!
//! No rendered text may depend on clock, randomness or locale: hydration must find in the page what it would have
//! rendered. `browser` runs only afterwards, and may (reconnects wait a random time).

pub(crate) mod browser;
pub(crate) mod dates;
pub(crate) mod notice;
pub(crate) mod thread;
pub(crate) mod urls;

mod comment;
mod comments;
mod fields;
mod island;
mod new_post;
mod new_posts;
mod responses;

#[cfg(feature = "ssr")]
pub(crate) use comments::{CommentDraft, CommentFields, CommentsProps, EARLIER, comments};
#[cfg(feature = "ssr")]
pub(crate) use new_post::{NewPostProps, PostDraft, new_post};
#[cfg(feature = "ssr")]
pub(crate) use new_posts::{NewPostsProps, count_element, new_posts};
