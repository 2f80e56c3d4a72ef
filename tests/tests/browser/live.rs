//! Pages that change while they are open.

use crate::page::{AUTHOR, CONTENT, browse, write_comment, write_post};
use serde_json::json;
use shared::ServiceName::{Moderation, Query};
use system_tests::blog::statuses;
use system_tests::browser::Ability;
use system_tests::{LIMIT, Stack, eventually, holds};

#[tokio::test]
async fn with_script_a_comment_changes_from_waiting_to_published_in_place() {
    let stack = Stack::start().await;
    let browser = browse(&stack, Ability::Full).await;
    browser.goto_live("/").await;
    let post = write_post(&browser, "Written in a browser").await;
    browser.until_live().await;
    browser.mark_page().await;

    // Without moderation the comment stays pending.
    stack.kill(Moderation).await;
    browser.write(AUTHOR, "Ada").await;
    write_comment(&browser, "my first comment").await;
    browser.until_shows("li.comment[data-status=pending] .text", "my first comment").await;
    browser.until_shows("li.comment .notice", "This comment is awaiting moderation").await;
    browser.until_shows("li.comment .author", "Ada").await;
    eventually(LIMIT, "the field is empty again", async || {
        holds(browser.value(CONTENT).await, String::is_empty)
    })
    .await;
    write_comment(&browser, "an orange one").await;
    browser.until_shows("li.comment[data-status=pending] .text", "an orange one").await;

    stack.start_service(Moderation).await;
    browser.until_shows("li.comment[data-status=approved] .text", "my first comment").await;
    browser.until_shows("li.comment[data-status=rejected] .notice", "This comment has been rejected").await;
    browser.until_shows("li.comment[data-status=rejected] .notice", "contains a blocked word").await;
    let shown = browser.texts("li.comment").await.expect("comments");
    assert!(shown.len() == 2 && !shown.concat().contains("orange"), "rejected text is gone: {shown:?}");
    assert_eq!(shown.concat().matches("Ada").count(), 1, "and the name with it: {shown:?}");
    browser.until_shows("h2", "1 comment").await;
    browser.expect_same_page().await;

    browser.goto_live(&post).await;
    browser.until_shows("li.comment[data-status=approved] .text", "my first comment").await;
    browser.close().await;
}

#[tokio::test]
async fn a_comment_written_in_one_tab_appears_and_is_approved_in_the_other() {
    let stack = Stack::start().await;
    let browser = browse(&stack, Ability::Full).await;
    let post = stack.public_blog().post("Watched in two tabs").await;
    stack.public_blog().until_known(&post).await;
    let page = format!("/p/{post}");
    browser.goto_live(&page).await;
    browser.mark_page().await;
    let one = browser.tab().await;
    let other = browser.new_tab().await;
    browser.goto_live(&page).await;
    browser.mark_page().await;
    // A third tab shows the list.
    let list = browser.new_tab().await;
    browser.goto_live("/").await;
    browser.mark_page().await;

    stack.kill(Moderation).await;
    browser.bring_to_front(&one).await;
    write_comment(&browser, "seen by both").await;
    browser.until_shows("li.comment[data-status=pending] .text", "seen by both").await;
    browser.bring_to_front(&other).await;
    browser.until_there("li.comment[data-status=pending]").await;
    stack.start_service(Moderation).await;
    browser.until_shows("li.comment[data-status=approved] .text", "seen by both").await;
    browser.expect_same_page().await;
    browser.bring_to_front(&one).await;
    browser.until_shows("li.comment[data-status=approved] .text", "seen by both").await;
    browser.expect_same_page().await;

    browser.bring_to_front(&list).await;
    browser.until_shows("article.entry .count", "1 comment").await;
    stack.public_blog().post("A newer one").await;
    browser.until_shows("a.fresh", "1 new post").await;
    browser.expect_same_page().await;
    browser.close().await;
}

