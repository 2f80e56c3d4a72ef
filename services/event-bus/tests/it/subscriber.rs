//! A subscriber that answers what the test tells it to.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::post;
use http::HeaderMap;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use testkit::{World, eventually};
use tokio::sync::watch;

/// What it answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This status, with these headers and this body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// 409 with this cursor.
    Rewind(i64),
    /// Nothing, until the test lets go; then this status.
    Hang(u16),
}

impl Answer {
    /// This status and nothing else.
    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new(), String::new())
    }

    /// This status with `Retry-After`.
    pub fn retry_after(status: u16, seconds: u32) -> Self {
        Self::Status(status, vec![("retry-after", seconds.to_string())], String::new())
    }
}

/// What it was sent in one request.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Delivery {
    /// The events: one, or an array of them.
    pub fn events(&self) -> Vec<Value> {
        match serde_json::from_slice(&self.body).unwrap() {
            Value::Array(events) => events,
            event => vec![event],
        }
    }

    /// Their places in the log.
    pub fn sequences(&self) -> Vec<i64> {
        self.events().iter().map(|e| e["sequence"].as_str().unwrap().parse().unwrap()).collect()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

/// The subscriber; clones are the same one.
#[derive(Clone)]
pub struct Subscriber(Arc<Inner>);

struct Inner {
    deliveries: Mutex<Vec<Delivery>>,
    script: Mutex<VecDeque<Answer>>,
    usual: Mutex<Answer>,
    let_go: watch::Sender<bool>,
}

impl Subscriber {
    /// One that is at `http://{name}/events` and answers 200.
    pub fn at(world: &World, name: &str) -> Self {
        let this = Self::nowhere();
        this.appear(world, name);
        this
    }

    /// One that is nowhere yet.
    pub fn nowhere() -> Self {
        Self(Arc::new(Inner {
            deliveries: Mutex::default(),
            script: Mutex::default(),
            usual: Mutex::new(Answer::Status(200, Vec::new(), "{}".into())),
            let_go: watch::Sender::new(false),
        }))
    }

    /// Puts it on the network.
    pub fn appear(&self, world: &World, name: &str) {
        // A delivery may be larger than what axum allows by default.
        let events = post(take).layer(DefaultBodyLimit::disable());
        world.network.connect(name, Router::new().route("/events", events).with_state(self.clone()));
    }

    /// Answers these to the next deliveries, one each.
    pub fn will(&self, answers: impl IntoIterator<Item = Answer>) -> &Self {
        self.0.script.lock().unwrap().extend(answers);
        self
    }

    /// Answers this to everything else.
    pub fn usually(&self, answer: Answer) -> &Self {
        *self.0.usual.lock().unwrap() = answer;
        self
    }

    /// Ends every [`Answer::Hang`].
    pub fn let_go(&self) {
        self.0.let_go.send_replace(true);
    }

    /// What it was sent, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.0.deliveries.lock().unwrap().clone()
    }

    /// The places in the log of all that it was sent, delivery by delivery.
    pub fn sequences(&self) -> Vec<Vec<i64>> {
        self.deliveries().iter().map(Delivery::sequences).collect()
    }

    /// Waits until it was sent this often.
    pub async fn was_sent(&self, times: usize) -> Vec<Delivery> {
        let look = async || (self.0.deliveries.lock().unwrap().len() >= times).then_some(());
        eventually(&format!("{times} deliveries"), look).await;
        self.deliveries()
    }
}

async fn take(State(this): State<Subscriber>, headers: HeaderMap, body: Bytes) -> Response {
    this.0.deliveries.lock().unwrap().push(Delivery { headers, body });
    let next = this.0.script.lock().unwrap().pop_front();
    let answer = next.unwrap_or_else(|| this.0.usual.lock().unwrap().clone());
    let (status, headers, body) = match answer {
        Answer::Status(status, headers, body) => (status, headers, body),
        Answer::Rewind(cursor) => (409, Vec::new(), format!(r#"{{"status":409,"cursor":"{cursor:020}"}}"#)),
        Answer::Hang(status) => {
            let _ = this.0.let_go.subscribe().wait_for(|go| *go).await;
            (status, Vec::new(), "{}".to_owned())
        }
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}
