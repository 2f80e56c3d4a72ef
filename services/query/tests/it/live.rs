//! `GET /live`: changes as they happen.

use crate::{comment_by, deliver, judged, start};
use serde_json::json;
use shared::events::Status;
use shared::{Event, ProblemKind, Sequence, ServiceName};
use std::collections::BTreeSet;
use std::time::Duration;
use testkit::events::{at, comment_created, comment_updated, log_from, logged, post_created};
use testkit::{Running, Sse, World, get, in_time, post};

async fn listen(query: &Running, path: &str) -> Sse {
    let mut live = query.open(get(path)).await;
    assert_eq!(live.expect().await.event, "hello");
    live
}

/// Listens again, after the event that was heard last.
async fn resume(query: &Running, path: &str, last: &str) -> Sse {
    let mut live = query.open(get(path).header("last-event-id", last)).await;
    let hello = live.expect().await;
    assert_eq!((hello.event.as_str(), hello.id.as_str()), ("hello", last));
    live
}

fn seq(n: i64) -> String {
    Sequence::new(n).to_string()
}

fn posts(from: i64, to: i64) -> Vec<Event> {
    (from..=to).map(|n| post_created(&format!("p{n}"), "T", n)).collect()
}

async fn ids(live: &mut Sse, count: usize) -> Vec<String> {
    live.take(count).await.into_iter().map(|e| e.id).collect()
}

#[tokio::test]
async fn it_says_hello_and_then_each_change_as_everybody_may_see_it() {
    let world = World::new();
    let query = start(&world).await;
    deliver(&world, &query, 1, &posts(1, 2)).await;
    let mut live = query.open(get("/live")).await;
    assert_eq!(live.headers["cache-control"], "no-cache, no-transform");
    assert_eq!(live.headers["x-accel-buffering"], "no");
    let hello = live.expect().await;
    assert_eq!((hello.event.as_str(), &hello.id, hello.json()), ("hello", &seq(2), json!({})));

    let mut events = posts(3, 3);
    events.push(comment_created("c1", "p3", "a secret orange", 4));
    deliver(&world, &query, 3, &events).await;
    let post = live.expect().await;
    assert_eq!((post.event.as_str(), &post.id), ("change", &seq(3)));
    let view = json!({"id": "p3", "title": "T", "createdAt": at(3), "version": 1});
    assert_eq!(post.json(), json!({"sequence": seq(3), "postId": "p3", "post": view}));
    let view = json!({"id": "c1", "content": "", "status": "pending", "createdAt": at(4), "version": 1});
    let change = json!({"sequence": seq(4), "postId": "p3", "comment": view, "commentCount": 0});
    assert_eq!(live.expect().await.json(), change);

    deliver(&world, &query, 5, &[comment_updated("c1", "p3", "a secret orange", Status::Rejected)]).await;
    let rejected = live.expect().await.json();
    assert_eq!(rejected["comment"]["content"], "");
    assert_eq!(
        (&rejected["comment"]["status"], &rejected["comment"]["reason"]),
        (&json!("rejected"), &json!("a reason"))
    );
    deliver(&world, &query, 6, &judged("c2", "p3", "fine", 6, Status::Approved)).await;
    let approved = live.take(2).await.pop().unwrap().json();
    assert_eq!((&approved["comment"]["content"], &approved["commentCount"]), (&json!("fine"), &json!(1)));
    // Nothing changed: nothing is said.
    deliver(&world, &query, 8, &[comment_updated("c2", "p3", "fine", Status::Approved)]).await;
    deliver(&world, &query, 9, &posts(9, 9)).await;
    assert_eq!(live.expect().await.id, seq(9));
}

#[tokio::test]
async fn pending_text_is_sent_to_nobody_though_its_author_may_read_it() {
    let world = World::new();
    let query = start(&world).await;
    let mut live = listen(&query, "/live").await;
    let cookie = "author=0123456789abcdef0123456789abcdef";
    deliver(&world, &query, 1, &[comment_by(cookie, "c1", "p1", "her text", 1)]).await;
    let told = live.expect().await.json();
    assert_eq!((&told["comment"]["id"], &told["comment"]["content"]), (&json!("c1"), &json!("")));
    assert_eq!(told["comment"].get("mine"), None);
}

