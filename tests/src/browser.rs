//! A real browser: headless chromium, controlled through WebDriver.

mod driver;
mod records;

use driver::Driver;
use fantoccini::actions::{InputSource, MOUSE_BUTTON_LEFT, MouseActions, PointerAction};
use fantoccini::wd::{WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::Url;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::str::FromStr;
use tempfile::TempDir;
use test_support::{LIMIT, eventually, within};

/// Nothing that disturbs a page, and nothing that a test machine may lack.
const FLAGS: [&str; 13] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,1400",
];

/// What the browser can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Scripts and WebAssembly.
    Full,
    /// Scripts are turned off.
    NoScript,
    /// WebAssembly files are blocked.
    NoWasm,
}

/// An open browser with a profile of its own.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    site: String,
    ignored: Vec<String>,
    /// The console's messages so far: the driver returns each once.
    console: RefCell<Vec<Value>>,
    driver: Driver,
    _profile: TempDir,
}

/// A command of chromedriver that WebDriver does not define.
#[derive(Debug)]
struct Own {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Own {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as FromStr>::Err> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

fn said(error: fantoccini::error::CmdError) -> String {
    error.to_string()
}

impl Browser {
    /// Opens a browser for this site.
    pub async fn open(site: &str, ability: Ability) -> Self {
        let mut driver = Driver::start();
        let profile = tempfile::Builder::new().prefix("mini-blog-browser-").tempdir().expect("a folder");
        let mut flags: Vec<_> = FLAGS.iter().map(ToString::to_string).collect();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        let scripts = if ability == Ability::NoScript { 2 } else { 1 };
        let Value::Object(capabilities) = json!({
            "browserName": "chrome",
            "goog:chromeOptions": {
                "binary": driver::chromium(),
                "args": flags,
                "prefs": { "profile.managed_default_content_settings.javascript": scripts },
            },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        }) else {
            unreachable!("it is an object")
        };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let connected = builder.capabilities(capabilities).connect(&driver.url()).await;
        let client = connected.unwrap_or_else(|e| panic!("chromium does not open: {e}"));
        driver.owns(client.session_id().await.expect("a session").expect("an id"));
        let site = site.to_owned();
        let browser = Self {
            client,
            site,
            ignored: Vec::new(),
            console: RefCell::default(),
            driver,
            _profile: profile,
        };
        if ability == Ability::NoWasm {
            browser.devtools("Network.enable", json!({})).await;
            browser.devtools("Network.setBlockedURLs", json!({ "urls": ["*.wasm"] })).await;
        }
        browser
    }

