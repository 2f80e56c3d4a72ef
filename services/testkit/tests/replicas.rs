//! Two replicas of a service on one database of PostgreSQL.

use futures_util::future::join_all;
use kit::messaging::outbox::Queued;
use kit::rt;
use kit::store::{DatabaseLocation, Guard, SqlError, Store, Tx};
use serde_json::{Value, json};
use shared::{ServiceName, Timestamp};
use std::sync::{Mutex, mpsc};
use testkit::events::{comment_created, log_from, post_created};
use testkit::{Running, World, eventually, post};
use uuid::Uuid;

/// The URL of an empty database; none where PostgreSQL is not installed.
async fn database(name: &'static str) -> Option<String> {
    rt::unblock(move || servers::testing::postgres_database(name)).await.unwrap()
}

async fn replica<F, Fut>(world: &World, url: &str, name: ServiceName, instance: &str, build: F) -> Running
where
    F: FnOnce(
        kit::app::config::PeerConfig,
        kit::runtime::deps::Deps,
        kit::runtime::lifecycle::Lifecycle,
    ) -> Fut,
    Fut: Future<Output = Result<kit::app::service::Service, kit::app::StartError>>,
{
    let mut config = world.config_of_replica(name, instance);
    config.store.database_url = Some(url.parse().unwrap());
    let running = world.start_replica(instance, config, build).await;
    running.becomes_ready().await;
    running
}

async fn comments(world: &World, url: &str) -> [Running; 2] {
    let name = ServiceName::Comments;
    [
        replica(world, url, name, "a", comments::build).await,
        replica(world, url, name, "b", comments::build).await,
    ]
}

async fn moderation(world: &World, url: &str, instance: &str) -> Running {
    let build =
        |peer, deps, lifecycle| moderation::build(moderation::Config { peer, rules: None }, deps, lifecycle);
    replica(world, url, ServiceName::Moderation, instance, build).await
}

async fn store(url: &str, name: ServiceName, schema: kit::store::Schema) -> Store {
    Store::connect(&DatabaseLocation::Url(url.parse().unwrap()), name.as_str(), schema).await.unwrap()
}

