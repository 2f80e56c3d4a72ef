//! Query with a real bus: when it is ready, and how it is rebuilt.

use crate::{all, read_model, start};
use kit::messaging::signature::Direction;
use rusqlite::Connection;
use serde_json::json;
use shared::events::Status;
use shared::{Envelope, Event, ProblemKind, ServiceName};
use std::time::Duration;
use testkit::events::{comment_created, comment_updated, post_created, published};
use testkit::{Running, World, eventually, post};

/// Publishes as the event's own publisher does.
pub async fn publish(world: &World, bus: &Running, events: &[Event]) {
    for event in events {
        let kind = event.event_type();
        let id =
            format!("{kind}-{}", kit::runtime::digest::sha256_hex(event.data_json().unwrap().as_bytes()));
        let envelope: Envelope = published(event, &id);
        let ask = post("/events").json(&envelope);
        bus.send(ask.signed(world, kind.publisher(), Direction::Publish)).await.ok(200);
    }
}

fn history(posts: i64) -> Vec<Event> {
    let mut events = Vec::new();
    for n in 1..=posts {
        let (post, comment) = (format!("p{n}"), format!("c{n}"));
        let status = if n % 2 == 0 { Status::Approved } else { Status::Rejected };
        events.push(post_created(&post, &format!("post {n}"), n));
        events.push(comment_created(&comment, &post, &format!("text {n}"), n));
        events.push(comment_updated(&comment, &post, &format!("text {n}"), status));
    }
    events
}

async fn count(query: &Running) -> usize {
    query.get("/posts").await.ok(200).as_object().unwrap().len()
}

#[tokio::test]
async fn a_new_store_is_ready_when_it_has_caught_up_with_the_log() {
    let world = World::secure();
    let query = start(&world).await;
    let problem = query.get("/readyz").await.problem(ProblemKind::Unavailable);
    assert!(problem.detail.unwrap().contains("subscription"));
    assert_eq!(query.get("/livez").await.status, 200);
    let bus = world.start_bus().await;
    query.becomes_ready().await;
    publish(&world, &bus, &history(40)).await;
    world.stop(query).await;
    world.wipe(ServiceName::Query);

    let query = start(&world).await;
    query.becomes_ready().await;
    assert_eq!(count(&query).await, 40, "nobody is told that there are no posts");
}

#[tokio::test]
async fn it_reads_while_the_bus_is_down_also_after_a_restart() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let query = start(&world).await;
    publish(&world, &bus, &history(3)).await;
    eventually("everything is read", async || (count(&query).await == 3).then_some(())).await;
    world.stop(bus).await;
    assert_eq!(query.get("/readyz").await.status, 200);
    world.stop(query).await;
    let query = start(&world).await;
    query.becomes_ready().await;
    assert_eq!(count(&query).await, 3);
}

#[tokio::test]
async fn a_wiped_read_model_is_rebuilt_byte_for_byte() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let query = start(&world).await;
    publish(&world, &bus, &history(20)).await;
    let cursor = || world.rows(ServiceName::Query, "SELECT seq FROM cursor") == ["60"];
    eventually("everything is read", async || cursor().then_some(())).await;
    let (model, posts) = (read_model(&world, &query).await, query.get("/posts").await.body);
    assert_eq!(model.lines().count(), 40);
    world.stop(query).await;
    world.wipe(ServiceName::Query);
    let query = start(&world).await;
    query.becomes_ready().await;
    eventually("everything is read again", async || cursor().then_some(())).await;
    assert_eq!(read_model(&world, &query).await, model);
    assert_eq!(query.get("/posts").await.body, posts);
}

#[tokio::test]
async fn what_was_published_while_it_was_away_is_read_when_it_is_back() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let query = start(&world).await;
    publish(&world, &bus, &history(2)).await;
    eventually("they are read", async || (count(&query).await == 2).then_some(())).await;
    world.stop(query).await;
    publish(&world, &bus, &history(30)).await;
    let query = start(&world).await;
    eventually("all are read", async || (count(&query).await == 30).then_some(())).await;
}