#[tokio::test]
async fn a_client_that_reconnects_misses_nothing_and_gets_nothing_twice() {
    let world = World::new();
    let query = start(&world).await;
    let mut live = listen(&query, "/live").await;
    deliver(&world, &query, 1, &posts(1, 10)).await;
    let mut heard = ids(&mut live, 4).await;
    drop(live);
    // Meanwhile nobody listens, and then others do.
    deliver(&world, &query, 11, &posts(11, 15)).await;
    let mut other = listen(&query, "/live").await;
    deliver(&world, &query, 16, &posts(16, 20)).await;
    let mut live = resume(&query, "/live", heard.last().unwrap()).await;
    deliver(&world, &query, 21, &posts(21, 25)).await;
    heard.extend(ids(&mut live, 21).await);
    assert_eq!(heard, (1..=25).map(seq).collect::<Vec<_>>());
    assert_eq!(ids(&mut other, 10).await, (16..=25).map(seq).collect::<Vec<_>>());
    assert!(
        live.is_silent_for(Duration::from_millis(30)).await
            && other.is_silent_for(Duration::from_millis(30)).await
    );

    // From the beginning, from the end, and from beyond it.
    let mut all = resume(&query, "/live", &seq(0)).await;
    assert_eq!(ids(&mut all, 25).await.len(), 25);
    let mut none = resume(&query, "/live", &seq(25)).await;
    let mut beyond = resume(&query, "/live", &seq(1_000)).await;
    deliver(&world, &query, 26, &posts(26, 26)).await;
    for live in [&mut all, &mut none, &mut beyond] {
        assert_eq!(live.expect().await.id, seq(26));
    }
}

#[tokio::test]
async fn a_page_listens_from_the_state_that_it_shows() {
    let world = World::new();
    let query = start(&world).await;
    deliver(&world, &query, 1, &posts(1, 3)).await;
    let page = query.get("/posts?limit=2").await.ok(200);
    let after = format!("/live?after={}", page["sequence"].as_str().unwrap());
    deliver(&world, &query, 4, &posts(4, 5)).await;
    let mut live = listen(&query, &after).await;
    assert_eq!(ids(&mut live, 2).await, [seq(4), seq(5)]);
    // The browser resumes with the same address, and says what it received last.
    let mut live = resume(&query, &after, &seq(4)).await;
    assert_eq!(ids(&mut live, 1).await, [seq(5)]);
}

#[tokio::test]
async fn what_could_not_be_read_is_told_as_soon_as_it_can_be() {
    let world = World::new();
    let query = start(&world).await;
    let mut live = listen(&query, "/live").await;
    deliver(&world, &query, 1, &posts(1, 1)).await;
    assert_eq!(ids(&mut live, 1).await, [seq(1)]);
    assert!(live.is_silent_for(Duration::from_millis(30)).await, "it has read all, and listens");
    world.execute(ServiceName::Query, "INSERT INTO changes (seq, post_id) VALUES (1, 'no id at all')");
    deliver(&world, &query, 2, &posts(2, 2)).await;
    assert!(live.is_silent_for(Duration::from_millis(30)).await);
    // Mended without a commit that would wake anybody.
    world.execute(ServiceName::Query, "DELETE FROM changes WHERE post_id = 'no id at all'");
    assert_eq!(ids(&mut live, 1).await, [seq(2)]);
}

#[tokio::test]
async fn a_restart_is_heard_as_a_break_and_nothing_is_missed() {
    let world = World::new();
    let query = start(&world).await;
    let mut live = listen(&query, "/live").await;
    deliver(&world, &query, 1, &posts(1, 3)).await;
    let heard = ids(&mut live, 2).await;
    drop(live);
    world.stop(query).await;
    let query = start(&world).await;
    deliver(&world, &query, 4, &posts(4, 4)).await;
    let mut live = resume(&query, "/live", &heard[1]).await;
    assert_eq!(ids(&mut live, 2).await, [seq(3), seq(4)]);
}

#[tokio::test]
async fn what_an_operator_lets_through_late_is_not_missed_either() {
    let world = World::new();
    let query = start(&world).await;
    let mut log = log_from(1, &posts(1, 5));
    // The second is poison, and the third waits behind it, as both are about the same post.
    log[1].data = serde_json::value::RawValue::from_string("{}".into()).unwrap();
    log[1].partitionkey = Some("p3".into());
    query.deliver(&world, &log).await.ok(200);
    let mut live = listen(&query, "/live").await;
    deliver(&world, &query, 6, &posts(6, 6)).await;
    let last = live.expect().await.id;
    drop(live);

    let letters = query.get("/dead-letters").await.ok(200);
    let discard = post(format!("/dead-letters/{}/discard", letters[0]["id"]));
    assert_eq!(query.send(discard).await.ok(200), json!({"applied": 1, "remaining": 0}));
    deliver(&world, &query, 7, &posts(7, 7)).await;
    let mut live = resume(&query, "/live", &last).await;
    let heard: Vec<_> =
        live.take(2).await.iter().map(|e| (e.json()["postId"].clone(), e.id.clone())).collect();
    let expected = [(json!("p3"), seq(6)), (json!("p7"), seq(7))];
    assert_eq!(
        heard, expected,
        "whoever has received what came late has everything up to the event before it"
    );
}

