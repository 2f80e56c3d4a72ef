//! A page before it is framed.

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
    pub(super) fn new<V: IntoView + 'static>(
        title: impl Into<String>,
        content: impl FnOnce() -> V + Send + 'static,
    ) -> Self {
        Self { title: title.into(), content: Box::new(|| content().into_any()) }
    }
}
