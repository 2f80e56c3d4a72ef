//! What changes on the list of posts: the numbers of comments, and the offer of new posts. The list itself stays as it
//! is, so that nothing moves while it is read.

use super::browser::{self, live, request};
use super::responses::{Page, Post};
use super::thread;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use shared::{PostId, routes};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use web_sys::MessageEvent;

/// The least time between two requests for the list, however much happens.
const PAUSE: Duration = Duration::from_secs(1);

/// The id of the element that shows a post's number of comments.
pub(crate) fn count_element(post: &PostId) -> String {
    format!("count-{post}")
}

/// Updates the numbers of comments. Returns how many posts the list does not show.
fn show(page: &Page) -> usize {
    let is_new = |post: &&Post| {
        let element = document().get_element_by_id(&count_element(&post.id));
        if let Some(element) = &element {
            element.set_text_content(Some(&thread::count_in_words(post.comment_count)));
        }
        element.is_none()
    };
    page.items.iter().filter(is_new).count()
}

/// Loads the list again after changes, at most once in a [`PAUSE`].
struct Watch {
    list: String,
    is_newest: bool,
    fresh: RwSignal<usize>,
    busy: Cell<Busy>,
    /// The last event of the stream.
    id: RefCell<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Busy {
    No,
    Yes,
    /// There was another change meanwhile.
    Again,
}

impl Watch {
    fn on_event(self: &Rc<Self>, event: &MessageEvent) {
        self.id.replace(event.last_event_id());
        self.refresh();
    }

    fn refresh(self: &Rc<Self>) {
        if self.busy.replace(Busy::Yes) != Busy::No {
            self.busy.set(Busy::Again);
            return;
        }
        let this = self.clone();
        browser::spawn(async move {
            let id = this.id.borrow().clone();
            let answer = request::get_as_of(&this.list, &id).await;
            if let Ok(page) = answer.and_then(|answer| request::parse(&answer)) {
                let fresh = show(&page);
                // New posts never appear on a page of older ones.
                this.fresh.set(if this.is_newest { fresh } else { 0 });
            }
            set_timeout(
                move || {
                    if this.busy.replace(Busy::No) == Busy::Again {
                        this.refresh();
                    }
                },
                PAUSE,
            );
        });
    }
}

/// What the island begins with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NewPostsProps {
    /// Where this page's list comes from.
    pub list: String,
    /// Whether the list begins with the newest post.
    pub is_newest: bool,
    /// The state that the list shows.
    pub sequence: String,
}

/// Renders the island.
#[cfg(feature = "ssr")]
pub(crate) fn new_posts(props: NewPostsProps) -> impl IntoView {
    super::island::render("NewPosts", props, view_of)
}

/// Starts the island that the server has rendered.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen(js_name = "NewPosts")]
pub fn start_new_posts(element: &leptos::web_sys::HtmlElement) {
    super::island::start(element, view_of);
}

/// Keeps the numbers of comments up to date, and offers new posts.
fn view_of(NewPostsProps { list, is_newest, sequence }: NewPostsProps) -> impl IntoView {
    let fresh = RwSignal::new(0);
    if browser::IS_BROWSER {
        let (busy, id) = (Cell::new(Busy::No), RefCell::default());
        let watch = Rc::new(Watch { list, is_newest, fresh, busy, id });
        let load_again = watch.clone();
        let url = format!("{}?after=", routes::LIVE);
        live::follow(
            url,
            sequence,
            move |event| load_again.on_event(event),
            move |event| watch.on_event(event),
        );
    }
    let words = move || match fresh.get() {
        1 => "Show 1 new post".to_owned(),
        n => format!("Show {n} new posts"),
    };
    view! {
        <a class="fresh" href="/" hidden=move || fresh.get() == 0>
            {words}
        </a>
    }
}
