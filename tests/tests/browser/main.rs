//! The site in a real browser: with script, without, and with half of it missing.

mod connections;
mod forms;
mod live;
mod page;
mod threads;
mod without_script;

use page::browse;
use system_tests::browser::Ability;
use system_tests::{LIMIT, Stack, eventually, holds};

#[tokio::test]
async fn a_page_that_misbehaves_is_noticed() {
    let stack = Stack::start().await;
    let browser = browse(&stack, Ability::Full).await;
    browser.goto_live("/").await;
    assert_eq!(browser.complaints().await, [""; 0], "as it is, there is nothing to complain about");
    // Other tabs are recorded, too.
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
            // Something to record: an empty record means that recording does not work.
            browser.run("fetch('/posts?limit=1')").await;
            holds(browser.complaints().await, |all| all.iter().any(|text| text.contains(complaint)))
        })
        .await;
    }
}
