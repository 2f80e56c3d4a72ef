//! A real browser at the front door.

use crate::deployment::Deployment;
use system_tests::browser::{Ability, Browser};

const TITLE: &str = "form[action='/p/new'] [name=title]";
const PUBLISH: &str = "form[action='/p/new'] button[type=submit]";
const CONTENT: &str = "form[action$='/comments'] [name=content]";
const SEND: &str = "form[action$='/comments'] button[type=submit]";

async fn write_post(browser: &Browser, title: &str) -> String {
    browser.write(TITLE, title).await;
    browser.click(PUBLISH).await;
    let page = browser.until_on("/p/", "/p/new").await;
    browser.until_shows("h1", title).await;
    page
}

/// With script: written, and judged in place.
pub async fn writes_with_script(deployment: &Deployment) {
    let browser = Browser::open(&deployment.front_door().url, Ability::Full).await;
    browser.goto_live("/").await;
    write_post(&browser, "Written in a browser").await;
    browser.until_live().await;
    browser.mark_page().await;
    browser.write(CONTENT, "seen in place").await;
    browser.click(SEND).await;
    browser.until_shows("li.comment[data-status=approved] .text", "seen in place").await;
    browser.write(CONTENT, "an orange one").await;
    browser.click(SEND).await;
    browser.until_shows("li.comment[data-status=rejected] .notice", "This comment has been rejected").await;
    browser.expect_same_page().await;
    browser.close().await;
}

/// Without: the same, page by page.
pub async fn writes_without_script(deployment: &Deployment) {
    let browser = Browser::open(&deployment.front_door().url, Ability::NoScript).await;
    browser.goto("/").await;
    let page = write_post(&browser, "Written without script").await;
    browser.write(CONTENT, "plainly").await;
    browser.click(SEND).await;
    browser.until_shows("li.comment .text", "plainly").await;
    deployment.blog().until_settled(page.trim_start_matches("/p/"), 1).await;
    browser.goto(&page).await;
    browser.until_shows("li.comment[data-status=approved] .text", "plainly").await;
    assert_eq!(browser.attribute("html", "data-live").await, None, "no script has run");
    browser.close().await;
}
