//! A full disk: 503 with `Retry-After`, nothing lost, and everything continues by itself when there is space again.
//!
//! The disk is a small tmpfs, which only root can mount. Elsewhere these tests are skipped and say so; the tests of the
//! store limit the size of the file instead.

use kit::store::DiskFloor;
use serde_json::{Value, json};
use shared::ProblemKind;
use shared::ServiceName::{self, Comments, EventBus, Posts, Query};
use test_support::disk::Disk;
use test_support::report_skipped;
use testkit::{Ask, Running, World, events, eventually, get, post};

/// A small disk for the folder of one service; none where the test may not mount it.
fn disk_of(world: &World, name: ServiceName) -> Option<Disk> {
    let path = world.data_dir(name);
    std::fs::create_dir_all(&path).expect("a folder");
    Disk::mount(&path).inspect_err(|why| report_skipped(&format!("no disk can be mounted: {why}"))).ok()
}

/// Writes until the disk is full, and again when there is space; returns how many writes were accepted.
async fn refuses_and_recovers(disk: &Disk, service: &Running, write: impl Fn(usize) -> Ask) -> usize {
    assert!(service.send(write(0)).await.status < 300);
    disk.fill().expect("a full disk");
    let mut taken = 1;
    // A write that fits into the last page is still accepted.
    let refused = loop {
        let answer = service.send(write(taken)).await;
        if answer.status >= 300 {
            break answer;
        }
        taken += 1;
        assert!(taken < 100, "the disk is full");
    };
    // `Running::send` checks `Retry-After`.
    refused.problem(ProblemKind::Unavailable);
    service.send(write(taken)).await.problem(ProblemKind::Unavailable);
    disk.free().expect("space");
    assert!(service.send(write(taken)).await.status < 300, "by itself, and at once");
    taken + 1
}

#[tokio::test]
async fn posts_on_a_full_disk_refuses_and_recovers() {
    let world = World::new();
    let Some(disk) = disk_of(&world, Posts) else { return };
    let posts = world.start(world.config(Posts), posts::build).await;
    let write =
        |n| post("/posts/create").json(&json!({"title": format!("post {n}"), "body": "x".repeat(5_000)}));
    let taken = refuses_and_recovers(&disk, &posts, write).await;
    assert_eq!(posts.get("/posts").await.ok(200).as_object().map(serde_json::Map::len), Some(taken));
}

#[tokio::test]
async fn a_start_on_a_full_disk_is_refused_by_name_and_harms_nothing() {
    let world = World::new();
    let Some(disk) = disk_of(&world, Posts) else { return };
    let posts = world.start(world.config(Posts), posts::build).await;
    posts.post("/posts/create", &json!({"title": "kept"})).await.ok(201);
    world.stop(posts).await;
    // SQLite's shared memory, which a start creates again, may be left: it depends on which connection ended last.
    let _ = std::fs::remove_file(world.data_dir(Posts).join("posts.db-shm"));
    disk.fill().expect("a full disk");
    let refused = world.try_start(world.config(Posts), posts::build).await.expect_err("no space to work in");
    let said = refused.to_string();
    assert!(said.contains("posts.db") && said.ends_with("the disk is full"), "{said}");
    disk.free().expect("space");
    let posts = world.start(world.config(Posts), posts::build).await;
    assert_eq!(posts.get("/posts").await.ok(200).as_object().map(serde_json::Map::len), Some(1));
}

#[tokio::test]
async fn comments_on_a_full_disk_refuses_and_recovers() {
    let world = World::new();
    let Some(disk) = disk_of(&world, Comments) else { return };
    let comments = world.start(world.config(Comments), comments::build).await;
    comments.deliver(&world, &events::log_from(1, &[events::post_created("p1", "T", 1)])).await.ok(200);
    let write =
        |n| post("/posts/p1/comments").json(&json!({"content": format!("{n} {}", "x".repeat(3_000))}));
    let taken = refuses_and_recovers(&disk, &comments, write).await;
    let kept = comments.get("/posts/p1/comments").await.ok(200);
    assert_eq!(kept.as_array().map(Vec::len), Some(taken));
}

