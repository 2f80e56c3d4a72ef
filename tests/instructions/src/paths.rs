//! The paths that are counted.

use crate::count;
use crate::inputs::{self, TEXT, batch};
use crate::world::{NOW, deps, exchange, served};
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use event_bus::delivery::answer::Outcome;
use event_bus::delivery::machine::{Input, Moment, Page, State, step};
use http::{HeaderMap, Request};
use kit::app::config::{CommonConfig, PeerConfig};
use kit::messaging::signature::{Direction, SigningKey};
use kit::runtime::lifecycle::Lifecycle;
use kit::runtime::secret::Secret;
use moderation::domain::Rules;
use shared::envelope::CLOUDEVENTS_BATCH_JSON;
use shared::{Envelope, Sequence, ServiceName, Timestamp};
use std::fs;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;

pub async fn count_all() {
    middleware().await;
    envelopes().await;
    signature().await;
    moderation().await;
    machine().await;
    let folder = Folder::new();
    query(&folder.0).await;
    pages(&folder.0).await;
}

async fn middleware() {
    let router = served(Router::new().route("/", get(async || "ok")));
    count("a request through the middleware", 100, async || {
        exchange(&router, Request::get("/"), Bytes::new()).await;
    })
    .await;
}

async fn envelopes() {
    let text = serde_json::to_vec(&batch(0)).expect("JSON");
    count("100 events parsed and written", 10, async || {
        let events: Vec<Envelope> = serde_json::from_slice(black_box(&text)).expect("events");
        black_box(serde_json::to_vec(&events).expect("JSON"));
    })
    .await;
}

async fn signature() {
    let body = serde_json::to_vec(&batch(0)).expect("JSON");
    let now = Timestamp::from_unix_ms(NOW);
    let secret = Secret::new("0123456789abcdef0123456789abcdef").expect("a secret");
    let key = SigningKey::derive(&secret, Direction::Deliver);
    count("the signature of 100 events made and verified", 5, async || {
        let headers = key.sign("msg_1", now, black_box(&body));
        let headers: HeaderMap =
            headers.into_iter().map(|(name, value)| (name.parse().expect("a name"), value)).collect();
        key.verify(&headers, now, black_box(&body)).expect("a good signature");
    })
    .await;
}

async fn moderation() {
    let rules = Rules::default();
    count("a comment judged by moderation", 100, async || {
        black_box(rules.judge(black_box("Grace"), black_box(TEXT)));
    })
    .await;
}

async fn machine() {
    let at = Moment { now: Timestamp::from_unix_ms(NOW), random: 7 };
    let first = Sequence::new(0);
    let (mut state, _) = State::begin("http://query:4002/events".to_owned(), first, true, first);
    let mut n = 0;
    count("the bus's state machine over one delivery", 100, async || {
        n += 100;
        let last = Sequence::new(n);
        for input in [
            Input::LogGrew,
            Input::Read(Ok(Some(Page { last, may_wait: false })), at),
            Input::Answered { outcome: Outcome::Done, head: last, at },
            Input::Read(Ok(None), at),
        ] {
            let (next, actions) = step(state.clone(), input);
            black_box(actions);
            state = next;
        }
        assert_eq!(state.cursor, last);
    })
    .await;
}

async fn query(folder: &Path) {
    let config = PeerConfig::insecure(ServiceName::Query, folder.join("query")).into();
    let lifecycle = Lifecycle::new();
    let service = query::build(config, deps(), lifecycle.clone()).await.expect("query");
    let router = served(service.router);
    let mut batches = (0..).map(batch);
    count("100 events applied by query", 5, async || {
        let events = batches.next().unwrap_or_default();
        let body = serde_json::to_vec(&events).expect("JSON");
        let request = Request::post("/events").header("content-type", CLOUDEVENTS_BATCH_JSON);
        exchange(&router, request, body.into()).await;
    })
    .await;
    lifecycle.stop();
}

async fn pages(folder: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let query = format!("http://{}", listener.local_addr().expect("an address"));
    let served_query = kit::rt::spawn(async move { axum::serve(listener, inputs::query()).await });
    let config = frontend::server::Config {
        common: CommonConfig::new(ServiceName::Frontend),
        admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        posts_url: query.clone(),
        comments_url: query.clone(),
        moderation_url: query.clone(),
        query_url: query,
        site_root: folder.to_owned(),
        hash_file: Some(folder.join("hash.txt")),
        reload_port: 0,
        watch: false,
    };
    let service = frontend::server::build(config, deps(), Lifecycle::new()).await.expect("the frontend");
    let router = served(service.router);
    count("the home page after a change", 40, async || {
        exchange(&router, Request::get("/"), Bytes::new()).await;
    })
    .await;
    count("the page of a post", 10, async || {
        exchange(&router, Request::get("/p/post-1"), Bytes::new()).await;
    })
    .await;
    let mut ids = 0..;
    count("the page of a post with a new text", 5, async || {
        let id = ids.next().unwrap_or_default();
        exchange(&router, Request::get(format!("/p/new-{id}")), Bytes::new()).await;
    })
    .await;
    drop(served_query);
}

/// A folder in memory, where the system has one; removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = parent.join(format!("mini-blog-instructions-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is small, and gone with the next start of the machine.
        let _ = fs::remove_dir_all(&self.0);
    }
}