#[tokio::test]
async fn only_its_author_sees_a_pending_comment_and_others_see_it_once_approved() {
    let stack = Stack::start().await;
    let (writer, stranger) = (browse(&stack, Ability::Full).await, browse(&stack, Ability::Full).await);
    let post = stack.public_blog().post("Between two people").await;
    stack.public_blog().until_known(&post).await;
    let page = format!("/p/{post}");
    writer.goto_live(&page).await;
    stranger.goto_live(&page).await;
    stranger.mark_page().await;
    stack.kill(Moderation).await;
    write_comment(&writer, "for now mine alone").await;
    writer.until_shows("li.comment[data-status=pending] .text", "for now mine alone").await;
    stranger
        .until_shows("li.comment[data-status=pending] .notice", "This comment is awaiting moderation")
        .await;
    assert!(!stranger.texts("body").await.expect("the page").concat().contains("mine alone"));
    // Its writer can read it after a reload, too.
    writer.goto_live(&page).await;
    writer.until_shows("li.comment[data-status=pending] .text", "for now mine alone").await;
    stack.start_service(Moderation).await;
    stranger.until_shows("li.comment[data-status=approved] .text", "for now mine alone").await;
    stranger.expect_same_page().await;
    stranger.close().await;
    writer.close().await;
}

#[tokio::test]
async fn what_was_written_in_a_browser_is_there_after_kill_9_of_every_process() {
    let mut stack = Stack::start().await;
    let mut browser = browse(&stack, Ability::Full).await;
    // While everything is down, requests of the open page fail.
    browser.ignore_errors("ERR_CONNECTION_REFUSED");
    browser.ignore_errors("ERR_INCOMPLETE_CHUNKED_ENCODING");
    browser.ignore_errors("/live");
    browser.goto_live("/").await;
    let page = write_post(&browser, "Survives").await;
    browser.until_live().await;
    write_comment(&browser, "survives, too").await;
    browser.until_shows("li.comment .text", "survives, too").await;
    browser.mark_page().await;

    stack.kill_everything().await;
    stack.up().await;
    let blog = stack.public_blog();
    let post = page.trim_start_matches("/p/").to_owned();
    let settled = blog.until_settled(&post, 1).await;
    assert_eq!(
        (settled["title"].as_str(), statuses(&settled["comments"])),
        (Some("Survives"), vec!["approved"])
    );
    // The page that was open all the time reconnects by itself.
    browser.until_shows("li.comment[data-status=approved] .text", "survives, too").await;
    let request = blog.comments.post(&format!("/posts/{post}/comments"));
    request.json(&json!({ "content": "from somebody else" })).send().await.expect(201);
    browser.until_shows("li.comment[data-status=approved] .text", "from somebody else").await;
    browser.expect_same_page().await;
    browser.goto_live(&page).await;
    browser.until_shows("li.comment[data-status=approved] .text", "survives, too").await;
    browser.close().await;
}

#[tokio::test]
async fn a_page_says_when_its_stream_is_lost_and_when_it_is_back() {
    let stack = Stack::start().await;
    let mut browser = browse(&stack, Ability::Full).await;
    browser.ignore_errors("status of 503");
    browser.ignore_errors("/live");
    let post = stack.public_blog().post("Lost and found").await;
    stack.public_blog().until_known(&post).await;
    browser.goto_live(&format!("/p/{post}")).await;
    browser.mark_page().await;
    stack.kill(Moderation).await;
    write_comment(&browser, "is it there?").await;
    browser.until_there("li.comment[data-status=pending]").await;
    let shown = async |css: &str| browser.texts(css).await.expect("the page").concat();
    assert_eq!((shown(".check").await, shown(".not-live").await), (String::new(), String::new()));

    stack.kill(Query).await;
    browser.until_shows(".not-live", "Live updates are off").await;
    browser.until_shows(".check", "Check status").await;
    stack.start_service(Query).await;
    stack.start_service(Moderation).await;
    browser.until_live().await;
    browser.until_shows("li.comment[data-status=approved] .text", "is it there?").await;
    assert_eq!(shown(".not-live").await, "");
    browser.expect_same_page().await;
    browser.close().await;
}

#[tokio::test]
async fn an_older_page_offers_no_new_posts_however_its_address_is_written() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let oldest = blog.post("The oldest").await;
    let mut last = String::new();
    for number in 0..20 {
        last = blog.post(&format!("Newer {number}")).await;
    }
    blog.until_known(&last).await;
    let browser = browse(&stack, Ability::Full).await;
    browser.goto("/").await;
    let older = browser.attribute("a[rel=next]", "href").await.expect("an address");
    let cursor = older.strip_prefix("/?").expect("a cursor");
    browser.goto_live(&format!("/?utm=x&{cursor}")).await;
    browser.until_shows("article.entry", "The oldest").await;
    blog.comment(&oldest, "hello").await;
    browser.until_shows("article.entry .count", "1 comment").await;
    assert_eq!(browser.texts("a.fresh").await.expect("the page").concat(), "", "nothing is new there");
    browser.close().await;
}
