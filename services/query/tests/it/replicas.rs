//! Two replicas of query on two files behind one bus: readers who go from one to the other notice nothing.

use crate::bus::publish;
use crate::{all, deliver, start};
use futures_util::poll;
use serde_json::{Value, json};
use shared::events::Status;
use shared::{Event, ProblemKind, Sequence, ServiceName};
use std::time::{Duration, Instant};
use testkit::events::{comment_created, comment_updated, log_from, post_created};
use testkit::{Ask, Reply, Running, World, eventually, get, post};

async fn replica(world: &World, instance: &str) -> Running {
    let peer = world.config_of_replica(ServiceName::Query, instance);
    let config = query::Config { peer, instance: Some(instance.to_owned()) };
    world.start_replica(instance, config, query::build).await
}

/// A bus and two replicas that are ready.
async fn two_replicas(world: &World) -> (Running, Running, Running) {
    let bus = world.start_bus().await;
    let (a, b) = (replica(world, "a").await, replica(world, "b").await);
    a.becomes_ready().await;
    b.becomes_ready().await;
    (bus, a, b)
}

fn seq(n: i64) -> String {
    Sequence::new(n).to_string()
}

/// A request of somebody who has seen the state up to this event.
fn since(path: &str, sequence: &str) -> Ask {
    get(path).header("x-min-sequence", sequence)
}

async fn shows(query: &Running, sequence: i64) {
    let shown =
        async || (query.get("/posts?limit=1").await.header("x-sequence") == seq(sequence)).then_some(());
    eventually("the replica is as far", shown).await;
}

fn behind(reply: &Reply, is: i64) {
    let problem = reply.problem(ProblemKind::Unavailable);
    assert!(problem.detail.unwrap().contains("has not read the log up to"));
    assert_eq!((reply.header("retry-after"), reply.header("x-sequence")), ("1", seq(is).as_str()));
}

#[tokio::test]
async fn each_replica_receives_every_event_under_its_own_name() {
    let world = World::secure();
    let (bus, a, b) = two_replicas(&world).await;
    publish(&world, &bus, &[post_created("p1", "T", 1)]).await;
    for query in [&a, &b] {
        shows(query, 1).await;
        assert_eq!(query.get("/query/posts/p1").await.ok(200)["title"], "T");
    }
    let subscriptions = bus.send(get("/subscriptions").as_operator(&world)).await.ok(200);
    assert_eq!(all(&subscriptions, "name"), ["query/a", "query/b"]);
}

#[tokio::test]
async fn a_page_never_goes_back_between_replicas() {
    let world = World::secure();
    let (bus, a, b) = two_replicas(&world).await;
    publish(&world, &bus, &[post_created("p1", "T", 1)]).await;
    for query in [&a, &b] {
        shows(query, 1).await;
        // Rendered, and kept for the next readers.
        query.get("/posts").await.ok(200);
    }
    b.cut_off();
    let verdict = comment_updated("c1", "p1", "text", Status::Approved);
    publish(&world, &bus, &[comment_created("c1", "p1", "text", 2), verdict]).await;
    shows(&a, 3).await;

    for path in ["/posts", "/posts?limit=5", "/query/posts/p1", "/query/posts/p1?comments=oldest"] {
        let seen = a.get(path).await;
        assert_eq!(seen.header("x-sequence"), seq(3), "{path}");
        assert_eq!(b.get(path).await.header("x-sequence"), seq(1), "{path}: nobody has to wait");
    }
    let begun = Instant::now();
    behind(&b.send(since("/query/posts/p1", &seq(3))).await, 1);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());

    // As soon as it is as far, it answers all who wait, with what they have seen elsewhere.
    let paths = ["/posts", "/posts?limit=5", "/query/posts/p1"];
    let waiting = paths.map(|path| b.send(since(path, &seq(3))));
    let mut waiting = Box::pin(futures_util::future::join_all(waiting));
    assert!(poll!(&mut waiting).is_pending());
    b.rejoin();
    let (begun, next) = (Instant::now(), [post_created("p2", "T", 4)]);
    let (answers, ()) = tokio::join!(waiting, publish(&world, &bus, &next));
    for (answer, path) in answers.iter().zip(paths) {
        answer.ok(200);
        assert!(answer.header("x-sequence") >= seq(3).as_str(), "{path}");
    }
    assert_eq!(answers[0].ok(200)["p1"]["comments"][0]["content"], "text");
    assert_eq!(answers[1].ok(200)["items"].as_array().unwrap().last().unwrap()["commentCount"], 1);
    assert_eq!(answers[2].ok(200)["comments"][0]["content"], "text");
    assert!(begun.elapsed() < Duration::from_secs(2), "woken by the commit: {:?}", begun.elapsed());
}

