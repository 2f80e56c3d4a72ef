//! What the server renders: a title and the content of `<main>`.

use leptos::prelude::*;

pub(crate) struct Page {
    /// Shown in the browser's tab before the site's name; empty for the name alone.
    pub title: String,
    /// Runs inside a reactive owner, which signals need.
    pub content: Content,
}

pub(crate) type Content = Box<dyn FnOnce() -> AnyView + Send>;

impl Page {
    pub(crate) fn new<V: IntoView + 'static>(
        title: impl Into<String>,
        content: impl FnOnce() -> V + Send + 'static,
    ) -> Self {
        Self { title: title.into(), content: Box::new(|| content().into_any()) }
    }
}

/// A number of comments, as islands count them.
pub(super) fn number(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