#[tokio::test]
async fn the_bus_on_a_full_disk_refuses_and_recovers() {
    let world = World::new();
    let Some(disk) = disk_of(&world, EventBus) else { return };
    let bus = world.start_bus().await;
    let write = |n: usize| {
        let post = json!({"id": format!("p{n}"), "title": "x".repeat(5_000)});
        let event = json!({"type": "PostCreated", "source": "/posts", "id": n.to_string(), "data": post});
        testkit::post("/events").json(&event)
    };
    let taken = refuses_and_recovers(&disk, &bus, write).await;
    let log = bus.send(get("/events").as_operator(&world)).await.ok(200);
    let ids: Vec<_> = log.as_array().expect("events").iter().map(|e| e["id"].clone()).collect();
    assert_eq!(
        ids,
        (0..taken).map(|n| Value::from(n.to_string())).collect::<Vec<_>>(),
        "each once, in order"
    );
}

#[tokio::test]
async fn a_consumer_on_a_full_disk_is_delivered_to_again_until_it_takes_it() {
    let world = World::new();
    let Some(disk) = disk_of(&world, Query) else { return };
    let bus = world.start_bus().await;
    let query = world.start(world.config(Query).into(), query::build).await;
    query.becomes_ready().await;
    disk.fill().expect("a full disk");
    let post =
        |n: i64| json!({"type": "PostCreated", "data": {"id": format!("p{n}"), "title": "x".repeat(200)}});
    let many: Value = (0..100).map(post).collect();
    bus.post("/events", &many).await.ok(200);
    let row = async || {
        let rows = bus.send(get("/subscriptions").as_operator(&world)).await.ok(200);
        rows.as_array().expect("rows").iter().find(|row| row["name"] == "query").cloned().expect("a row")
    };
    eventually("its refusal is seen", async || {
        row().await["lastError"].as_str().is_some_and(|error| error.contains("503")).then_some(())
    })
    .await;
    assert_eq!(query.get("/posts").await.ok(200), json!({}));
    disk.free().expect("space");
    eventually("it has caught up", async || (row().await["lag"] == 0).then_some(())).await;
    assert_eq!(row().await["lastError"], Value::Null);
    let posts = query.get("/posts").await.ok(200);
    assert_eq!(posts.as_object().map(serde_json::Map::len), Some(100), "each once");
}

#[tokio::test]
async fn below_the_floor_of_free_space_writes_wait_and_all_else_goes_on() {
    let world = World::new();
    let Some(disk) = disk_of(&world, Posts) else { return };
    let mut config = world.config(Posts);
    config.store.disk_floor_mib = DiskFloor::mib(8);
    let posts = world.start(config, posts::build).await;
    let write = || post("/posts/create").json(&json!({"title": "T"}));
    posts.send(write()).await.ok(201);
    disk.leave(7 * 1024 * 1024).expect("a disk that is nearly full");
    // Measured once a second: until then, writes are accepted.
    let refused = eventually("writes are refused", async || {
        let answer = posts.send(write()).await;
        (answer.status != 201).then_some(answer)
    })
    .await;
    // `Running::send` checks `Retry-After`.
    let problem = refused.problem(ProblemKind::Unavailable);
    assert!(problem.detail.expect("a reason").contains("disk of this service is nearly full"));
    let readable = posts.get("/posts").await.ok(200).as_object().map(serde_json::Map::len);
    assert_eq!((posts.get("/livez").await.status, posts.get("/readyz").await.status), (200, 200));
    disk.free().expect("space");
    eventually("writes are accepted by itself", async || {
        (posts.send(write()).await.status == 201).then_some(())
    })
    .await;
    let now = posts.get("/posts").await.ok(200).as_object().map(serde_json::Map::len);
    assert_eq!(now, readable.map(|n| n + 1), "what was refused is not stored");
}