#[tokio::test]
async fn events_without_a_place_in_the_log_are_not_missed_by_who_comes_back() {
    let world = World::new();
    let query = start(&world).await;
    let bare = async |id: &str| {
        let event = json!({"type": "PostCreated", "data": {"id": id, "title": "T"}});
        query.post("/events", &event).await.ok(200);
    };
    deliver(&world, &query, 1, &posts(1, 1)).await;
    let mut live = listen(&query, "/live").await;
    bare("a").await;
    bare("b").await;
    let last = live.expect().await;
    assert_eq!((last.json()["postId"].clone(), last.id.clone()), (json!("a"), seq(1)));
    drop(live);
    bare("c").await;
    let mut live = resume(&query, "/live", &last.id).await;
    let mut heard = BTreeSet::new();
    while !(heard.contains("b") && heard.contains("c")) {
        heard.insert(live.expect().await.json()["postId"].as_str().unwrap().to_owned());
    }
}

#[tokio::test]
async fn one_posts_listeners_hear_of_it_alone() {
    let world = World::new();
    let query = start(&world).await;
    let mut live = listen(&query, "/live?post=p1").await;
    let mut events = posts(1, 2);
    events.extend(judged("c1", "p2", "x", 3, Status::Approved));
    events.extend(judged("c2", "p1", "x", 4, Status::Approved));
    deliver(&world, &query, 1, &events).await;
    assert_eq!(ids(&mut live, 3).await, [seq(1), seq(5), seq(6)]);
    let mut again = resume(&query, "/live?post=p1", &seq(1)).await;
    assert_eq!(ids(&mut again, 2).await, [seq(5), seq(6)]);
    let mut unknown = listen(&query, "/live?post=not-yet").await;
    deliver(&world, &query, 7, &[post_created("not-yet", "T", 7)]).await;
    assert_eq!(unknown.expect().await.id, seq(7), "it may be listened to before it is there");
}

#[tokio::test]
async fn a_client_that_falls_behind_gets_everything_in_order() {
    let world = World::new();
    let query = start(&world).await;
    let mut slow = listen(&query, "/live").await;
    let mut quick = listen(&query, "/live").await;
    let total = 3_000;
    for first in (1..=total).step_by(500) {
        deliver(&world, &query, first, &posts(first, first + 499)).await;
        quick.take(500).await;
    }
    let heard = ids(&mut slow, total as usize).await;
    assert_eq!(heard, (1..=total).map(seq).collect::<Vec<_>>());
    // Now it knows that the store has no more for it, and hears that it has fallen behind.
    assert!(slow.is_silent_for(Duration::from_millis(30)).await);
    deliver(&world, &query, total + 1, &posts(total + 1, total + 1)).await;
    assert_eq!(slow.expect().await.id, seq(total + 1));
}

#[tokio::test]
async fn a_stream_begins_where_a_page_ends() {
    let world = World::new();
    let query = start(&world).await;
    deliver(&world, &query, 1, &posts(1, 1)).await;
    let page = query.get("/query/posts/p1").await.ok(200);
    deliver(&world, &query, 2, &[comment_created("c1", "p1", "x", 2)]).await;
    let address = format!("/live?post=p1&after={}", page["sequence"].as_str().unwrap());
    let mut live = query.open(get(&address)).await;
    let hello = live.expect().await;
    assert_eq!((hello.event.as_str(), hello.id), ("hello", seq(1)));
    assert_eq!(ids(&mut live, 1).await, [seq(2)]);
    // The browser opens the same address again, after what it has received since.
    deliver(&world, &query, 3, &[comment_created("c2", "p1", "x", 3)]).await;
    let mut again = resume(&query, &address, &seq(2)).await;
    assert_eq!(ids(&mut again, 1).await, [seq(3)]);
    query.get("/live?after=x").await.problem(ProblemKind::BadRequest);
}