#[tokio::test]
async fn a_log_that_has_lost_its_tail_is_reported_and_nothing_is_skipped() {
    let world = World::secure();
    let bus = world.start_bus().await;
    let query = start(&world).await;
    publish(&world, &bus, &history(2)).await;
    query.becomes_ready().await;
    let cursor = || world.rows(ServiceName::Query, "SELECT seq FROM cursor");
    eventually("they are read", async || (cursor() == ["6"]).then_some(())).await;
    let model = read_model(&world, &query).await;
    world.stop(bus).await;
    let (data, backup) = (world.data_dir(ServiceName::EventBus), world.data_dir(ServiceName::Frontend));
    std::fs::rename(&data, &backup).unwrap();

    // A log that begins again has events under places that were others'.
    let bus = world.start_bus().await;
    world.stop(query).await;
    let query = start(&world).await;
    eventually("it is not ready", async || {
        let reply = query.get("/readyz").await;
        (reply.status == 503 && reply.text().contains("lost events")).then_some(())
    })
    .await;
    let others: Vec<Event> = (0..10).map(|n| post_created(&format!("new{n}"), "T", n)).collect();
    publish(&world, &bus, &others).await;
    // It keeps asking; that the log has grown past it in the meantime gives it none of its tail back.
    let asked = world.network.sent_to(ServiceName::EventBus).len();
    eventually("it asks again", async || {
        (world.network.sent_to(ServiceName::EventBus).len() > asked + 20).then_some(())
    })
    .await;
    assert_eq!(query.get("/readyz").await.status, 503);
    assert_eq!(cursor(), ["6"]);
    assert_eq!(read_model(&world, &query).await, model, "and reads what it has");

    // With its log restored everything goes on, and not before: that the bus is away is no better.
    world.stop(bus).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), query.becomes_ready()).await.is_err());
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&backup, &data).unwrap();
    let bus = world.start_bus().await;
    query.becomes_ready().await;
    publish(&world, &bus, &history(3)).await;
    eventually("the next ones are read", async || (cursor() == ["9"]).then_some(())).await;
}

/// The ids of the course's `GET /posts`, in the order of the answer.
fn ids_in_order(answer: &str, ids: &[&str]) -> Vec<String> {
    let mut places: Vec<_> =
        ids.iter().map(|id| (answer.find(&format!("\"{id}\":{{")).expect(id), *id)).collect();
    places.sort_unstable();
    places.into_iter().map(|(_, id)| id.to_owned()).collect()
}

#[tokio::test]
async fn events_of_the_course_have_the_time_of_their_envelope_and_the_order_of_the_log() {
    let world = World::new();
    let bus = world.start_bus().await;
    let query = start(&world).await;
    // The course's ids are random, and the clock stands still: only the log knows the order.
    let ids = ["7f2a", "01bc", "e4d9", "0000", "ffff", "9a3e", "5b5b", "c001"];
    let post = |id: &&str| json!({"type": "PostCreated", "data": {"id": id, "title": "T"}});
    let comment = |id: &&str| {
        let data = json!({"id": id, "content": "hi", "postId": "7f2a", "status": "pending"});
        json!({"type": "CommentCreated", "data": data})
    };
    for event in ids.iter().map(post).chain(ids.iter().map(comment)) {
        bus.post("/events", &event).await.ok(200);
    }
    let applied = || world.rows(ServiceName::Query, "SELECT seq FROM cursor") == ["16"];
    eventually("everything is read", async || applied().then_some(())).await;

    let answer = query.get("/posts").await;
    assert_eq!(ids_in_order(answer.text(), &ids), ids);
    let first = &answer.ok(200)["7f2a"];
    assert_eq!(first["createdAt"], "2027-01-15T08:00:00.000Z", "the time at which the bus got it");
    assert_eq!(all(&first["comments"], "id"), ids);
    assert_eq!(first["comments"][0]["createdAt"], "2027-01-15T08:00:00.000Z");
    let (mut newest_first, mut path) = (Vec::new(), "/posts?limit=3".to_owned());
    loop {
        let page = query.get(&path).await.ok(200);
        newest_first.extend(all(&page["items"], "id"));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/posts?limit=3&cursor={next}");
    }
    assert_eq!(newest_first, ids.iter().rev().map(|id| json!(id)).collect::<Vec<_>>());

    // Publishing them again adds them to the log again, since bare events have no id; each keeps its place.
    for event in ids.iter().rev().map(post) {
        bus.post("/events", &event).await.ok(200);
    }
    let applied = || world.rows(ServiceName::Query, "SELECT seq FROM cursor") == ["24"];
    eventually("everything is read", async || applied().then_some(())).await;
    assert_eq!(query.get("/posts").await.body, answer.body);
    let model = read_model(&world, &query).await;
    world.stop(query).await;
    world.wipe(ServiceName::Query);
    let query = start(&world).await;
    eventually("everything is read again", async || applied().then_some(())).await;
    assert_eq!(read_model(&world, &query).await, model);
    assert_eq!(query.get("/posts").await.body, answer.body);
}

