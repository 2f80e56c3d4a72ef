//! A service whose last writes are torn: SQLite drops everything from the fault on, and the log gives it back.

use rusqlite::Connection;
use serde_json::{Value, json};
use shared::ServiceName::{self, Comments, EventBus, Moderation, Posts, Query};
use std::collections::HashMap;
use std::path::PathBuf;
use testkit::{Running, World, eventually, get};

const PEERS: [ServiceName; 4] = [Posts, Comments, Moderation, Query];

async fn start(world: &World, name: ServiceName) -> Running {
    let config = world.config(name);
    match name {
        Posts => world.start(config, posts::build).await,
        Comments => world.start(config, comments::build).await,
        Moderation => world.start(moderation::Config { peer: config, rules: None }, moderation::build).await,
        Query => world.start(config, query::build).await,
        EventBus | ServiceName::Frontend => unreachable!("it is none of the peers"),
    }
}

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
        for name in PEERS {
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
        this.is_quiet(3 + 3 * 2 * 3).await;
        this
    }

    fn count(&self, name: ServiceName, sql: &str) -> i64 {
        self.world.rows(name, sql)[0].parse().unwrap()
    }

    /// Waits until the log has so many events, and everybody has applied them all.
    async fn is_quiet(&self, events: i64) {
        eventually("all is quiet", async || {
            let quiet = PEERS.iter().all(|name| {
                self.count(*name, "SELECT coalesce(max(seq), 0) FROM cursor") == events
                    && self.count(*name, "SELECT count(*) FROM outbox") == 0
            });
            (quiet && self.count(EventBus, "SELECT max(seq) FROM events") == events).then_some(())
        })
        .await;
    }

    /// Everything that the services know, and the log.
    async fn picture(&self) -> Vec<Value> {
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

/// How far SQLite takes these files to have come.
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
    let before = system.picture().await;
    let events = system.count(EventBus, "SELECT max(seq) FROM events");
    for name in PEERS {
        // What a kill would leave now.
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
            system.is_quiet(events).await;
            assert_eq!(system.picture().await, before, "{name}, damaged after {eighth}/8");
        }
        assert!(lost > 1, "{name} felt the damage");
    }
}
