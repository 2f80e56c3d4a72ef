//! How an island gets from the server into the browser: the server renders it with its properties as JSON, and the
//! page's script starts it by its name. The properties hold only what the rendered island does not say.
//!
//! By hand, since the `island` macro reads the properties with `serde_json`, whose messages about texts that it cannot
//! read would be almost a quarter of what a reader downloads.

#[cfg(feature = "hydrate")]
pub(super) use hydrating::start;
#[cfg(feature = "ssr")]
pub(super) use rendering::render;

use leptos::prelude::*;
use leptos::reactive::graph::untrack_with_diagnostics;
use leptos::tachys::reactive_graph::OwnedView;

/// The view, with an owner of its own for what it reacts to.
fn owned<V: IntoView + 'static>(view: impl FnOnce() -> V + 'static) -> OwnedView<V> {
    let owned = || Owner::new().with(|| Owner::with_hydration(move || OwnedView::new(view())));
    untrack_with_diagnostics(owned)
}

#[cfg(feature = "ssr")]
mod rendering {
    use super::owned;
    use leptos::prelude::*;
    use leptos::tachys::html::islands::Island;
    use serde::Serialize;

    /// Renders the island that the browser starts under this name.
    pub(crate) fn render<P: Serialize + 'static, V: IntoView + 'static>(
        name: &'static str,
        props: P,
        view: impl FnOnce(P) -> V + 'static,
    ) -> impl IntoView {
        // Cannot fail for texts, numbers and lists of them.
        let json = serde_json::to_string(&props).unwrap_or_default();
        Island::new(name, owned(move || view(props))).with_props(json)
    }
}

#[cfg(feature = "hydrate")]
mod hydrating {
    use super::owned;
    use crate::islands::browser::json;
    use leptos::prelude::*;
    use leptos::tachys::view::Position;
    use leptos::web_sys::HtmlElement;
    use serde::de::DeserializeOwned;

    /// Starts the island that the server has rendered into this element.
    pub(crate) fn start<P: DeserializeOwned + 'static, V: IntoView + 'static>(
        element: &HtmlElement,
        view: impl FnOnce(P) -> V + 'static,
    ) {
        let props = element.get_attribute("data-props").and_then(|json| json::parse(&json));
        // The page's script catches it and leaves the plain forms.
        let Some(props) = props else { wasm_bindgen::throw_str("an island has no properties") };
        let state = owned(move || view(props)).hydrate_from_position::<true>(element, Position::FirstChild);
        // It lives as long as the page.
        std::mem::forget(state);
    }
}