#[tokio::test]
async fn what_was_just_written_is_on_whichever_replica_is_asked() {
    let world = World::secure();
    let (bus, a, b) = two_replicas(&world).await;
    publish(&world, &bus, &[post_created("p1", "T", 1)]).await;
    shows(&a, 1).await;
    shows(&b, 1).await;
    let path = "/query/posts/p1?wait=5000&comment=c1";
    let mut waiting = Box::pin(async { tokio::join!(a.get(path), b.send(since(path, &seq(1)))) });
    assert!(poll!(&mut waiting).is_pending());
    let event = [comment_created("c1", "p1", "x", 2)];
    let ((from_a, from_b), ()) = tokio::join!(waiting, publish(&world, &bus, &event));
    for answer in [from_a, from_b] {
        assert_eq!(all(&answer.ok(200)["comments"], "id"), ["c1"]);
        assert_eq!(answer.header("x-sequence"), seq(2));
    }
}

#[tokio::test]
async fn an_unknown_future_minimum_is_a_clear_error() {
    let world = World::new();
    let query = replica(&world, "a").await;
    deliver(&world, &query, 1, &[post_created("p1", "T", 1)]).await;
    for fine in ["0", "1", "00000000000000000001"] {
        assert_eq!(query.send(since("/posts", fine)).await.status, 200, "{fine}");
    }
    let begun = Instant::now();
    let paths = ["/posts", "/posts?limit=5", "/query/posts/p1", "/query/posts/unknown"];
    for reply in futures_util::future::join_all(paths.map(|path| query.send(since(path, "9000")))).await {
        behind(&reply, 1);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "they wait for a while: {:?}", begun.elapsed());
    for bad in [&b"x"[..], b"", b"-1", b"1.5", b"99999999999999999999", b"\xff", b"1 2", b"1,2"] {
        for path in ["/posts", "/posts?limit=5", "/query/posts/p1", "/live"] {
            let refused = query.send(get(path).header("x-min-sequence", bad)).await;
            let problem = refused.problem(ProblemKind::BadRequest);
            assert!(problem.detail.unwrap().contains("x-min-sequence"));
        }
    }
}

#[tokio::test]
async fn a_replica_alone_says_nothing_and_never_keeps_a_reader_waiting() {
    let world = World::new();
    let query = start(&world).await;
    deliver(&world, &query, 1, &[post_created("p1", "T", 1)]).await;
    for path in ["/posts", "/posts?limit=5", "/query/posts/p1"] {
        let answer = query.send(since(path, &seq(1))).await;
        assert_eq!((answer.status, answer.header("x-sequence")), (200, ""), "{path}");
    }
    assert_eq!(query.open(get("/live")).await.headers.get("x-sequence"), None);
    // The browser may have seen another log under the same host.
    assert_eq!(all(&query.send(since("/posts?limit=5", "5000")).await.ok(200)["items"], "id"), ["p1"]);
    assert_eq!(query.send(since("/posts", "x")).await.status, 400);
}

fn posts(from: i64, to: i64) -> Vec<Event> {
    (from..=to).map(|n| post_created(&format!("p{n}"), "T", n)).collect()
}

async fn changes(live: &mut testkit::Sse, count: usize) -> Vec<(Value, String)> {
    live.take(count).await.iter().map(|event| (event.json()["postId"].clone(), event.id.clone())).collect()
}

fn change(n: i64) -> (Value, String) {
    (json!(format!("p{n}")), seq(n))
}

