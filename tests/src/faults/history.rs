//! The state after the faults: the log, the stores, and the processes.

use super::inject::wipe;
use super::plan::SERVICES;
use super::world::World;
use crate::http::{Answer, Request};
use crate::processes;
use serde_json::Value;
use shared::EventType::{self, CommentCreated, CommentModerated, CommentUpdated, PostCreated};
use shared::ServiceName::{self, Comments, EventBus, Posts, Query};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;
use test_support::{holds, within};

/// How long the system may take to come to rest.
const REST: Duration = Duration::from_secs(120);
/// How long query may take to read the whole log again.
const REBUILD: Duration = Duration::from_secs(120);
/// How many lines of a panic are shown.
const SHOWN_PANICS: usize = 3;

/// An event of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    pub sequence: u64,
    /// Its source: the service that published it.
    pub source: String,
    pub id: String,
    /// None where it is not an event of this system.
    pub kind: Option<EventType>,
    /// The event that caused it.
    pub cause: Option<String>,
    pub data: Value,
}

impl Logged {
    /// Reads an event of `GET /events`.
    pub fn read(event: &Value) -> Self {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        Self {
            sequence: text("sequence").parse().unwrap_or(0),
            source: text("source"),
            id: text("id"),
            kind: text("type").parse().ok(),
            cause: event["causationid"].as_str().map(str::to_owned),
            data: event["data"].clone(),
        }
    }

    /// A text in its data; empty if there is none of this name.
    pub fn text(&self, name: &str) -> &str {
        self.data[name].as_str().unwrap_or_default()
    }

    /// The id of the post that it is about.
    pub fn post(&self) -> &str {
        self.text(if self.kind == Some(PostCreated) { "id" } else { "postId" })
    }

    /// The id of the comment that it is about, if it is about one.
    pub fn comment(&self) -> Option<&str> {
        match self.kind? {
            PostCreated => None,
            CommentCreated | CommentModerated | CommentUpdated => Some(self.text("id")),
        }
    }
}

/// The state of the system after the faults.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The log, in order.
    pub log: Vec<Logged>,
    /// The store of posts: titles by id.
    pub posts: BTreeMap<String, String>,
    /// The store of comments: ids and statuses in order, by post.
    pub comments: BTreeMap<String, Vec<(String, String)>>,
    /// The read model of query when the system had come to rest.
    pub read_model: String,
    /// The read model that query has rebuilt from the log.
    pub rebuilt: String,
    /// The dead letters of each service.
    pub dead_letters: BTreeMap<ServiceName, Vec<Value>>,
}

/// Waits until the system has come to rest: every event delivered, every outbox empty, and no new event. Returns the
/// length of the log.
pub async fn until_at_rest(world: &World) -> Result<u64, String> {
    let mut before = None;
    within(REST, "the system has come to rest", async || {
        let now = at_rest(world).await?;
        if before.replace(now) == Some(now) {
            Ok(now)
        } else {
            Err(format!("the log has just grown to {now}"))
        }
    })
    .await
}

/// The length of the log, if every service is ready, has all of it, and has nothing to publish.
async fn at_rest(world: &World) -> Result<u64, String> {
    let mut head = 0;
    let rows = json(world.operator_get(EventBus, "/subscriptions")).await?;
    for service in ServiceName::PEERS {
        let ready = world.at(service).get("/readyz").try_send().await?;
        holds(ready, |answer| answer.status == 200)?;
        let row = rows.as_array().and_then(|rows| rows.iter().find(|row| row["name"] == service.as_str()));
        let row = row.ok_or_else(|| format!("{service} has not subscribed"))?;
        if row["lag"] != 0 {
            return Err(format!("{service} lags: {row}"));
        }
        head = row["cursor"].as_str().and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let metrics = world.at(service).get("/metrics").try_send().await?.text();
        let depth = metrics.lines().find_map(|line| line.strip_prefix("outbox_depth "));
        if depth != Some("0") {
            return Err(format!("the outbox of {service} has {depth:?} events"));
        }
    }
    Ok(head)
}

async fn ok(request: Request) -> Result<Answer, String> {
    holds(request.try_send().await?, |answer| answer.status == 200)
}

async fn json(request: Request) -> Result<Value, String> {
    serde_json::from_slice(&ok(request).await?.body).map_err(|e| format!("not JSON: {e}"))
}

impl History {
    /// Reads everything from a system at rest, and wipes query at the end.
    pub async fn read(world: &World) -> Result<Self, String> {
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let mut history = Self::default();
        let log = json(world.operator_get(EventBus, "/events")).await?;
        history.log = log.as_array().into_iter().flatten().map(Logged::read).collect();
        let posts = json(world.at(Posts).get("/posts")).await?;
        for (id, post) in posts.as_object().into_iter().flatten() {
            history.posts.insert(id.clone(), text(post, "title"));
        }
        for post in history.posts.keys() {
            let comments = json(world.at(Comments).get(&format!("/posts/{post}/comments"))).await?;
            let all = comments.as_array().into_iter().flatten();
            let all = all.map(|comment| (text(comment, "id"), text(comment, "status"))).collect();
            history.comments.insert(post.clone(), all);
        }
        for service in ServiceName::PEERS {
            let letters = json(world.operator_get(service, "/dead-letters")).await?;
            history.dead_letters.insert(service, letters.as_array().cloned().unwrap_or_default());
        }
        history.read_model = read_model(world).await?;
        history.rebuilt = rebuilt(world).await?;
        Ok(history)
    }
}

async fn read_model(world: &World) -> Result<String, String> {
    Ok(ok(world.operator_get(Query, "/read-model")).await?.text())
}

/// Wipes query and waits until it has read the whole log.
async fn rebuilt(world: &World) -> Result<String, String> {
    let query = world.process(Query);
    query.down().await;
    wipe(world)?;
    query.up();
    within(REBUILD, "query has read the whole log again", async || at_rest(world).await).await?;
    read_model(world).await
}

/// What a process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Open files and sockets.
    pub files: usize,
    pub memory_kib: u64,
}

pub fn usage(world: &World) -> BTreeMap<ServiceName, Usage> {
    let held = |service| {
        let pid = world.process(service).pid().unwrap_or(0);
        (service, Usage { files: processes::open_files(pid), memory_kib: processes::memory_kib(pid) })
    };
    SERVICES.into_iter().map(held).collect()
}

/// The panics in a service's output.
pub fn panics(log: &Path) -> Vec<String> {
    let Ok(file) = File::open(log) else { return vec![format!("{} cannot be read", log.display())] };
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    lines.filter(|line| line.contains("panicked")).take(SHOWN_PANICS).collect()
}
