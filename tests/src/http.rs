//! An HTTP client whose failures show the whole answer.

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::Value;
use std::time::Duration;
use test_support::beginning;

/// How long an exchange may take: longer than any timeout of the services.
const TIMEOUT: Duration = Duration::from_secs(40);

/// How many characters of a body are printed.
const SHOWN: usize = 2_000;

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {self}"))
    }

    /// A header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The cookies that it sets, as a client sends them back.
    pub fn cookies(&self) -> String {
        let set = self.headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        set.filter_map(|cookie| cookie.split(';').next()).collect::<Vec<_>>().join("; ")
    }

    /// Fails the test unless it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// Fails the test unless it is a complete problem of this status that reveals nothing internal.
    #[track_caller]
    pub fn expect_problem(self, status: u16) -> Value {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{answer}");
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{answer}");
        assert!(problem["type"].as_str().is_some_and(|kind| kind.starts_with("/problems/")), "{answer}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{answer}");
        let text = answer.text();
        for private in
            [".rs:", "panicked", "/root", "/home", "/tmp", ".db", "SELECT ", "INSERT ", "sqlite", "    at "]
        {
            assert!(!text.contains(private), "it reveals {private:?}: {answer}");
        }
        if matches!(status, 429 | 503) {
            assert!(answer.header("retry-after").parse::<u64>().is_ok(), "Retry-After is missing: {answer}");
        }
        problem
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}\n{}", self.status, self.headers, beginning(&self.text(), SHOWN))
    }
}

/// A server, by its base address.
#[derive(Debug, Clone)]
pub struct Server {
    client: reqwest::Client,
    /// `http://127.0.0.1:4000`
    pub url: String,
}

/// How long a client keeps an unused connection by default.
const IDLE: Duration = Duration::from_secs(90);

/// A client for one test: its connections belong to the runtime of that test.
pub fn client() -> reqwest::Client {
    client_with_idle(IDLE)
}

/// A client that closes a connection after this long without use.
pub fn client_with_idle(idle: Duration) -> reqwest::Client {
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    builder.pool_idle_timeout(idle).build().expect("an HTTP client")
}

impl Server {
    /// The server at this address.
    pub fn new(client: &reqwest::Client, url: &str) -> Self {
        Self { client: client.clone(), url: url.to_owned() }
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// A request of any method; the path may hold a query.
    pub fn request(&self, method: Method, path: &str) -> Request {
        Request(self.client.request(method, format!("{}{path}", self.url)))
    }

    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }
}

/// A request, until it is sent.
#[derive(Debug)]
pub struct Request(reqwest::RequestBuilder);

impl Request {
    pub fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    /// Adds a token.
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Sets the body and its media type.
    pub fn body(self, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self(self.0.header(header::CONTENT_TYPE, content_type).body(body.into()))
    }

    /// Sets a JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sets the fields of a form, as a browser sends them.
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let pairs: Vec<_> = fields.iter().map(|(name, text)| format!("{name}={}", encode(text))).collect();
        self.body("application/x-www-form-urlencoded", pairs.join("&"))
    }

    /// Sends it; an error says that there was no answer.
    pub async fn try_send(self) -> Result<Answer, String> {
        self.try_send_within(TIMEOUT).await
    }

    /// Sends it; an error says that there was no answer within this time.
    pub async fn try_send_within(self, limit: Duration) -> Result<Answer, String> {
        let failed = |e: reqwest::Error| format!("no answer: {e:?}");
        let response = self.0.timeout(limit).send().await.map_err(failed)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.map_err(failed)?;
        Ok(Answer { status, headers, body })
    }

    /// Sends it; the test fails if there is no answer.
    pub async fn send(self) -> Answer {
        let request = format!("{:?}", self.0);
        self.try_send().await.unwrap_or_else(|e| panic!("{request}: {e}"))
    }

    /// Sends it without a timeout; returns the head of the answer, with the body still to come.
    pub(crate) async fn try_open(self) -> Result<reqwest::Response, String> {
        self.0.send().await.map_err(|e| format!("no answer: {e:?}"))
    }
}

/// A text, encoded for a form or a query.
pub fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'*');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
