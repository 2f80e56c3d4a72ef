//! What a reader is sent. Pages are made whole, from data that is already there; no page knows how it was loaded.

mod apart;
mod home;
mod layout;
mod post;

pub(crate) use apart::{comment_form_alone, not_found, on_its_way, unavailable, unreadable_form};
pub(crate) use home::home;
pub(crate) use layout::{Frame, document};
pub(crate) use post::post;

use leptos::prelude::*;

/// A page before it is framed.
pub(crate) struct Page {
    /// What the browser's tab says, before the site's name; empty for the name alone.
    pub title: String,
    /// What is in `<main>`. Made when it is rendered, since what is reactive needs its owner then.
    pub content: Content,
}

/// Makes a part of a page.
pub(crate) type Content = Box<dyn FnOnce() -> AnyView + Send>;

impl Page {
    fn new<V: IntoView + 'static>(
        title: impl Into<String>,
        content: impl FnOnce() -> V + Send + 'static,
    ) -> Self {
        Self { title: title.into(), content: Box::new(|| content().into_any()) }
    }
}
