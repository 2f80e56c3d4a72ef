//! A thread of several pages.

use crate::page::{browse, write_comment};
use futures_util::{StreamExt, stream};
use serde_json::json;
use shared::ServiceName::Moderation;
use system_tests::blog::Blog;
use system_tests::browser::{Ability, Browser};
use system_tests::{LIMIT, Stack, eventually, holds};

/// A post with 120 approved comments, `number 1.` to `number 120.`; returns its id, and the id of each comment.
async fn long_thread(blog: &Blog) -> (String, Vec<String>) {
    let post = blog.post("A long thread").await;
    let mut comments = Vec::new();
    for number in 1..=120 {
        comments.push(blog.comment(&post, &format!("number {number}.")).await);
    }
    until_counted(blog, &post, 120).await;
    (post, comments)
}

/// Waits until the read model has this many approved comments of the post.
async fn until_counted(blog: &Blog, post: &str, count: u64) {
    let what = format!("{count} comments are approved");
    eventually(LIMIT, &what, async || holds(blog.read_post(post).await, |p| p["commentCount"] == count))
        .await;
}

/// Waits until the page shows exactly the comments with these numbers.
async fn until_numbers(browser: &Browser, first: usize, last: usize) {
    let expected: Vec<String> = (first..=last).map(|number| format!("number {number}.")).collect();
    let what = format!("the comments {first} to {last} are shown");
    eventually(LIMIT, &what, async || {
        holds(browser.texts("li.comment .text").await?, |shown| *shown == expected)
    })
    .await;
}

/// Everything that works where scripts do not run.
async fn read_plainly(browser: &Browser, post: &str, comments: &[String]) {
    browser.goto(&format!("/p/{post}")).await;
    until_numbers(browser, 71, 120).await;
    browser.until_shows("h2", "120 comments").await;
    assert_eq!(browser.texts("a.later").await.expect("links").concat(), "", "it is the newest page");
    browser.click("a.earlier").await;
    until_numbers(browser, 21, 70).await;
    browser.click("a.earlier").await;
    until_numbers(browser, 1, 20).await;
    assert_eq!(browser.texts("a.earlier").await.expect("links").concat(), "", "it is the oldest page");
    browser.click("a.later").await;
    until_numbers(browser, 21, 70).await;
    browser.click("a.newest").await;
    until_numbers(browser, 71, 120).await;
    browser.back().await;
    until_numbers(browser, 21, 70).await;

    let middle = &comments[59];
    browser.goto(&format!("/p/{post}?comment={middle}#comment-{middle}")).await;
    browser.until_shows(&format!("li#comment-{middle}:target .text"), "number 60.").await;
    until_numbers(browser, 35, 84).await;
    browser.click(&format!("li#comment-{} .permalink", comments[36])).await;
    until_numbers(browser, 12, 61).await;
    browser.until_there(&format!("li#comment-{}:target", comments[36])).await;
}

/// Writes a comment on an earlier page, and finds it.
async fn write_on_an_earlier_page(browser: &Browser, post: &str) {
    write_comment(browser, "from an earlier page").await;
    browser.until_shows("li.comment[data-status=pending] .text", "from an earlier page").await;
    browser.until_shows("li.comment .text", "number 120.").await;
    assert_eq!(browser.path().await, format!("/p/{post}"));
}

#[tokio::test]
async fn without_script_a_long_thread_is_read_in_pages() {
    let stack = Stack::start().await;
    let (post, comments) = long_thread(&stack.public_blog()).await;
    let browser = browse(&stack, Ability::NoScript).await;
    read_plainly(&browser, &post, &comments).await;
    stack.kill(Moderation).await;
    write_on_an_earlier_page(&browser, &post).await;
    browser.close().await;
}

#[tokio::test]
async fn with_script_a_long_thread_is_read_in_pages_and_the_newest_is_live() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let (post, comments) = long_thread(&blog).await;
    let browser = browse(&stack, Ability::Full).await;
    read_plainly(&browser, &post, &comments).await;

    // An address from before threads had pages.
    let early = &comments[4];
    browser.goto("/").await;
    browser.goto(&format!("/p/{post}#comment-{early}")).await;
    browser.until_shows(&format!("li#comment-{early}:target .text"), "number 5.").await;
    until_numbers(&browser, 1, 50).await;

    // What is new changes the number on an earlier page, and what is shown on the newest.
    browser.until_live().await;
    browser.mark_page().await;
    blog.comment(&post, "number 121.").await;
    browser.until_shows("h2", "121 comments").await;
    until_numbers(&browser, 1, 50).await;
    browser.expect_same_page().await;
    browser.click("a.newest").await;
    until_numbers(&browser, 72, 121).await;
    browser.until_live().await;
    browser.mark_page().await;
    blog.comment(&post, "number 122.").await;
    until_numbers(&browser, 72, 122).await;
    browser.until_shows("h2", "122 comments").await;
    browser.expect_same_page().await;

    browser.goto_live(&format!("/p/{post}?comment={early}")).await;
    stack.kill(Moderation).await;
    write_on_an_earlier_page(&browser, &post).await;
    browser.until_live().await;
    stack.start_service(Moderation).await;
    browser.until_shows("li.comment[data-status=approved] .text", "from an earlier page").await;
    browser.close().await;
}

/// Writes comments, some at the same time, and waits until all that the post has are approved.
async fn write_many(blog: &Blog, post: &str, count: u64, then: u64) {
    let path = format!("/posts/{post}/comments");
    let body = json!({ "content": "one of many" });
    let write = |_| blog.comments.post(&path).header("prefer", "return=minimal").json(&body).send();
    let answers = stream::iter(0..count).map(write).buffer_unordered(8).collect::<Vec<_>>().await;
    for answer in answers {
        answer.expect(201);
    }
    until_counted(blog, post, then).await;
}

#[tokio::test]
async fn a_page_holds_two_hundred_comments_and_loads_again_what_it_has_missed_too_much_of() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("A busy thread").await;
    blog.until_known(&post).await;
    let browser = browse(&stack, Ability::Full).await;
    browser.goto_live(&format!("/p/{post}")).await;
    browser.mark_page().await;
    let shown = async || browser.texts("li.comment .text").await.map(|texts| texts.len());

    write_many(&blog, &post, 230, 230).await;
    browser.until_shows("h2", "230 comments").await;
    eventually(LIMIT, "the oldest have left", async || holds(shown().await?, |n| *n == 200)).await;
    browser.until_shows("a.earlier", "Earlier comments").await;

    // Hidden pages have no stream. Each comment is two changes, and the thousand that the server would send are fewer.
    let tab = browser.tab().await;
    browser.new_tab().await;
    write_many(&blog, &post, 510, 740).await;
    browser.bring_to_front(&tab).await;
    browser.until_shows("h2", "740 comments").await;
    eventually(LIMIT, "the newest page is shown", async || holds(shown().await?, |n| *n == 50)).await;
    browser.until_live().await;
    browser.expect_same_page().await;
    blog.comment(&post, "after all that").await;
    browser.until_shows("li.comment:last-child .text", "after all that").await;
    browser.close().await;
}
