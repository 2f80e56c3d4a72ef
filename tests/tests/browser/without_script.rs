//! The site where scripts or WebAssembly do not run.

use crate::page::{AUTHOR, BODY, PUBLISH, TITLE, browse, write_comment, write_post};
use system_tests::Stack;
use system_tests::browser::{Ability, Browser};

/// Everything that works where scripts do not run.
async fn write_and_read_plainly(browser: &Browser, stack: &Stack) {
    browser.goto("/").await;
    let post = write_post(browser, "By plain form").await;
    browser.write(AUTHOR, "Bob").await;
    write_comment(browser, "a plain comment").await;
    browser.until_shows("li.comment .text", "a plain comment").await;
    assert_eq!(browser.path().await, post, "at once, on the same page");
    let id = post.trim_start_matches("/p/");
    stack.public_blog().until_settled(id, 1).await;
    browser.goto(&post).await;
    browser.until_shows("li.comment[data-status=approved] .text", "a plain comment").await;

    write_comment(browser, "  ").await;
    browser.until_shows("#comment-content-error", "Comment must not be empty").await;
    browser.goto("/").await;
    browser.until_shows("article.entry", "By plain form").await;
    browser.until_shows("article.entry .count", "1 comment").await;
    browser.write(TITLE, "  ").await;
    browser.write(BODY, "</textarea> & <b>worth</b> keeping").await;
    browser.click(PUBLISH).await;
    browser.until_shows("#post-title-error", "Title must not be empty").await;
    assert_eq!(browser.value(BODY).await.trim_start(), "</textarea> & <b>worth</b> keeping");
    browser.write(TITLE, "Second try").await;
    browser.click(PUBLISH).await;
    browser.until_on("/p/", "/p/new").await;
    browser.until_shows("h1", "Second try").await;
}

#[tokio::test]
async fn without_script_everything_is_written_and_read() {
    let stack = Stack::start().await;
    let mut browser = browse(&stack, Ability::NoScript).await;
    browser.ignore_errors("status of 422");
    write_and_read_plainly(&browser, &stack).await;
    assert_eq!(browser.attribute("html", "data-live").await, None, "no script has run");
    browser.close().await;
}

#[tokio::test]
async fn without_webassembly_the_page_says_so_and_everything_is_written_and_read() {
    let stack = Stack::start().await;
    let mut browser = browse(&stack, Ability::NoWasm).await;
    browser.ignore_errors("status of 422");
    // The file that is blocked, and the message about it.
    browser.ignore_errors(".wasm");
    browser.ignore_errors("TypeError: Failed to fetch");
    browser.goto("/").await;
    browser.until_there("html[data-live=off]").await;
    write_and_read_plainly(&browser, &stack).await;
    browser.until_there("html[data-live=off]").await;
    browser.close().await;
}
