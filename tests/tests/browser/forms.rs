//! Forms that a script has taken over.

use crate::page::{BODY, CONTENT, PUBLISH, SEND, TITLE, browse, write_comment};
use shared::ServiceName::{Comments, Frontend};
use system_tests::blog::contents;
use system_tests::browser::Ability;
use system_tests::{LIMIT, Stack, eventually, holds};

#[tokio::test]
async fn with_script_what_is_wrong_stands_beside_the_field_and_the_text_stays() {
    let stack = Stack::start().await;
    let mut browser = browse(&stack, Ability::Full).await;
    browser.ignore_errors("status of 422");
    browser.goto_live("/").await;
    browser.mark_page().await;
    browser.write(TITLE, "   ").await;
    browser.write(BODY, "worth keeping").await;
    browser.click(PUBLISH).await;
    browser.until_shows("#post-title-error", "Title must not be empty").await;
    assert_eq!(browser.attribute(TITLE, "aria-invalid").await.as_deref(), Some("true"));
    assert_eq!(browser.attribute(BODY, "aria-invalid").await, None);
    assert_eq!(browser.value(BODY).await, "worth keeping");
    browser.expect_same_page().await;
    browser.write(TITLE, "Now it has one").await;
    browser.click(PUBLISH).await;
    browser.until_on("/p/", "/p/new").await;
    browser.until_shows("h1", "Now it has one").await;

    browser.until_live().await;
    browser.mark_page().await;
    write_comment(&browser, "  ").await;
    browser.until_shows("#comment-content-error", "Comment must not be empty").await;
    write_comment(&browser, "better").await;
    browser.until_shows("li.comment[data-status=approved] .text", "better").await;
    assert_eq!(
        browser.texts(".error").await.expect("errors").concat(),
        "",
        "what was wrong is wrong no more"
    );
    browser.expect_same_page().await;
    browser.close().await;
}

#[tokio::test]
async fn with_script_a_text_is_kept_while_its_service_is_down_and_sent_once() {
    let stack = Stack::start().await;
    let mut browser = browse(&stack, Ability::Full).await;
    browser.ignore_errors("status of 503");
    let post = stack.public_blog().post("For comments").await;
    stack.public_blog().until_known(&post).await;
    browser.goto_live(&format!("/p/{post}")).await;
    browser.mark_page().await;
    stack.kill(Comments).await;
    write_comment(&browser, "not to be lost").await;
    browser.until_shows(".refused", "Your text is still here").await;
    assert_eq!(browser.value(CONTENT).await, "not to be lost");
    stack.start_service(Comments).await;
    browser.click(SEND).await;
    browser.until_shows("li.comment[data-status=approved] .text", "not to be lost").await;
    browser.expect_same_page().await;
    assert_eq!(contents(&stack.public_blog().comments(&post).await), ["not to be lost"]);
    browser.close().await;
}

#[tokio::test]
async fn a_double_click_is_one_post_and_one_comment() {
    for ability in [Ability::Full, Ability::NoScript] {
        let stack = Stack::start().await;
        let blog = stack.public_blog();
        let browser = browse(&stack, ability).await;
        browser.goto("/").await;
        if ability == Ability::Full {
            browser.until_live().await;
        }
        browser.write(TITLE, "Clicked twice").await;
        browser.double_click(PUBLISH).await;
        let page = browser.until_on("/p/", "/p/new").await;
        browser.until_shows("h1", "Clicked twice").await;
        if ability == Ability::Full {
            browser.until_live().await;
        }
        browser.write(CONTENT, "clicked twice").await;
        browser.double_click(SEND).await;
        browser.until_shows("li.comment .text", "clicked twice").await;

        // What comes later has overtaken nothing: a second copy would be there by now.
        let post = page.trim_start_matches("/p/");
        let last = blog.post("The last one").await;
        blog.until_known(&last).await;
        blog.comment(post, "the last one").await;
        let settled = blog.until_settled(post, 2).await;
        assert_eq!(contents(&settled["comments"]), ["clicked twice", "the last one"], "{ability:?}");
        let posts = blog.read().await;
        assert_eq!(posts.as_object().map(serde_json::Map::len), Some(2), "{ability:?}: {posts}");
        browser.close().await;
    }
}

#[tokio::test]
async fn the_focus_goes_to_what_is_wrong_and_otherwise_stays_where_it_is() {
    let stack = Stack::start().await;
    let mut browser = browse(&stack, Ability::Full).await;
    browser.ignore_errors("status of 503");
    let post = stack.public_blog().post("For the keyboard").await;
    stack.public_blog().until_known(&post).await;
    browser.goto_live("/").await;
    browser.write(TITLE, "   ").await;
    browser.click(PUBLISH).await;
    browser.until_shows("#post-title-error", "Title must not be empty").await;
    assert!(browser.is_focused(TITLE).await, "the first field that is wrong");

    browser.goto_live(&format!("/p/{post}")).await;
    write_comment(&browser, "  ").await;
    browser.until_shows("#comment-content-error", "Comment must not be empty").await;
    assert!(browser.is_focused(CONTENT).await, "the first field that is wrong");
    write_comment(&browser, "sent by keyboard").await;
    browser.until_shows("li.comment[data-status=approved] .text", "sent by keyboard").await;
    browser.until_shows("[role=status]", "Your comment is published.").await;
    assert!(browser.is_focused(SEND).await, "nothing takes the focus from the button");

    stack.kill(Comments).await;
    write_comment(&browser, "not now").await;
    browser.until_shows("[role=alert]", "Your text is still here").await;
    assert!(browser.is_focused(SEND).await, "so that it can be sent again");
    browser.close().await;
}

