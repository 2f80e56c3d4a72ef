//! What moves on the list of posts: the numbers of comments, and word of new posts. The list itself stays as it
//! is, so that nothing jumps under the reader's eyes.

use crate::browser::{self, live, request};
use crate::thread;
use leptos::prelude::*;
use serde::Deserialize;
use shared::{PostId, routes};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// The pause between two looks at the list, however much happens.
const PAUSE: Duration = Duration::from_secs(1);

/// The element that shows the number of comments of a post in the list.
pub(crate) fn count_element(post: &PostId) -> String {
    format!("count-{post}")
}

/// A page of posts as the reading side answers it, as far as it matters here.
#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    id: PostId,
    comment_count: usize,
}

impl Page {
    /// Brings the numbers in the list up to date. Gives the number of posts that are not in it.
    fn show(&self) -> usize {
        let is_new = |item: &&Item| {
            let element = document().get_element_by_id(&count_element(&item.id));
            if let Some(element) = &element {
                let words = thread::count_in_words(item.comment_count);
                if element.text_content().as_ref() != Some(&words) {
                    element.set_text_content(Some(&words));
                }
            }
            element.is_none()
        };
        self.items.iter().filter(is_new).count()
    }
}

/// Looks at the list again when something happened, at most once in a [`PAUSE`].
struct Watch {
    list: String,
    fresh: RwSignal<usize>,
    busy: Cell<Busy>,
}

#[derive(Clone, Copy, PartialEq)]
enum Busy {
    No,
    Yes,
    /// Something more happened meanwhile.
    Again,
}

impl Watch {
    fn look(self: &Rc<Self>) {
        if self.busy.replace(Busy::Yes) != Busy::No {
            self.busy.set(Busy::Again);
            return;
        }
        let this = self.clone();
        browser::spawn(async move {
            if let Ok(page) = request::get(&this.list).await.and_then(|answer| request::parse::<Page>(&answer)) {
                this.fresh.set(page.show());
            }
            set_timeout(
                move || {
                    if this.busy.replace(Busy::No) == Busy::Again {
                        this.look();
                    }
                },
                PAUSE,
            );
        });
    }
}

/// Keeps the list's numbers up to date, and says when there are new posts.
#[island]
pub(crate) fn NewPosts(
    /// Where the page's list comes from.
    list: String,
    /// Whether the list is the newest one; older ones get no new posts.
    newest: bool,
) -> impl IntoView {
    let fresh = RwSignal::new(0);
    if browser::HERE {
        let watch = Rc::new(Watch { list, fresh, busy: Cell::new(Busy::No) });
        let look = watch.clone();
        live::follow(routes::LIVE.to_owned(), move || look.look(), move |_| watch.look());
    }
    let words = move || match fresh.get() {
        0 => None,
        _ if !newest => None,
        1 => Some("Show 1 new post".to_owned()),
        n => Some(format!("Show {n} new posts")),
    };
    view! {
        <a class="fresh" href="/" hidden=move || words().is_none()>
            {words}
        </a>
    }
}
