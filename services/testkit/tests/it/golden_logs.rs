//! Logs of earlier versions, each with the state that it led to. Logs are kept for ever: today's services must read
//! each of them and reach the same state.
//!
//! A log is never edited, and its expected state only if the read model itself changes. An event that gains a field gets
//! a new folder.

use serde_json::{Value, json};
use shared::ServiceName::{self, Comments, Moderation, Posts, Query};
use std::path::PathBuf;
use testkit::{Running, World, eventually};

/// A folder of `golden/`.
struct Golden(PathBuf);

impl Golden {
    fn open(name: &str) -> Self {
        Self(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name))
    }

    fn text(&self, file: &str) -> String {
        let path = self.0.join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    fn lines(&self, file: &str) -> Vec<Value> {
        self.text(file).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A bus with the log, and services that start with empty stores.
struct Replay {
    world: World,
    bus: Running,
    comments: Running,
    query: Running,
    _others: [Running; 2],
}

impl Replay {
    async fn of(golden: &Golden) -> Self {
        let world = World::new();
        let bus = world.start_bus().await;
        bus.post("/events", &golden.lines("log.jsonl")).await.ok(200);
        let rules = golden.0.join("rules.json");
        let moderation =
            moderation::Config { peer: world.config(Moderation), rules: rules.exists().then_some(rules) };
        let moderation = world.start(moderation, moderation::build).await;
        let posts = world.start(world.config(Posts), posts::build).await;
        let comments = world.start(world.config(Comments), comments::build).await;
        let query = world.start(world.config(Query).into(), query::build).await;
        let this = Self { world, bus, comments, query, _others: [posts, moderation] };
        this.until_applied().await;
        this
    }

    /// Waits until every service has read the whole log and has published all it has to.
    async fn until_applied(&self) {
        let applied = async || {
            let outboxes = || {
                let rows = |name: ServiceName| self.world.rows(name, "SELECT count(*) FROM outbox");
                ServiceName::PEERS.into_iter().all(|name| rows(name) == ["0"])
            };
            let before = outboxes();
            let rows = self.bus.get("/subscriptions").await.ok(200);
            let rows = rows.as_array().unwrap();
            let read = rows.len() == 4 && rows.iter().all(|row| row["lag"] == 0);
            // An event that was stored in an outbox meanwhile is not in the log yet.
            (before && read && outboxes()).then_some(())
        };
        eventually("all have read the log", applied).await;
    }

    async fn read_model(&self) -> String {
        self.query.get("/read-model").await.text().to_owned()
    }

    async fn log(&self) -> Vec<Value> {
        self.bus.get("/events").await.ok(200).as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn a_log_of_the_courses_services_gives_the_same_read_model() {
    let golden = Golden::open("course");
    let replay = Replay::of(&golden).await;
    assert_eq!(replay.read_model().await, golden.text("read-model.jsonl"));
    let posts = replay.query.get("/posts").await.ok(200);
    assert_eq!(posts["a1b2c3d4"]["comments"][0]["content"], "Nice");
}

#[tokio::test]
async fn a_log_of_version_1_gives_the_same_read_model_and_nothing_is_added_to_it() {
    let golden = Golden::open("version-1");
    let replay = Replay::of(&golden).await;
    assert_eq!(replay.read_model().await, golden.text("read-model.jsonl"));
    for thread in golden.lines("comments.jsonl") {
        let post = thread["post"].as_str().unwrap();
        let comments = replay.comments.get(&format!("/posts/{post}/comments")).await.ok(200);
        assert_eq!(comments, thread["comments"], "{post}");
    }
    // The events that the services publish again have the same ids: the log does not change.
    assert_eq!(replay.log().await, golden.lines("log.jsonl"));
    for name in ["posts", "comments", "moderation", "query"] {
        let rows = replay.world.rows(name.parse().unwrap(), "SELECT count(*) FROM dead_letters");
        assert_eq!(json!(rows), json!(["0"]), "{name}");
    }
}