#[tokio::test]
async fn whoever_has_missed_too_much_is_told_to_load_again() {
    let world = World::new();
    let query = start(&world).await;
    for first in (1..=1_500).step_by(500) {
        deliver(&world, &query, first, &posts(first, first + 499)).await;
    }
    let mut near = resume(&query, "/live", &seq(500)).await;
    assert_eq!(ids(&mut near, 1_000).await, (501..=1_500).map(seq).collect::<Vec<_>>());
    let mut streams = Vec::new();
    for far in [seq(499), seq(0)] {
        let mut live = query.open(get("/live").header("last-event-id", &far)).await;
        let first = live.expect().await;
        assert_eq!((first.event.as_str(), first.id.clone(), first.json()), ("reload", seq(1_500), json!({})));
        streams.push(live);
    }
    deliver(&world, &query, 1_501, &posts(1_501, 1_501)).await;
    for live in &mut streams {
        assert_eq!(live.expect().await.id, seq(1_501), "it goes on from there");
    }
}

#[tokio::test]
async fn who_was_there_before_a_delivery_of_many_changes_has_to_load_again() {
    let world = World::new();
    let query = start(&world).await;
    deliver(&world, &query, 1, &posts(1, 10)).await;
    let mut listener = listen(&query, "/live").await;
    deliver(&world, &query, 11, &posts(11, 1_500)).await;
    let mut back = query.open(get("/live").header("last-event-id", seq(10))).await;
    for live in [&mut listener, &mut back] {
        let reload = live.expect().await;
        assert_eq!((reload.event.as_str(), reload.id), ("reload", seq(1_500)));
    }
    // Whoever has a page of that delivery misses nothing of it.
    let mut near = resume(&query, "/live", &seq(1_490)).await;
    assert_eq!(ids(&mut near, 10).await, (1_491..=1_500).map(seq).collect::<Vec<_>>());
    deliver(&world, &query, 1_501, &posts(1_501, 1_501)).await;
    for live in [&mut listener, &mut back, &mut near] {
        assert_eq!(live.expect().await.id, seq(1_501), "it goes on from there");
    }
}

#[tokio::test]
async fn a_listener_who_falls_behind_what_is_stored_is_told_to_load_again() {
    let world = World::new();
    let query = start(&world).await;
    let mut slow = listen(&query, "/live").await;
    deliver(&world, &query, 1, &posts(1, 20)).await;
    world.execute(ServiceName::Query, "DELETE FROM changes WHERE n < 15");
    let reload = slow.expect().await;
    assert_eq!((reload.event.as_str(), reload.id), ("reload", seq(20)));
    deliver(&world, &query, 21, &posts(21, 21)).await;
    assert_eq!(slow.expect().await.id, seq(21));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_at_the_moment_of_coming_is_heard_or_was_before_the_hello() {
    let world = World::new();
    let query = start(&world).await;
    for n in 1..=150 {
        let new = posts(n, n);
        let (mut live, ()) = tokio::join!(query.open(get("/live")), deliver(&world, &query, n, &new));
        if live.expect().await.id < seq(n) {
            assert_eq!(live.expect().await.id, seq(n));
        }
    }
}

#[tokio::test]
async fn the_stop_ends_every_stream() {
    let world = World::new();
    let query = start(&world).await;
    let mut streams = vec![listen(&query, "/live").await, listen(&query, "/live?post=p1").await];
    query.lifecycle.stop();
    for live in &mut streams {
        assert_eq!(in_time("the end of the stream", live.next()).await, None);
    }
}

#[tokio::test]
async fn ids_that_are_none_are_refused() {
    let world = World::new();
    let query = start(&world).await;
    for bad in ["a.b", "", "%00", &"x".repeat(65)] {
        query.get(&format!("/live?post={bad}")).await.problem(ProblemKind::BadRequest);
    }
    for bad in ["x", "", "-1", "99999999999999999999"] {
        query.get(&format!("/live?after={bad}")).await.problem(ProblemKind::BadRequest);
    }
    for bad in [&b"x"[..], b"", b"-1", b"1.5", b"99999999999999999999", b"\xff", b"1 2"] {
        query.send(get("/live").header("last-event-id", bad)).await.problem(ProblemKind::BadRequest);
    }
    query.post("/live", &json!({})).await.problem(ProblemKind::MethodNotAllowed);
}

#[tokio::test]
async fn there_is_a_most_of_listeners_and_who_leaves_makes_room() {
    let world = World::new();
    let query = start(&world).await;
    let mut streams = Vec::new();
    for _ in 0..2_048 {
        streams.push(query.open(get("/live")).await);
    }
    let full = query.get("/live").await;
    full.problem(ProblemKind::Unavailable);
    assert_eq!(full.header("retry-after"), "30");
    query.get("/posts").await.ok(200);
    drop(streams.pop());
    streams.push(listen(&query, "/live").await);
    query.deliver(&world, &[logged(&post_created("p1", "T", 1), 1)]).await.ok(200);
    assert_eq!(streams[2_047].expect().await.id, seq(1));
}
