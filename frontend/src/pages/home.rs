//! The list of posts, and the form for a new one.

use super::page::{Page, number};
use crate::islands::{NewPostProps, NewPostsProps, PostDraft, count_element, new_post, new_posts};
use crate::islands::{dates, thread, urls};
use leptos::prelude::*;
use shared::views::{PostPage, PostSummary};
use shared::{Problem, routes};

/// The posts from a cursor on, and the form. Without a list (query does not answer) the form alone.
pub(crate) fn home(
    list: Option<PostPage>,
    cursor: Option<&str>,
    draft: PostDraft,
    problem: Option<Problem>,
) -> Page {
    let source = Source { address: urls::list_of_posts(cursor), is_newest: cursor.is_none() };
    let title = if source.is_newest { "" } else { "Older posts" };
    Page::new(title, move || {
        provide_context(draft);
        let heading = if source.is_newest { "Newest posts" } else { "Older posts" };
        let posts = match list {
            Some(list) => posts(list, source).into_any(),
            None => view! { <p class="empty">"The posts cannot be shown at the moment."</p> }.into_any(),
        };
        view! {
            <div class="home">
                <section class="posts" aria-labelledby="posts">
                    <h1 id="posts">{heading}</h1>
                    {posts}
                </section>
                <section class="new-post" id="new-post" aria-labelledby="write">
                    <h2 id="write">"Write a post"</h2>
                    {new_post(NewPostProps { problem })}
                </section>
            </div>
        }
    })
}

struct Source {
    /// The API's URL that the island loads to see what has changed.
    address: String,
    is_newest: bool,
}

fn posts(list: PostPage, source: Source) -> impl IntoView {
    let empty = list.items.is_empty().then(|| {
        view! { <p class="empty">"No posts yet. Yours could be the first."</p> }
    });
    let newer = (!source.is_newest).then(|| view! { <a href="/">"← Newest posts"</a> });
    let older = list.next.map(|next| {
        view! {
            <a rel="next" href=urls::older_posts(&next)>
                "Older posts →"
            </a>
        }
    });
    let pager = (newer.is_some() || older.is_some()).then(|| {
        view! {
            <nav class="pager" aria-label="More posts">
                {newer}
                {older}
            </nav>
        }
    });
    view! {
        {new_posts(NewPostsProps {
            list: source.address,
            is_newest: source.is_newest,
            sequence: list.sequence.to_string(),
        })}
        {empty}
        <ol class="list">{list.items.into_iter().map(entry).collect_view()}</ol>
        {pager}
    }
}

fn entry(summary: PostSummary) -> impl IntoView {
    let PostSummary { post, excerpt, comment_count } = summary;
    let page = routes::post_page(&post.id);
    let excerpt = (!excerpt.is_empty()).then(|| {
        view! {
            <p class="excerpt" dir="auto">
                {excerpt}
            </p>
        }
    });
    view! {
        <li>
            <article class="entry">
                <h2 dir="auto">
                    <a href=page.clone()>{post.title}</a>
                </h2>
                {excerpt}
                <p class="meta">
                    {super::post::byline(post.author, post.created_at, dates::day)}
                    <a class="count" href=format!("{page}#comments") id=count_element(&post.id)>
                        {thread::count_in_words(number(comment_count))}
                    </a>
                </p>
            </article>
        </li>
    }
}
