//! What moves on the list of posts: the numbers of comments, and word of new posts. The list itself stays as it
//! is, so that nothing jumps under the reader's eyes.

use super::browser::{self, live, request};
use super::responses::{Page, Post};
use super::thread;
use leptos::prelude::*;
use shared::views::DEFAULT_PAGE;
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

/// Brings the numbers in the list up to date. Gives the number of posts that are not in it.
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

/// Where the list of this page comes from, and whether it is the newest one.
fn list_of_this_page() -> (String, bool) {
    let search = location().search().unwrap_or_default();
    let cursor = search.strip_prefix("?cursor=");
    let list = format!("/posts?limit={DEFAULT_PAGE}");
    (cursor.map_or(list.clone(), |cursor| format!("{list}&cursor={cursor}")), cursor.is_none())
}

/// Looks at the list again when something happened, at most once in a [`PAUSE`].
struct Watch {
    list: String,
    newest: bool,
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
            if let Ok(page) = request::get(&this.list).await.and_then(|answer| request::parse(&answer)) {
                let fresh = show(&page);
                // Older pages get no new posts.
                this.fresh.set(if this.newest { fresh } else { 0 });
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
pub(crate) fn NewPosts() -> impl IntoView {
    let fresh = RwSignal::new(0);
    if browser::HERE {
        let (list, newest) = list_of_this_page();
        let watch = Rc::new(Watch { list, newest, fresh, busy: Cell::new(Busy::No) });
        let look = watch.clone();
        live::follow(routes::LIVE.to_owned(), move || look.look(), move |_| watch.look());
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