    async fn own(&self, path: &'static str, body: Value) -> Value {
        self.client.issue_cmd(Own { path, body }).await.unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    async fn devtools(&self, command: &str, params: Value) {
        self.own("goog/cdp/execute", json!({ "cmd": command, "params": params })).await;
    }

    /// Opens a page of the site.
    pub async fn goto(&self, path: &str) {
        let url = format!("{}{path}", self.site);
        self.client.goto(&url).await.unwrap_or_else(|e| panic!("{url}: {e}"));
    }

    /// Opens a page of the site and waits until it is live.
    pub async fn goto_live(&self, path: &str) {
        self.goto(path).await;
        self.until_live().await;
    }

    /// Waits until the page is live: its islands run, and its stream is open if it has one.
    pub async fn until_live(&self) {
        eventually(LIMIT, "the page is live", async || {
            let live = self.attribute("html", "data-live").await;
            if live.as_deref() == Some("on") {
                return Ok(());
            }
            self.listen().await;
            Err(format!("data-live is {live:?}; the console says {:?}", self.console.borrow()))
        })
        .await;
    }

    async fn records(&self, kind: &str) -> Vec<Value> {
        self.own("se/log", json!({ "type": kind })).await.as_array().cloned().unwrap_or_default()
    }

    async fn listen(&self) {
        let messages = self.records("browser").await;
        self.console.borrow_mut().extend(messages);
    }

    /// The path of the current page.
    pub async fn path(&self) -> String {
        self.client.current_url().await.expect("an address").path().to_owned()
    }

    /// Waits until the path of the current page begins with `begins` and is not `from`; returns it.
    pub async fn until_on(&self, begins: &str, from: &str) -> String {
        eventually(LIMIT, &format!("the browser is on {begins}… and no longer on {from}"), async || {
            let path = self.path().await;
            if path.starts_with(begins) && path != from { Ok(path) } else { Err(path) }
        })
        .await
    }

    /// Waits until an element matches.
    pub async fn until_there(&self, css: &str) {
        eventually(LIMIT, &format!("there is {css}"), async || {
            self.client.find(Locator::Css(css)).await.map(drop).map_err(said)
        })
        .await;
    }

    /// Waits until a matching element shows this text.
    pub async fn until_shows(&self, css: &str, text: &str) {
        let what = format!("{css} shows {text:?}");
        let shows = within(LIMIT, &what, async || {
            let shown = self.texts(css).await?;
            if shown.iter().any(|shown| shown.contains(text)) { Ok(()) } else { Err(format!("{shown:?}")) }
        });
        if let Err(late) = shows.await {
            panic!("{late}\n{}", self.diagnostics().await);
        }
    }

    /// What the browser knows about the page, for the message of a test that fails.
    async fn diagnostics(&self) -> String {
        const PAGE: &str = "return { \
            visibility: document.visibilityState, now: performance.now(), live: document.documentElement.dataset.live, \
            requests: performance.getEntriesByType('resource').slice(-6) \
                .map((e) => [e.name, e.initiatorType, e.startTime, e.responseStart, e.responseEnd]) }";
        let page = self.client.execute(PAGE, Vec::new()).await.map_err(said);
        format!("the page: {page:?}\ncomplaints: {:?}", self.complaints().await)
    }

    /// The visible texts of all matching elements.
    pub async fn texts(&self, css: &str) -> Result<Vec<String>, String> {
        let mut texts = Vec::new();
        for element in self.client.find_all(Locator::Css(css)).await.map_err(said)? {
            texts.push(element.text().await.map_err(said)?);
        }
        Ok(texts)
    }

    /// The value of a field.
    pub async fn value(&self, css: &str) -> String {
        let field = self.client.find(Locator::Css(css)).await.unwrap_or_else(|e| panic!("{css}: {e}"));
        field.prop("value").await.unwrap_or_else(|e| panic!("{css}: {e}")).unwrap_or_default()
    }

    /// An attribute of an element; `None` where it has none.
    pub async fn attribute(&self, css: &str, name: &str) -> Option<String> {
        let element = self.client.find(Locator::Css(css)).await.unwrap_or_else(|e| panic!("{css}: {e}"));
        element.attr(name).await.unwrap_or_else(|e| panic!("{css}: {e}"))
    }

    /// Types into a field, key by key.
    pub async fn write(&self, css: &str, text: &str) {
        let field = self.client.find(Locator::Css(css)).await.unwrap_or_else(|e| panic!("{css}: {e}"));
        field.send_keys(text).await.unwrap_or_else(|e| panic!("{css}: {e}"));
    }

    /// Clicks the element; waits for the next page if the click leads there at once.
    pub async fn click(&self, css: &str) {
        let element = self.client.find(Locator::Css(css)).await.unwrap_or_else(|e| panic!("{css}: {e}"));
        element.click().await.unwrap_or_else(|e| panic!("{css}: {e}"));
    }

    /// Sets a mark in the page that a reload removes.
    pub async fn mark_page(&self) {
        self.run("window.stillHere = true").await;
    }

    /// Fails if the page was loaded again since it was marked.
    pub async fn expect_same_page(&self) {
        let here =
            self.client.execute("return window.stillHere === true", Vec::new()).await.expect("a script");
        assert_eq!(here, json!(true), "the page was loaded again");
    }

    /// Runs a script in the page: for tests of the tests, and for what no reader can cause at will.
    pub async fn run(&self, script: &str) {
        self.client.execute(script, Vec::new()).await.unwrap_or_else(|e| panic!("{script}: {e}"));
    }

    /// The tab in front.
    pub async fn tab(&self) -> WindowHandle {
        self.client.window().await.expect("a tab")
    }

    /// Opens another tab and brings it to the front.
    pub async fn new_tab(&self) -> WindowHandle {
        let tab = self.client.new_window(true).await.expect("another tab").handle;
        self.bring_to_front(&tab).await;
        tab
    }

    /// Opens another window, which hides none of the others.
    pub async fn new_window(&self) -> WindowHandle {
        let window = self.client.new_window(false).await.expect("another window").handle;
        self.switch_to(&window).await;
        window
    }

    /// Directs everything that follows to this window, without bringing it to the front.
    pub async fn switch_to(&self, window: &WindowHandle) {
        self.client.switch_to_window(window.clone()).await.expect("the window");
    }

    /// Closes the window that everything is directed to.
    pub async fn close_window(&self) {
        self.client.close_window().await.expect("it closes");
    }

    /// Brings a tab to the front: all others are hidden then.
    pub async fn bring_to_front(&self, tab: &WindowHandle) {
        self.switch_to(tab).await;
        self.devtools("Page.bringToFront", json!({})).await;
    }

    /// Goes back, as with the browser's button.
    pub async fn back(&self) {
        self.client.back().await.expect("a page to go back to");
    }

    /// Clicks twice in a row, as fast as a mouse does.
    pub async fn double_click(&self, css: &str) {
        let element = self.client.find(Locator::Css(css)).await.unwrap_or_else(|e| panic!("{css}: {e}"));
        let button = MOUSE_BUTTON_LEFT;
        let mouse = MouseActions::new("mouse".to_owned())
            .then(PointerAction::MoveToElement { element, duration: None, x: 0.0, y: 0.0 })
            .then(PointerAction::Down { button })
            .then(PointerAction::Up { button })
            .then(PointerAction::Down { button })
            .then(PointerAction::Up { button });
        self.client.perform_actions(mouse).await.unwrap_or_else(|e| panic!("{css}: {e}"));
    }

    /// Whether the element has the focus.
    pub async fn is_focused(&self, css: &str) -> bool {
        let script = "return document.activeElement === document.querySelector(arguments[0])";
        let answer = self.client.execute(script, vec![json!(css)]).await;
        answer.unwrap_or_else(|e| panic!("{css}: {e}")) == json!(true)
    }

    /// Complaints with this text are expected.
    pub fn ignore_errors(&mut self, text: &str) {
        self.ignored.push(text.to_owned());
    }

    /// Errors and warnings in the console, violated policies, requests to other sites, failed requests. Each is
    /// returned once.
    pub async fn complaints(&self) -> Vec<String> {
        self.listen().await;
        let network = self.records("performance").await;
        assert!(!network.is_empty(), "the browser has recorded nothing");
        let console = std::mem::take(&mut *self.console.borrow_mut());
        records::complaints(&console, &network, &self.site, &self.ignored)
    }

    /// Closes the browser. Fails if there are complaints.
    pub async fn close(self) {
        let complaints = self.complaints().await;
        assert!(complaints.is_empty(), "the browser complains:\n{}", complaints.join("\n"));
        drop(self.driver);
    }
}
