//! What the tests do on the pages of the site.

use system_tests::Stack;
use system_tests::browser::{Ability, Browser};

pub const TITLE: &str = "form[action='/p/new'] [name=title]";
pub const BODY: &str = "form[action='/p/new'] [name=body]";
pub const PUBLISH: &str = "form[action='/p/new'] button[type=submit]";
pub const CONTENT: &str = "form[action$='/comments'] [name=content]";
pub const AUTHOR: &str = "form[action$='/comments'] [name=author]";
pub const SEND: &str = "form[action$='/comments'] button[type=submit]";

pub async fn browse(stack: &Stack, ability: Ability) -> Browser {
    Browser::open(&stack.front_door().url, ability).await
}

/// Writes a post on the home page; returns the path of its page.
pub async fn write_post(browser: &Browser, title: &str) -> String {
    browser.write(TITLE, title).await;
    browser.write(BODY, "some **bold** words").await;
    browser.click(PUBLISH).await;
    let path = browser.until_on("/p/", "/p/new").await;
    browser.until_shows("h1", title).await;
    browser.until_shows("strong", "bold").await;
    path
}

pub async fn write_comment(browser: &Browser, content: &str) {
    browser.write(CONTENT, content).await;
    browser.click(SEND).await;
}
