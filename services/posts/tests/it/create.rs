//! `POST /posts/create` and `GET /posts`.

use crate::{outbox, start};
use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::{ProblemKind, ServiceName, Timestamp};
use testkit::{World, get, post};

const CREATE: &str = "/posts/create";

#[tokio::test]
async fn the_course_client_gets_what_it_expects() {
    let world = World::new();
    let posts = start(&world).await;
    assert_eq!(posts.get("/posts").await.ok(200), json!({}));

    world.clock.set(Timestamp::from_unix_ms(1_800_000_000_123));
    let reply = posts.post(CREATE, &json!({"title": " Hello "})).await;
    let created = reply.ok(201);
    let id = created["id"].as_str().unwrap();
    assert_eq!(
        created,
        json!({"id": id, "title": "Hello", "createdAt": "2027-01-15T08:00:00.123Z", "version": 1})
    );
    assert_eq!(reply.header("location"), format!("/query/posts/{id}"));
    assert!(!reply.headers.contains_key("set-cookie"), "who writes a post is not tracked");
    let listed = posts.get("/posts").await.ok(200);
    assert_eq!(
        listed,
        json!({ id: {"id": id, "title": "Hello", "createdAt": "2027-01-15T08:00:00.123Z", "version": 1} })
    );
}

#[tokio::test]
async fn body_and_author_are_answered_and_kept_out_of_the_list() {
    let world = World::new();
    let posts = start(&world).await;
    let asked = json!({"title": "T", "body": " # One\r\n\r\ntwo ", "author": "Ada"});
    let created = posts.post(CREATE, &asked).await.ok(201);
    assert_eq!((&created["body"], &created["author"]), (&json!("# One\n\ntwo"), &json!("Ada")));
    let listed = posts.get("/posts").await.ok(200);
    let id = created["id"].as_str().unwrap();
    assert_eq!(listed[id].get("body"), None);
    assert_eq!(listed[id]["author"], "Ada");
    // What a course client sends as null is what it does not send.
    posts.post(CREATE, &json!({"title": "T", "body": null, "author": null})).await.ok(201);
}

#[tokio::test]
async fn posts_are_listed_oldest_first_in_the_text_of_the_answer() {
    let world = World::new();
    let posts = start(&world).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        // Backwards, so that the order of time is neither that of arrival nor that of ids.
        world.clock.set(Timestamp::from_unix_ms(1_800_000_000_000 - n));
        let created = posts.post(CREATE, &json!({"title": format!("post {n}")})).await.ok(201);
        ids.push(created["id"].as_str().unwrap().to_owned());
    }
    let reply = posts.get("/posts").await;
    let places: Vec<_> = ids.iter().map(|id| reply.text().find(&format!("\"{id}\":{{")).unwrap()).collect();
    assert!(places.is_sorted_by(|a, b| a > b), "{}", reply.text());
}

/// Stores many posts at once: every tenth without a time, every second with the time of the one before.
fn store_posts(world: &World, count: usize) {
    let sql = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
         INSERT INTO posts (id, title, body, author, created_at, version)
         SELECT 'p' || n, 'Post ' || n, 'A body', '', CASE WHEN n % 10 > 0 THEN (n * 7919 % 1000) / 2 END, 1
         FROM numbers"
    );
    world.execute(ServiceName::Posts, &sql);
}

#[tokio::test]
async fn a_long_list_comes_in_pieces_and_is_whole() {
    let world = World::new();
    let posts = start(&world).await;
    store_posts(&world, 2_000);
    let pieces = posts.chunks(get("/posts")).await;
    assert!(pieces.len() > 5 && pieces.iter().all(|piece| piece.len() < 100_000), "{}", pieces.len());
    let text = String::from_utf8(pieces.concat()).unwrap();
    let ordered =
        world.rows(ServiceName::Posts, "SELECT id, title, created_at FROM posts ORDER BY created_at, rowid");
    let members = ordered.iter().map(|row| {
        let [id, _, number, time] = row.split(' ').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let number = number.trim_matches('"');
        let time = time.parse().ok().map(|ms| Timestamp::from_unix_ms(ms).to_string());
        let time = time.map(|time| format!("\"createdAt\":\"{time}\",")).unwrap_or_default();
        format!("{id}:{{\"id\":{id},\"title\":\"Post {number}\",{time}\"version\":1}}")
    });
    assert!(text == format!("{{{}}}", members.collect::<Vec<_>>().join(",")), "{text}");
}

