//! The list of posts, and the form for a new one.

use super::page::Page;
use crate::islands::{Handed, NewPost, NewPosts, PostDraft, count_element};
use crate::islands::{dates, thread, urls};
use leptos::prelude::*;
use shared::views::{PostPage, PostSummary};
use shared::{Problem, routes};

/// The posts from a place in the list on, and the form. Without the list (nobody answered) the form stands alone.
pub(crate) fn home(
    list: Option<PostPage>,
    cursor: Option<&str>,
    draft: PostDraft,
    problem: Option<Problem>,
) -> Page {
    let newest = cursor.is_none();
    let title = if newest { "" } else { "Older posts" };
    Page::new(title, move || {
        provide_context(draft);
        let posts = match list {
            Some(list) => posts(list, newest).into_any(),
            None => view! { <p class="empty">"The posts cannot be shown at the moment."</p> }.into_any(),
        };
        view! {
            <div class="home">
                <section class="posts" aria-labelledby="posts">
                    <h1 id="posts">{if newest { "Newest posts" } else { "Older posts" }}</h1>
                    {posts}
                </section>
                <section class="new-post" id="new-post" aria-labelledby="write">
                    <h2 id="write">"Write a post"</h2>
                    <NewPost problem=Handed(problem) />
                </section>
            </div>
        }
    })
}

fn posts(list: PostPage, newest: bool) -> impl IntoView {
    let empty = list.items.is_empty().then(|| {
        view! { <p class="empty">"No posts yet. The first one could be yours."</p> }
    });
    let newer = (!newest).then(|| view! { <a href="/">"← Newest posts"</a> });
    let older = list.next.map(|next| {
        view! {
            <a rel="next" href=urls::older_posts(&next)>
                "Older posts →"
            </a>
        }
    });
    let turn = (newer.is_some() || older.is_some()).then(|| {
        view! {
            <nav class="turn" aria-label="More posts">
                {newer}
                {older}
            </nav>
        }
    });
    view! {
        <NewPosts />
        {empty}
        <ol class="list">{list.items.into_iter().map(entry).collect_view()}</ol>
        {turn}
    }
}

fn entry(summary: PostSummary) -> impl IntoView {
    let PostSummary { post, excerpt, comment_count } = summary;
    let page = routes::post_page(&post.id);
    let count = usize::try_from(comment_count).unwrap_or(usize::MAX);
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
                        {thread::count_in_words(count)}
                    </a>
                </p>
            </article>
        </li>
    }
}