async fn log(bus: &Running) -> Vec<Value> {
    bus.get("/events").await.ok(200).as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_take_the_same_delivery_once() {
    let Some(url) = database("same delivery").await else { return };
    let world = World::new();
    let replicas = [moderation(&world, &url, "a").await, moderation(&world, &url, "b").await];
    let events: Vec<_> = (1..=60)
        .map(|n| comment_created(&format!("c{n}"), &format!("p{}", n % 7), &format!("comment {n}"), n))
        .collect();
    let events = log_from(1, &events);
    for part in events.chunks(10) {
        // Each to both at once, as by a bus and the one that has just taken over from it.
        let answers = join_all((0..6).map(|n| replicas[n % 2].deliver(&world, part))).await;
        assert!(answers.iter().any(|answer| answer.status == 200), "{answers:?}");
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 503)), "{answers:?}");
    }
    let store = store(&url, ServiceName::Moderation, moderation::store::SCHEMA).await;
    let read = |tx: &Tx<'_>| {
        let count =
            |table: &str| tx.one(&format!("SELECT count(*) FROM {table}"), &[], |row| row.int::<i64>(0));
        Ok((count("outbox")?, count("verdicts")?, count("dead_letters")?))
    };
    assert_eq!(store.read(read).await.unwrap(), (60, 60, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_idempotency_key_on_two_replicas_is_one_comment() {
    let Some(url) = database("one comment").await else { return };
    let world = World::new();
    let replicas = comments(&world, &url).await;
    let known = json!({"type": "PostCreated", "data": {"id": "p1", "title": "T"}});
    replicas[0].post("/events", &known).await.ok(200);
    for n in 0..10 {
        let ask = |_| {
            let body = json!({"content": format!("comment {n}")});
            post("/posts/p1/comments").json(&body).header("idempotency-key", format!("key-{n}"))
        };
        let answers = join_all((0..4).map(|at| replicas[at % 2].send(ask(at)))).await;
        let ids: Vec<_> = answers
            .iter()
            .map(|answer| answer.ok(201).as_array().unwrap().last().unwrap()["id"].clone())
            .collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
    for replica in &replicas {
        assert_eq!(replica.get("/posts/p1/comments").await.ok(200).as_array().unwrap().len(), 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_another_replica_learns_of_wakes_who_waits_for_it() {
    let Some(url) = database("waits for a post").await else { return };
    let world = World::new();
    let [a, b] = comments(&world, &url).await;
    // One request may well come too late for its post; that all do, is a fault.
    let mut woken = 0;
    for n in 0..5 {
        let path = format!("/posts/p{n}/comments");
        let body = json!({"content": "early"});
        let early = b.post(&path, &body);
        let known = async {
            let known = json!({"type": "PostCreated", "data": {"id": format!("p{n}"), "title": "T"}});
            a.post("/events", &known).await.ok(200);
        };
        let (early, ()) = tokio::join!(early, known);
        woken += usize::from(early.status == 201);
    }
    assert!(woken > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_commit_with_a_lower_sequence_is_published() {
    let Some(url) = database("late commit").await else { return };
    let world = World::new();
    let bus = world.start_bus().await;
    let posts = replica(&world, &url, ServiceName::Posts, "a", posts::build).await;
    let other = store(&url, ServiceName::Posts, posts::store::SCHEMA).await;
    let event = post_created("late", "late", 1);
    let queued = Queued::from_command(&event, Uuid::from_u128(7), Timestamp::from_unix_ms(1), None).unwrap();
    let (begun, begin) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let (begun, goes_on) = (Mutex::new(begun), Mutex::new(goes_on));
    let late = rt::spawn(async move {
        let write = move |tx: &Tx<'_>| {
            queued.put(tx)?;
            begun.lock().unwrap().send(()).unwrap();
            goes_on.lock().unwrap().recv().unwrap();
            Ok::<_, SqlError>(())
        };
        other.write(Guard::Key("late".to_owned()), write).await
    });
    rt::unblock(move || begin.recv().unwrap()).await.unwrap();
    posts.post(shared::routes::CREATE_POST, &json!({"title": "early"})).await.ok(201);
    eventually("the later number is published", async || (log(&bus).await.len() == 1).then_some(())).await;
    go_on.send(()).unwrap();
    late.await.unwrap().unwrap();
    eventually("the lower number is published", async || (log(&bus).await.len() == 2).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_course_runs_on_two_replicas_of_each() {
    let (Some(p), Some(c), Some(m)) =
        (database("posts").await, database("comments").await, database("moderation").await)
    else {
        return;
    };
    let world = World::new();
    let bus = world.start_bus().await;
    let query = world.start(world.config(ServiceName::Query).into(), query::build).await;
    let name = ServiceName::Posts;
    let posts = [
        replica(&world, &p, name, "a", posts::build).await,
        replica(&world, &p, name, "b", posts::build).await,
    ];
    let comments = comments(&world, &c).await;
    let _moderation = [moderation(&world, &m, "a").await, moderation(&world, &m, "b").await];
    for n in 0..6 {
        let new = posts[n % 2]
            .post(shared::routes::CREATE_POST, &json!({"title": format!("post {n}")}))
            .await
            .ok(201);
        let path = format!("/posts/{}/comments", new["id"].as_str().unwrap());
        let say = async || {
            (comments[(n + 1) % 2].post(&path, &json!({"content": "hi"})).await.status == 201).then_some(())
        };
        eventually("the post is known", say).await;
    }
    let all_approved = async || {
        let all = query.get("/posts").await.ok(200);
        let posts: Vec<_> = all.as_object()?.values().collect();
        let approved = |post: &&Value| {
            post["comments"].as_array().is_some_and(|c| c.len() == 1 && c[0]["status"] == "approved")
        };
        (posts.len() == 6 && posts.iter().filter(|post| approved(post)).count() == 6).then_some(())
    };
    eventually("every comment is judged, once", all_approved).await;
    // A post, a comment, its verdict, and its update.
    assert_eq!(log(&bus).await.len(), 6 * 4);
}