#[tokio::test]
async fn a_list_that_grows_while_it_is_read_is_that_of_its_beginning() {
    let world = World::new();
    let posts = start(&world).await;
    store_posts(&world, 1_000);
    let mut stream = posts.stream(get("/posts")).await;
    let mut text = stream.next().await.unwrap().unwrap().to_vec();
    posts.post(CREATE, &json!({"title": "later"})).await.ok(201);
    while let Some(piece) = stream.next().await {
        text.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(serde_json::from_slice::<Value>(&text).unwrap().as_object().unwrap().len(), 1_000);
}

#[tokio::test]
async fn a_post_is_on_disk_with_its_event_before_it_is_answered() {
    let world = World::new();
    let posts = start(&world).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let ask =
        post(CREATE).json(&json!({"title": "T", "body": "B", "author": "A"})).header("traceparent", trace);
    let created = posts.send(ask).await.ok(201);
    let id = &created["id"];

    let [event] = &outbox(&world)[..] else { panic!("one event") };
    let stamp = &created["createdAt"];
    let same_trace = event["traceparent"].as_str().unwrap();
    assert!(same_trace.starts_with(&trace[..36]) && same_trace != trace, "{same_trace}");
    let expected = json!({
        "specversion": "1.0", "id": event["id"], "source": "/posts", "type": "PostCreated", "subject": id,
        "time": stamp, "datacontenttype": "application/json", "dataschema": "/schemas/PostCreated/1",
        "partitionkey": id, "correlationid": event["id"], "traceparent": same_trace,
        "data": {"id": id, "title": "T", "body": "B", "author": "A", "createdAt": stamp, "version": 1}
    });
    assert_eq!(*event, expected);

    world.stop(posts).await;
    let posts = start(&world).await;
    assert_eq!(posts.get("/posts").await.ok(200)[id.as_str().unwrap()]["title"], "T");
    assert_eq!(outbox(&world).len(), 1);
}

#[tokio::test]
async fn the_same_key_gives_the_first_answer_byte_for_byte() {
    let world = World::new();
    let posts = start(&world).await;
    let ask = |body: Value| post(CREATE).json(&body).header("idempotency-key", "key-1");
    let body = json!({"title": "T", "author": "Ada"});
    let first = posts.send(ask(body.clone())).await;
    first.ok(201);
    world.clock.advance_ms(60_000);
    for same in [
        body.clone(),
        json!({"author": " Ada", "title": "T "}),
        json!({"title": "T", "author": "Ada", "body": ""}),
    ] {
        let again = posts.send(ask(same)).await;
        assert_eq!((again.status, &again.body), (201, &first.body));
        assert_eq!(again.header("location"), first.header("location"));
    }
    for other in [json!({"title": "U", "author": "Ada"}), json!({"title": "T"})] {
        let problem = posts.send(ask(other)).await.problem(ProblemKind::Invalid);
        assert_eq!(problem.detail.as_deref(), Some("this Idempotency-Key was used for another request"));
    }
    assert_eq!(outbox(&world).len(), 1);

    // A key outlives the process, and nobody else's key is touched.
    world.stop(posts).await;
    let posts = start(&world).await;
    assert_eq!(posts.send(ask(body.clone())).await.body, first.body);
    let other_key = post(CREATE).json(&body).header("idempotency-key", "key-2");
    assert_ne!(posts.send(other_key).await.body, first.body);
    assert_ne!(posts.post(CREATE, &body).await.body, first.body, "without a key each request is a new one");
    assert_eq!(outbox(&world).len(), 3);
}

/// Earlier versions stored the whole answer with each key. Such rows live for a day after an upgrade.
#[tokio::test]
async fn a_key_that_an_earlier_version_stored_is_known() {
    let world = World::new();
    let posts = start(&world).await;
    let ask = || post(CREATE).json(&json!({"title": "T", "body": "B"})).header("idempotency-key", "k");
    let first = posts.send(ask()).await;
    first.ok(201);
    let stored = world.rows(ServiceName::Posts, "SELECT answer LIKE '%title%' FROM idempotency");
    assert_eq!(stored, ["0"], "the answer is not stored twice");
    world.stop(posts).await;
    world.execute(ServiceName::Posts, &format!("UPDATE idempotency SET answer = '{}'", first.text()));
    let posts = start(&world).await;
    assert_eq!(posts.send(ask()).await.body, first.body);
}

#[tokio::test]
async fn the_same_key_at_the_same_time_creates_one_post() {
    let world = World::new();
    let posts = start(&world).await;
    let ask = || post(CREATE).json(&json!({"title": "T"})).header("idempotency-key", "k");
    let replies = join_all((0..50).map(|_| posts.send(ask()))).await;
    for reply in &replies {
        assert_eq!((reply.status, &reply.body), (201, &replies[0].body));
    }
    assert_eq!(posts.get("/posts").await.ok(200).as_object().unwrap().len(), 1);
    assert_eq!(world.rows(ServiceName::Posts, "SELECT count(*) FROM outbox"), ["1"]);
}

#[tokio::test]
async fn text_is_stored_in_one_unicode_form_whatever_the_keyboard_sends() {
    let world = World::new();
    let posts = start(&world).await;
    let decomposed =
        json!({"title": "Gru\u{308}\u{df}e", "body": "a\u{30a}", "author": "\u{1112}\u{1161}\u{11ab}"});
    let created = posts.post("/posts/create", &decomposed).await.ok(201);
    for (field, composed) in [("title", "Gr\u{fc}\u{df}e"), ("body", "\u{e5}"), ("author", "\u{d55c}")] {
        assert_eq!(created[field], composed);
        assert_eq!(outbox(&world)[0]["data"][field], composed);
    }
    // Counted as it is stored: 200 letters, sent as 400 code points.
    let long = json!({"title": "a\u{30a}".repeat(200)});
    assert_eq!(posts.post("/posts/create", &long).await.ok(201)["title"], "\u{e5}".repeat(200));
}
