//! Readers that never stop reading, and record what they see.

use super::ledger::{Ledger, Rule, SeenChange, SeenComment};
use super::world::World;
use super::writers::ask;
use crate::http::Request;
use crate::sse::{Event, Reader};
use fastrand::Rng;
use serde_json::Value;
use shared::ServiceName::{EventBus, Query};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a reader waits for an answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// The pause between two requests of a reader.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a stream may be silent before it is opened again.
const SILENCE: Duration = Duration::from_secs(20);

/// The running readers. Dropping this disconnects them.
#[derive(Debug)]
pub struct Readers {
    tasks: JoinSet<()>,
}

impl Readers {
    /// Starts one reader of each kind.
    pub fn start(world: &Arc<World>, ledger: &Arc<Ledger>, seed: u64) -> Self {
        let both = || (Arc::clone(world), Arc::clone(ledger));
        let mut tasks = JoinSet::new();
        let (world_, ledger_) = both();
        tasks.spawn(async move { read_lists(&world_, &ledger_).await });
        let (world_, ledger_) = both();
        tasks.spawn(async move { read_posts(&world_, &ledger_, Rng::with_seed(!seed)).await });
        let (world_, ledger_) = both();
        tasks.spawn(async move { listen(&world_, &ledger_).await });
        let (world_, ledger_) = both();
        tasks.spawn(async move { follow_log(&world_, &ledger_).await });
        Self { tasks }
    }

    /// Disconnects all readers; an error says that one has failed before.
    pub fn end(mut self) -> Result<(), String> {
        match self.tasks.try_join_next() {
            Some(ended) => Err(format!("a reader has failed: {ended:?}")),
            None => Ok(()),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Reads the newest posts, and sometimes all, as the course's client does.
async fn read_lists(world: &World, ledger: &Ledger) {
    for n in 0_u64.. {
        let all = n % 50 == 49;
        let path = if all { "/posts" } else { "/posts?limit=20" };
        let answer = ask(ledger, world.front(Query).get(path), PATIENCE).await;
        if let Some(answer) = answer.filter(|answer| answer.status == 200).map(|answer| answer.json()) {
            match &answer["items"] {
                Value::Array(newest) if !all => newest.iter().for_each(|post| see_post(ledger, post)),
                _ => answer.as_object().into_iter().flatten().for_each(|(_, post)| see_post(ledger, post)),
            }
        }
        sleep(PAUSE).await;
    }
}

/// Reads new posts, as their writers do after writing.
async fn read_posts(world: &World, ledger: &Ledger, mut dice: Rng) {
    loop {
        if let Some(post) = ledger.recent_post(dice.u64(..)) {
            let request = world.front(Query).get(&format!("/query/posts/{post}?wait=2000"));
            if let Some(answer) = ask(ledger, request, PATIENCE).await.filter(|a| a.status == 200) {
                see_post(ledger, &answer.json());
            }
        }
        sleep(PAUSE).await;
    }
}

fn see_post(ledger: &Ledger, post: &Value) {
    let id = text(&post["id"]);
    for comment in post["comments"].as_array().into_iter().flatten() {
        see_comment(ledger, &id, comment);
    }
    let title = text(&post["title"]);
    ledger.saw(|seen| seen.posts.extend([(id, title)]));
}

fn see_comment(ledger: &Ledger, post: &str, comment: &Value) {
    let status = text(&comment["status"]);
    if status != "approved" && comment["content"] != "" {
        ledger.complain(Rule::ApprovedText, format!("under post {post}: {comment}"));
    }
    let seen_comment = SeenComment { post: post.to_owned(), id: text(&comment["id"]), status };
    ledger.saw(|seen| seen.comments.extend([seen_comment]));
}

/// Reads `GET /live`, resumed after each break.
async fn listen(world: &World, ledger: &Ledger) {
    let mut last = String::new();
    loop {
        let request = world.front(Query).get("/live");
        let request = if last.is_empty() { request } else { request.header("last-event-id", &last) };
        follow(request, |event| {
            last.clone_from(&event.id);
            if event.event == "change" {
                see_change(ledger, &event.json());
            }
        })
        .await;
        sleep(PAUSE).await;
    }
}

fn see_change(ledger: &Ledger, change: &Value) {
    let post = text(&change["postId"]);
    let comment = change["comment"].as_object().map(|_| &change["comment"]);
    if let Some(comment) = comment {
        see_comment(ledger, &post, comment);
    }
    if change["post"].is_object() {
        see_post(ledger, &change["post"]);
    }
    let sequence = text(&change["sequence"]).parse().unwrap_or(0);
    let change = SeenChange { sequence, post, comment: comment.map(|comment| text(&comment["id"])) };
    ledger.saw(|seen| seen.changes.extend([change]));
}

/// Reads the stream of the log, resumed after each break.
async fn follow_log(world: &World, ledger: &Ledger) {
    loop {
        let path = format!("/events/stream?after={}", ledger.streamed());
        follow(world.operator_get(EventBus, &path), |event| {
            let next = ledger.streamed() + 1;
            if event.id.parse() == Ok(next) {
                ledger.saw(|seen| seen.streamed.push(text(&event.json()["id"])));
            } else {
                ledger.complain(Rule::Stream, format!("the stream sent {} instead of {next}", event.id));
            }
        })
        .await;
        sleep(PAUSE).await;
    }
}

/// Reads a stream until it ends or is silent for too long.
async fn follow(request: Request, mut take: impl FnMut(&Event)) {
    let Ok(Ok(mut reader)) = timeout(PATIENCE, Reader::open(request)).await else { return };
    while let Ok(Some(event)) = timeout(SILENCE, reader.next()).await {
        take(&event);
    }
}