#[tokio::test]
async fn a_stream_resumes_on_another_replica() {
    let world = World::secure();
    let (bus, a, b) = two_replicas(&world).await;
    publish(&world, &bus, &posts(1, 3)).await;
    shows(&b, 3).await;
    b.cut_off();
    publish(&world, &bus, &posts(4, 5)).await;
    shows(&a, 5).await;
    let mut live = a.open(get(format!("/live?after={}", seq(3)))).await;
    assert_eq!(
        (live.expect().await.event.as_str(), live.headers["x-sequence"].to_str().unwrap()),
        ("hello", seq(5).as_str())
    );
    assert_eq!(changes(&mut live, 2).await, [change(4), change(5)]);
    drop(live);

    // The other one waits until it is as far, and goes on from there: nothing is sent again.
    let resume = b.open(get(format!("/live?after={}", seq(3))).header("last-event-id", seq(5)));
    let mut resume = Box::pin(resume);
    assert!(poll!(&mut resume).is_pending());
    b.rejoin();
    let next = posts(6, 6);
    let (mut live, ()) = tokio::join!(resume, publish(&world, &bus, &next));
    let hello = live.expect().await;
    assert_eq!((hello.event.as_str(), hello.id), ("hello", seq(5)));
    assert_eq!(changes(&mut live, 1).await, [change(6)]);
    drop(live);

    // A replica that is built anew counts its changes otherwise: a large delivery leaves the first of them out.
    let c = replica(&world, "c").await;
    c.becomes_ready().await;
    shows(&c, 6).await;
    for query in [&a, &b, &c] {
        let mut live = query.open(get("/live").header("last-event-id", seq(2))).await;
        assert_eq!(live.expect().await.id, seq(2));
        assert_eq!(changes(&mut live, 4).await, [change(3), change(4), change(5), change(6)]);
    }
}

#[tokio::test]
async fn a_stream_goes_on_from_its_place_however_the_changes_are_numbered() {
    let world = World::new();
    let (one_by_one, at_once) = (replica(&world, "a").await, replica(&world, "b").await);
    for first in (1..=1_500).step_by(500) {
        deliver(&world, &one_by_one, first, &posts(first, first + 499)).await;
    }
    deliver(&world, &at_once, 1, &posts(1, 1_500)).await;
    // The same post again changes nothing, and has no number.
    deliver(&world, &at_once, 1_501, &posts(1, 1)).await;
    deliver(&world, &one_by_one, 1_501, &posts(1, 1)).await;
    for query in [&one_by_one, &at_once] {
        let mut live = query.open(get(format!("/live?after={}", seq(1_498)))).await;
        assert_eq!(live.expect().await.id, seq(1_498));
        assert_eq!(changes(&mut live, 2).await, [change(1_499), change(1_500)]);
        deliver(&world, query, 1_502, &[post_created("p1502", "T", 1_502)]).await;
        assert_eq!(changes(&mut live, 1).await, [change(1_502)]);
        let mut far = query.open(get(format!("/live?after={}", seq(10)))).await;
        assert_eq!(far.expect().await.event, "reload");
    }
}

#[tokio::test]
async fn an_event_that_one_replica_applies_late_hides_no_other_on_the_next() {
    let world = World::new();
    let (a, b) = (replica(&world, "a").await, replica(&world, "b").await);
    // The second event is poison, and the third waits behind it, as both are about the same post.
    let mut log = log_from(1, &posts(1, 7));
    log[1].data = serde_json::value::RawValue::from_string("{}".into()).unwrap();
    log[1].partitionkey = Some("p3".into());
    let discard = async |query: &Running| {
        let letters = query.get("/dead-letters").await.ok(200);
        let discard = post(format!("/dead-letters/{}/discard", letters[0]["id"]));
        assert_eq!(query.send(discard).await.ok(200), json!({"applied": 1, "remaining": 0}));
    };
    a.deliver(&world, &log[..5]).await.ok(200);
    discard(&a).await;
    let mut live = a.open(get("/live?after=1")).await;
    live.expect().await;
    let heard = changes(&mut live, 3).await;
    assert_eq!(heard.last().unwrap().0, "p3");

    b.deliver(&world, &log).await.ok(200);
    discard(&b).await;
    let mut live = b.open(get("/live?after=1").header("last-event-id", &heard[2].1)).await;
    live.expect().await;
    let next: Vec<Value> = changes(&mut live, 3).await.into_iter().map(|(post, _)| post).collect();
    assert_eq!(next, ["p6", "p7", "p3"], "after the fifth, and not after the third");
}

#[tokio::test]
async fn a_stream_that_a_replica_cannot_continue_is_refused_in_time() {
    let world = World::new();
    let query = replica(&world, "a").await;
    deliver(&world, &query, 1, &posts(1, 2)).await;
    let begun = Instant::now();
    let (by_id, by_address) = tokio::join!(
        query.send(get("/live").header("last-event-id", seq(3))),
        query.get("/live?post=p1&after=3"),
    );
    behind(&by_id, 2);
    behind(&by_address, 2);
    assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
}
