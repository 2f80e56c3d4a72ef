//! A store whose last writes are torn: SQLite drops everything from the damage on, and the log restores it.

use crate::start;
use rusqlite::Connection;
use serde_json::{Value, json};
use shared::ServiceName::{self, Comments, EventBus, Moderation, Posts, Query};
use std::collections::HashMap;
use std::path::PathBuf;
use testkit::{Running, World, eventually, get};

struct System {
    world: World,
    bus: Running,
    peers: HashMap<ServiceName, Running>,
}

impl System {
    /// All services, with three posts of which each has an approved and a rejected comment.
    async fn with_history() -> Self {
        let world = World::new();
        let bus = world.start_bus().await;
        let mut peers = HashMap::new();
        for name in ServiceName::PEERS {
            peers.insert(name, start(&world, name).await);
        }
        let this = Self { world, bus, peers };
        for n in 0..3 {
            let title = json!({"title": format!("post {n}")});
            let post = this.peers[&Posts].post("/posts/create", &title).await.ok(201);
            let path = format!("/posts/{}/comments", post["id"].as_str().unwrap());
            for content in ["a pear", "an orange"] {
                this.peers[&Comments].post(&path, &json!({"content": content})).await.ok(201);
            }
        }
        this.until_applied(3 + 3 * 2 * 3).await;
        this
    }

    fn count(&self, name: ServiceName, sql: &str) -> i64 {
        self.world.rows(name, sql)[0].parse().unwrap()
    }

    /// Waits until the log has this many events and every service has applied them.
    async fn until_applied(&self, events: i64) {
        eventually("every event is applied", async || {
            let applied = ServiceName::PEERS.iter().all(|name| {
                self.count(*name, "SELECT coalesce(max(seq), 0) FROM cursor") == events
                    && self.count(*name, "SELECT count(*) FROM outbox") == 0
            });
            (applied && self.count(EventBus, "SELECT max(seq) FROM events") == events).then_some(())
        })
        .await;
    }

    /// The state of all services, and the log.
    async fn state(&self) -> Vec<Value> {
        vec![
            self.peers[&Posts].get("/posts").await.ok(200),
            self.peers[&Query].get("/posts").await.ok(200),
            self.bus.send(get("/events").as_operator(&self.world)).await.ok(200),
            json!(self.world.rows(Moderation, "SELECT * FROM verdicts")),
            json!(self.world.rows(Comments, "SELECT * FROM comments ORDER BY id")),
        ]
    }

    fn files(&self, name: ServiceName) -> [PathBuf; 2] {
        ["db", "db-wal"].map(|end| self.world.data_dir(name).join(format!("{name}.{end}")))
    }
}

/// The cursor that SQLite reads from these files.
fn cursor_in(database: &[u8], log: &[u8]) -> i64 {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("copy"), database).unwrap();
    std::fs::write(dir.path().join("copy-wal"), log).unwrap();
    let c = Connection::open(dir.path().join("copy")).unwrap();
    // Even the table may be in the lost tail.
    c.query_row("SELECT coalesce(max(seq), 0) FROM cursor", [], |row| row.get(0)).unwrap_or(0)
}

#[tokio::test]
async fn a_store_whose_last_writes_are_torn_comes_back_from_the_log() {
    let mut system = System::with_history().await;
    let before = system.state().await;
    let events = system.count(EventBus, "SELECT max(seq) FROM events");
    for name in ServiceName::PEERS {
        // The files as a kill would leave them now.
        let files = system.files(name);
        let [database, log] = files.each_ref().map(|file| std::fs::read(file).unwrap());
        let mut lost = 0;
        for eighth in [1, 4, 7] {
            system.world.stop(system.peers.remove(&name).unwrap()).await;
            let mut damaged = log.clone();
            damaged[log.len() * eighth / 8] ^= 0xff;
            std::fs::write(&files[0], &database).unwrap();
            std::fs::write(&files[1], &damaged).unwrap();
            lost += i64::from(cursor_in(&database, &damaged) < events);
            system.peers.insert(name, start(&system.world, name).await);
            system.until_applied(events).await;
            assert_eq!(system.state().await, before, "{name}, damaged after {eighth}/8");
        }
        assert!(lost > 1, "the damage cost {name} nothing");
    }
}
