//! The site in a real browser: with script, without, and with half of it missing.

use serde_json::json;
use shared::ServiceName::{Comments, Moderation};
use system_tests::blog::{contents, statuses};
use system_tests::browser::{Ability, Browser};
use system_tests::{LIMIT, Stack, eventually, holds};

const TITLE: &str = "form[action='/p/new'] [name=title]";
const BODY: &str = "form[action='/p/new'] [name=body]";
const PUBLISH: &str = "form[action='/p/new'] button[type=submit]";
const CONTENT: &str = "form[action$='/comments'] [name=content]";
const AUTHOR: &str = "form[action$='/comments'] [name=author]";
const SEND: &str = "form[action$='/comments'] button[type=submit]";

async fn browse(stack: &Stack, ability: Ability) -> Browser {
    Browser::open(&stack.front_door().url, ability).await
}

/// Writes a post from the first page, and gives back its page's path.
async fn write_post(browser: &Browser, title: &str) -> String {
    browser.write(TITLE, title).await;
    browser.write(BODY, "some **bold** words").await;
    browser.click(PUBLISH).await;
    let path = browser.until_on("/p/", "/p/new").await;
    browser.until_shows("h1", title).await;
    browser.until_shows("strong", "bold").await;
    path
}

async fn write_comment(browser: &Browser, content: &str) {
    browser.write(CONTENT, content).await;
    browser.click(SEND).await;
}

#[tokio::test]
async fn with_script_a_comment_changes_from_waiting_to_published_in_place() {
    let stack = Stack::start().await;
    let browser = browse(&stack, Ability::Full).await;
    browser.goto_live("/").await;
    let post = write_post(&browser, "Written in a browser").await;
    browser.until_live().await;
    browser.mark_page().await;

    // Held up, so that the waiting can be seen.
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
    browser.until_shows("h2", "1 comment").await;
    browser.expect_same_page().await;

    browser.goto_live(&post).await;
    browser.until_shows("li.comment[data-status=approved] .text", "my first comment").await;
    browser.close().await;
}

#[tokio::test]
async fn with_script_what_is_wrong_stands_beside_the_field_and_the_text_stays() {
    let stack = Stack::start().await;
    let mut browser = browse(&stack, Ability::Full).await;
    browser.forgive("status of 422");
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
    browser.forgive("status of 503");
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
async fn a_page_that_misbehaves_is_noticed() {
    let stack = Stack::start().await;
    let browser = browse(&stack, Ability::Full).await;
    browser.goto_live("/").await;
    assert_eq!(browser.complaints().await, [""; 0], "as it is, there is nothing to complain about");
    // Another tab is looked at as well.
    browser.new_tab().await;
    browser.goto_live("/").await;
    for (script, complaint) in [
        ("console.error('an error of its own')", "an error of its own"),
        ("console.warn('a warning of its own')", "a warning of its own"),
        ("setTimeout(() => { throw new Error('nobody caught it') })", "nobody caught it"),
        ("fetch('/nothing')", "status of 404"),
        ("document.body.setAttribute('style', 'color: red')", "Content Security Policy"),
        ("new Image().src = 'http://127.0.0.1:1/pixel.png'", "Content Security Policy"),
        (
            "document.body.append(Object.assign(document.createElement('p'), { innerHTML: '<b onclick=\"1\">' }).firstChild)",
            "Content Security Policy",
        ),
    ] {
        browser.run(script).await;
        let what = format!("{script} is noticed");
        eventually(LIMIT, &what, async || {
            // Something to note, so that nothing noted means that nothing works.
            browser.run("fetch('/posts?limit=1')").await;
            holds(browser.complaints().await, |all| all.iter().any(|text| text.contains(complaint)))
        })
        .await;
    }
}

/// What can be done wherever scripts do not run.
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
    browser.forgive("status of 422");
    write_and_read_plainly(&browser, &stack).await;
    assert_eq!(browser.attribute("html", "data-live").await, None, "no script has run");
    browser.close().await;
}

#[tokio::test]
async fn without_webassembly_the_page_says_so_and_everything_is_written_and_read() {
    let stack = Stack::start().await;
    let mut browser = browse(&stack, Ability::NoWasm).await;
    browser.forgive("status of 422");
    // The file that is blocked, and what the page says about it.
    browser.forgive(".wasm");
    browser.forgive("TypeError: Failed to fetch");
    browser.goto("/").await;
    browser.until_there("html[data-live=off]").await;
    write_and_read_plainly(&browser, &stack).await;
    browser.until_there("html[data-live=off]").await;
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
    // A third one shows the list.
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
async fn a_waiting_comment_is_its_writers_alone_and_a_stranger_sees_it_come() {
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
    // Its writer finds it again after a reload, too.
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
    // While everything is down, the open page cannot but notice.
    browser.forgive("ERR_CONNECTION_REFUSED");
    browser.forgive("ERR_INCOMPLETE_CHUNKED_ENCODING");
    browser.forgive("/live");
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
    // The page that was open all the time finds its way back by itself.
    browser.until_shows("li.comment[data-status=approved] .text", "survives, too").await;
    let request = blog.comments.post(&format!("/posts/{post}/comments"));
    request.json(&json!({ "content": "from somebody else" })).send().await.expect(201);
    browser.until_shows("li.comment[data-status=approved] .text", "from somebody else").await;
    browser.expect_same_page().await;
    browser.goto_live(&page).await;
    browser.until_shows("li.comment[data-status=approved] .text", "survives, too").await;
    browser.close().await;
}
