//! A browser opens six connections to a site at most: pages that are not looked at must not hold any.

use crate::page::browse;
use shared::ServiceName::Query;
use std::time::{Duration, Instant};
use system_tests::Stack;
use system_tests::browser::{Ability, Browser};

/// Far more than a page needs on a busy machine, far less than a browser waits for a free connection.
const PAGE_LIMIT: Duration = Duration::from_secs(15);

/// Does what shows another page, and fails unless that page is live in time.
async fn in_time(browser: &Browser, what: &str, turn: impl AsyncFnOnce()) {
    let began = Instant::now();
    turn().await;
    browser.until_live().await;
    let took = began.elapsed();
    assert!(took < PAGE_LIMIT, "{what} took {took:?}");
}

#[tokio::test]
async fn twenty_pages_in_a_row_come_in_time_and_going_back_shows_a_live_page() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("Read again and again").await;
    blog.until_known(&post).await;
    let browser = browse(&stack, Ability::Full).await;
    browser.goto_live("/").await;
    browser.mark_page().await;
    for round in 1..=5 {
        for visit in 1..=2 {
            in_time(&browser, &format!("post {visit} of round {round}"), async || {
                browser.click("article.entry h2 a").await;
                browser.until_shows("h1", "Read again and again").await;
            })
            .await;
            let what = format!("the list, time {visit} of round {round}");
            in_time(&browser, &what, async || {
                if visit == 1 {
                    browser.click("header.site .name").await;
                } else {
                    browser.back().await;
                }
                browser.until_shows("h1", "Newest posts").await;
            })
            .await;
        }
    }
    blog.comment(&post, "written while the page was left").await;
    browser.until_shows("article.entry .count", "1 comment").await;
    browser.close().await;
}

#[tokio::test]
async fn eight_tabs_open_in_time_and_each_is_live_when_it_is_looked_at() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("In eight tabs").await;
    blog.until_known(&post).await;
    let browser = browse(&stack, Ability::Full).await;
    let mut tabs = vec![browser.tab().await];
    for number in 1..=8 {
        if number > 1 {
            tabs.push(browser.new_tab().await);
        }
        let what = format!("tab {number}");
        in_time(&browser, &what, async || browser.goto(&format!("/p/{post}")).await).await;
        browser.mark_page().await;
    }
    blog.comment(&post, "seen in every tab").await;
    blog.until_settled(&post, 1).await;
    for tab in &tabs {
        browser.bring_to_front(tab).await;
        browser.until_shows("li.comment[data-status=approved] .text", "seen in every tab").await;
        browser.expect_same_page().await;
    }
    browser.close().await;
}

#[tokio::test]
async fn eight_windows_side_by_side_open_in_time_and_a_closed_one_makes_room() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("In eight windows").await;
    blog.until_known(&post).await;
    let browser = browse(&stack, Ability::Full).await;
    let mut windows = vec![browser.tab().await];
    for number in 1..=8 {
        if number > 1 {
            windows.push(browser.new_window().await);
        }
        let what = format!("window {number}");
        in_time(&browser, &what, async || browser.goto(&format!("/p/{post}")).await).await;
        browser.mark_page().await;
    }
    let visible = async |window| {
        browser.switch_to(window).await;
        browser.run("if (document.hidden) throw new Error('this window is hidden')").await;
    };
    let (oldest, others) = windows.split_first().expect("eight windows");
    visible(oldest).await;
    browser.until_shows(".not-live", "Live updates are off").await;
    for window in others {
        visible(window).await;
        browser.close_window().await;
    }
    visible(oldest).await;
    browser.until_live().await;
    blog.comment(&post, "seen in the last window").await;
    browser.until_shows("li.comment[data-status=approved] .text", "seen in the last window").await;
    browser.expect_same_page().await;
    browser.close().await;
}

/// Stops the page's clock for pauses between attempts to connect, and shows on `<html>` how often the page has tried
/// (`data-attempts`), how many attempts wait for their time (`data-waiting`), how long the last one is to wait
/// (`data-pause`), and how many messages of other windows the page has handled (`data-heard`). `connectNow` does what is
/// due when a pause is over.
const ATTEMPTS: &str = r#"
    const shown = document.documentElement.dataset;
    const waiting = new Map();
    const count = (name) => { shown[name] = Number(shown[name]) + 1 };
    const showWaiting = () => { shown.waiting = waiting.size };
    Object.assign(shown, { attempts: 0, heard: 0, pause: 0 });
    showWaiting();
    const { EventSource: Source, setTimeout: set, clearTimeout: clear } = window;
    window.EventSource = class extends Source { constructor(url) { super(url); count("attempts") } };
    window.setTimeout = (call, ms, ...rest) => {
        // Shorter: not a pause. 20 s: the time limit of a request.
        if (!(ms >= 500) || ms === 20000) return set(call, ms, ...rest);
        const id = -1 - Number(shown.attempts);
        waiting.set(id, call);
        shown.pause = ms;
        showWaiting();
        return id;
    };
    window.clearTimeout = (id) => { waiting.delete(id) ? showWaiting() : clear(id) };
    window.connectNow = () => { const [[id, call]] = waiting; waiting.delete(id); showWaiting(); call() };
    // Messages come to the channels of a page in the order in which these were opened: to this one last.
    window.heard = new BroadcastChannel("live");
    window.heard.onmessage = () => count("heard");
"#;

#[tokio::test]
async fn a_refused_stream_is_tried_again_after_growing_pauses_whatever_other_windows_try() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("In two windows").await;
    blog.until_known(&post).await;
    let mut browser = browse(&stack, Ability::Full).await;
    browser.ignore_errors("status of 503");
    browser.ignore_errors("/live");
    let one = browser.tab().await;
    browser.goto_live(&format!("/p/{post}")).await;
    let other = browser.new_window().await;
    browser.goto_live(&format!("/p/{post}")).await;
    for window in [&one, &other] {
        browser.switch_to(window).await;
        browser.run(ATTEMPTS).await;
    }
    stack.kill(Query).await;
    for window in [&one, &other] {
        browser.switch_to(window).await;
        browser.until_there("html[data-attempts='0'][data-waiting='1']").await;
    }
    for attempt in 1..=3_u32 {
        browser.switch_to(&one).await;
        browser.run("connectNow()").await;
        browser.until_there(&format!("html[data-attempts='{attempt}'][data-waiting='1']")).await;
        let pause: u32 =
            browser.attribute("html", "data-pause").await.and_then(|ms| ms.parse().ok()).expect("ms");
        assert!((500 << attempt..=1000 << attempt).contains(&pause), "{pause} ms after attempt {attempt}");
        browser.switch_to(&other).await;
        browser.until_there(&format!("html:not([data-heard='{}'])", attempt - 1)).await;
        let shown = [
            browser.attribute("html", "data-attempts").await,
            browser.attribute("html", "data-waiting").await,
        ];
        assert_eq!(
            shown.map(Option::unwrap_or_default),
            ["0", "1"],
            "what the other window tries is no reason"
        );
    }
    stack.start_service(Query).await;
    for window in [&one, &other] {
        browser.switch_to(window).await;
        browser.run("connectNow()").await;
        browser.until_live().await;
    }
    browser.close().await;
}