#[tokio::test]
async fn a_read_model_of_an_earlier_schema_is_merged_with_the_log_and_keeps_its_discards() {
    let world = World::new();
    let bus = world.start_bus().await;
    let events: Vec<_> = history(3).iter().map(|event| Envelope::bare(event).unwrap()).collect();
    bus.post("/events", &json!(events)).await.ok(200);
    let query = start(&world).await;
    let applied = || world.rows(ServiceName::Query, "SELECT seq FROM cursor") == ["9"];
    eventually("everything is read", async || applied().then_some(())).await;
    let model = read_model(&world, &query).await;
    world.stop(query).await;
    world.wipe(ServiceName::Query);

    // An event that cannot be applied, and one of the same post after it.
    bus.post("/events", &json!({"type": "PostCreated", "data": {"id": "p9", "title": 5}})).await.ok(200);
    let comment = json!({"id": "c9", "content": "hi", "postId": "p9", "status": "pending"});
    bus.post("/events", &json!({"type": "CommentCreated", "data": comment})).await.ok(200);
    let poison = bus.get("/events").await.ok(200)[9].to_string();

    // As the schema before left it: some events applied, and two dead letters, of which one is discarded.
    let data = world.data_dir(ServiceName::Query);
    std::fs::create_dir_all(&data).unwrap();
    let old = Connection::open(data.join("query.db")).unwrap();
    for step in query::store::MIGRATIONS[..2].iter().flat_map(|parts| parts.iter()) {
        old.execute_batch(step).unwrap();
    }
    old.pragma_update(None, "user_version", 2).unwrap();
    let rows = "INSERT INTO posts VALUES ('p1', 'post 1', '', '', 0, 1), ('by hand', 'T', '', '', 5, 1);
        INSERT INTO cursor VALUES ('events', 10, 'any');
        INSERT INTO dead_letters (key, seq, envelope, error, attempts, parked_at, discarded_at) VALUES
            ('p2', 4, '{\"type\":\"PostCreated\",\"data\":{\"id\":\"p2\",\"title\":\"T\"}}', 'a fault', 1, 0, NULL);";
    old.execute_batch(rows).unwrap();
    let discarded = "INSERT INTO dead_letters (key, seq, envelope, error, attempts, parked_at, discarded_at)
        VALUES ('p9', 10, ?1, 'a fault', 1, 0, 0)";
    old.execute(discarded, [&poison]).unwrap();
    drop(old);
    let query = start(&world).await;
    let applied = || world.rows(ServiceName::Query, "SELECT seq FROM cursor") == ["11"];
    eventually("everything is read again", async || applied().then_some(())).await;
    let merged = read_model(&world, &query).await;
    for line in model.lines() {
        assert!(merged.contains(line), "{line} is not in\n{merged}");
    }
    // What the log does not hold stays, and the event after the discarded one is applied.
    assert_eq!(world.rows(ServiceName::Query, "SELECT title FROM posts WHERE id = 'by hand'"), ["\"T\""]);
    assert_eq!(world.rows(ServiceName::Query, "SELECT id FROM comments WHERE post_id = 'p9'"), ["\"c9\""]);
    assert_eq!(world.rows(ServiceName::Query, "SELECT seq, discarded_at FROM dead_letters"), ["10 0"]);
}