#[tokio::test]
async fn a_request_that_never_ends_gives_the_form_back_with_its_text() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let browser = browse(&stack, Ability::Full).await;
    let post = blog.post("Answered late").await;
    blog.until_known(&post).await;
    browser.goto_live(&format!("/p/{post}")).await;
    browser.mark_page().await;
    // The browser's clock runs ahead: whoever waits for many seconds has waited for them at once.
    browser
        .run(
            "const real = window.setTimeout; \
             window.setTimeout = (call, ms, ...rest) => real(call, ms > 9000 ? 500 : ms, ...rest)",
        )
        .await;
    let silent = stack.pause(Frontend);
    write_comment(&browser, "kept meanwhile").await;
    browser.until_shows("[role=alert]", "took too long").await;
    assert_eq!(browser.value(CONTENT).await, "kept meanwhile");
    assert_eq!(browser.attribute(SEND, "aria-disabled").await, None, "the form can be sent again");
    drop(silent);
    browser.click(SEND).await;
    browser.until_shows("li.comment[data-status=approved] .text", "kept meanwhile").await;
    browser.expect_same_page().await;
    // The first request has arrived after all, and is the same comment.
    blog.comment(&post, "the last one").await;
    let settled = blog.until_settled(&post, 2).await;
    assert_eq!(contents(&settled["comments"]), ["kept meanwhile", "the last one"]);
    browser.close().await;
}

#[tokio::test]
async fn a_form_works_on_when_the_way_to_its_post_is_cancelled() {
    let stack = Stack::start().await;
    let browser = browse(&stack, Ability::Full).await;
    browser.goto_live("/").await;
    browser.mark_page().await;
    browser
        .run("navigation.addEventListener('navigate', (event) => event.preventDefault(), { once: true })")
        .await;
    browser.write(TITLE, "The first").await;
    browser.click(PUBLISH).await;
    browser.until_shows("[role=status]", "Your post is published").await;
    eventually(LIMIT, "the form can be used again", async || {
        holds(browser.attribute(PUBLISH, "aria-disabled").await, Option::is_none)
    })
    .await;
    assert_eq!(browser.value(TITLE).await, "", "it was sent");
    browser.expect_same_page().await;
    browser.write(TITLE, "The second").await;
    browser.click(PUBLISH).await;
    browser.until_on("/p/", "/p/new").await;
    browser.until_shows("h1", "The second").await;

    // Back on the page that was left, the form is as good as new.
    browser.back().await;
    browser.until_shows("h1", "Newest posts").await;
    browser.until_live().await;
    assert_eq!(browser.value(TITLE).await, "", "it was sent");
    browser.write(TITLE, "The third").await;
    browser.click(PUBLISH).await;
    browser.until_on("/p/", "/p/new").await;
    browser.until_shows("h1", "The third").await;
    browser.close().await;
}

#[tokio::test]
async fn a_page_with_a_refused_form_is_taken_over_with_what_is_wrong() {
    let stack = Stack::start().await;
    let mut browser = browse(&stack, Ability::Full).await;
    browser.ignore_errors("status of 422");
    let post = stack.public_blog().post("Refused before the script ran").await;
    stack.public_blog().until_known(&post).await;
    // Submits it as the browser does until the script has taken the form over.
    let submit = async |form: &str| browser.run(&format!("document.querySelector(`{form}`).submit()")).await;
    browser.goto_live("/").await;
    browser.write(TITLE, "  ").await;
    submit("form[action='/p/new']").await;
    browser.until_shows("#post-title-error", "Title must not be empty").await;
    browser.until_live().await;
    browser.write(TITLE, "Now it has one").await;
    browser.click(PUBLISH).await;
    browser.until_on("/p/", "/p/new").await;
    browser.until_shows("h1", "Now it has one").await;

    browser.goto_live(&format!("/p/{post}")).await;
    browser.write(CONTENT, "  ").await;
    submit("form[action$='/comments']").await;
    browser.until_shows("#comment-content-error", "Comment must not be empty").await;
    browser.until_live().await;
    browser.mark_page().await;
    write_comment(&browser, "better").await;
    browser.until_shows("li.comment[data-status=approved] .text", "better").await;
    browser.expect_same_page().await;
    browser.close().await;
}
