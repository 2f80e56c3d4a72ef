//! `GET /query/posts/{id}`: one post, and waiting for it.

use crate::{all, comment_by, deliver, judged, start};
use futures_util::poll;
use serde_json::{Value, json};
use shared::events::{PostCreated, Status};
use shared::{Event, ProblemKind, Sequence};
use std::time::{Duration, Instant};
use testkit::events::{at, comment_created, comment_updated, post_created};
use testkit::{World, get, in_time};

const ADA: &str = "author=0123456789abcdef0123456789abcdef";
const BOB: &str = "author=ffffffffffffffffffffffffffffffff";

#[tokio::test]
async fn a_post_with_its_body_and_its_comments() {
    let world = World::new();
    let query = start(&world).await;
    let Event::PostCreated(post) = post_created("p1", "T", 1) else { unreachable!() };
    let post = PostCreated { body: "# One\n\n<b>two</b>".into(), author: "Ada".into(), ..post };
    let mut events = vec![post.into()];
    events.extend(judged("c1", "p1", "fine", 2, Status::Approved));
    deliver(&world, &query, 1, &events).await;
    assert_eq!(
        query.get("/query/posts/p1").await.ok(200),
        json!({
            "id": "p1", "title": "T", "body": "# One\n\n<b>two</b>", "author": "Ada", "createdAt": at(1), "version": 1,
            "comments": [{"id": "c1", "content": "fine", "status": "approved", "createdAt": at(2), "version": 2}],
            "earlier": null, "later": null, "commentCount": 1, "sequence": Sequence::new(3)
        })
    );
    for unknown in ["p2", "__proto__", "a.b", "%2e%2e", "%27%20OR%201=1", &"x".repeat(10_000)] {
        query.get(&format!("/query/posts/{unknown}")).await.problem(ProblemKind::NotFound);
    }
    query.get("/query/posts/%ff").await.problem(ProblemKind::BadRequest);
    query.get("/query/posts").await.problem(ProblemKind::NotFound);
    query.post("/query/posts/p1", &json!({})).await.problem(ProblemKind::MethodNotAllowed);
}

#[tokio::test]
async fn only_its_author_sees_pending_text_and_nobody_sees_rejected_text() {
    let world = World::new();
    let query = start(&world).await;
    deliver(&world, &query, 1, &[post_created("p1", "T", 1), comment_by(ADA, "c1", "p1", "her text", 2)])
        .await;
    let shown = async |cookie: Option<&str>| {
        let ask = get("/query/posts/p1");
        let reply = query.send(cookie.map_or(ask.clone(), |c| ask.cookie(c))).await;
        assert!(!reply.text().contains("authorKey"));
        let comment = reply.ok(200)["comments"][0].clone();
        (comment["content"].clone(), comment.get("mine").is_some())
    };
    assert_eq!(shown(Some(ADA)).await, (json!("her text"), true));
    for other in [None, Some(BOB), Some("author=")] {
        assert_eq!(shown(other).await, (json!(""), false));
    }
    deliver(&world, &query, 3, &[comment_updated("c1", "p1", "her text", Status::Rejected)]).await;
    assert_eq!(shown(Some(ADA)).await, (json!(""), true));
    deliver(&world, &query, 4, &[comment_by(ADA, "c2", "p1", "better", 3)]).await;
    deliver(&world, &query, 5, &[comment_updated("c2", "p1", "better", Status::Approved)]).await;
    for reader in [None, Some(ADA), Some(BOB)] {
        let ask = get("/query/posts/p1");
        let reply = query.send(reader.map_or(ask.clone(), |c| ask.cookie(c))).await;
        assert_eq!(reply.ok(200)["comments"][1]["content"], "better");
    }
}

#[tokio::test]
async fn it_waits_for_a_post_that_is_on_its_way() {
    let world = World::new();
    let query = start(&world).await;
    let waiting = query.get("/query/posts/p1?wait=5000");
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
    deliver(&world, &query, 1, &[post_created("other", "T", 1)]).await;
    assert!(
        tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err(),
        "another is not this one"
    );
    let begun = Instant::now();
    deliver(&world, &query, 2, &[post_created("p1", "T", 1)]).await;
    assert_eq!(waiting.await.ok(200)["id"], "p1");
    assert!(begun.elapsed() < Duration::from_secs(4), "it is woken by the commit: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_read_waits_for_the_comment_it_names() {
    let world = World::new();
    let query = start(&world).await;
    deliver(&world, &query, 1, &[post_created("p1", "T", 1)]).await;
    let waiting = query.get("/query/posts/p1?wait=5000&comment=c1");
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
    let begun = Instant::now();
    deliver(&world, &query, 2, &[comment_created("c1", "p1", "x", 2)]).await;
    assert_eq!(all(&waiting.await.ok(200)["comments"], "id"), ["c1"]);
    assert!(begun.elapsed() < Duration::from_secs(4), "it is woken by the commit: {:?}", begun.elapsed());

    // It is there already, or was not asked to wait: answered at once. It does not come: what is there then.
    let begun = Instant::now();
    assert_eq!(query.get("/query/posts/p1?wait=5000&comment=c1").await.status, 200);
    assert_eq!(query.get("/query/posts/p1?wait=5000").await.status, 200);
    for at_once in ["/query/posts/p1?comment=c2", "/query/posts/p1?wait=0&comment=c2"] {
        assert_eq!(query.get(at_once).await.status, 200);
    }
    assert_eq!(query.get("/query/posts/p2?wait=0").await.status, 404);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let late = query.get("/query/posts/p1?wait=150&comment=c2").await;
    assert_eq!(all(&late.ok(200)["comments"], "id"), ["c1"]);
    query.get("/query/posts/p2?wait=150").await.problem(ProblemKind::NotFound);
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_wait_for_a_comment_whose_post_comes_later_ends_with_both() {
    let world = World::new();
    let query = start(&world).await;
    let waiting = query.get("/query/posts/p1?wait=5000&comment=c1");
    tokio::pin!(waiting);
    assert!(poll!(&mut waiting).is_pending());
    let begun = Instant::now();
    deliver(&world, &query, 1, &[comment_created("c1", "p1", "x", 2), post_created("p1", "T", 1)]).await;
    assert_eq!(all(&waiting.await.ok(200)["comments"], "id"), ["c1"]);
    assert!(begun.elapsed() < Duration::from_secs(4), "it is woken by the commit: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_wait_has_its_limits() {
    let world = World::new();
    let query = start(&world).await;
    deliver(&world, &query, 1, &[post_created("p1", "T", 1)]).await;
    for fine in ["wait=0", "wait=5000", "wait=007", "comment=c1", "x=y"] {
        assert_eq!(query.get(&format!("/query/posts/p1?{fine}")).await.status, 200, "{fine}");
    }
    for bad in [
        "wait=5001",
        "wait=-1",
        "wait=",
        "wait=x",
        "wait=1.5",
        "wait=1e3",
        "wait=99999999999999999999",
        "wait=1&wait=2",
    ] {
        query.get(&format!("/query/posts/p1?{bad}")).await.problem(ProblemKind::BadRequest);
    }
    for bad in ["a.b", "", "%00", "a/b", &"x".repeat(65)] {
        query.get(&format!("/query/posts/p1?comment={bad}")).await.problem(ProblemKind::BadRequest);
    }
}

#[tokio::test]
async fn the_stop_ends_a_wait() {
    let world = World::new();
    let query = start(&world).await;
    let waiting = query.get("/query/posts/p1?wait=5000");
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(30), &mut waiting).await.is_err());
    let begun = Instant::now();
    query.lifecycle.stop();
    in_time("the wait", waiting).await.problem(ProblemKind::NotFound);
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_comment_before_its_post_waits_for_it_and_an_update_before_its_creation_is_kept() {
    let world = World::new();
    let query = start(&world).await;
    deliver(&world, &query, 1, &[comment_updated("c1", "p1", "early", Status::Approved)]).await;
    query.get("/query/posts/p1").await.problem(ProblemKind::NotFound);
    assert_eq!(query.get("/posts").await.ok(200), json!({}));
    deliver(&world, &query, 2, &[comment_created("c2", "p1", "x", 5), post_created("p1", "T", 1)]).await;
    let post = query.get("/query/posts/p1").await.ok(200);
    assert_eq!(all(&post["comments"], "id"), ["c1", "c2"]);
    assert_eq!(
        post["comments"][0],
        json!({"id": "c1", "content": "early", "status": "approved", "version": 2})
    );
    deliver(&world, &query, 4, &[comment_created("c1", "p1", "early", 9)]).await;
    let comments = query.get("/query/posts/p1").await.ok(200)["comments"].clone();
    assert_eq!(all(&comments, "id"), ["c2", "c1"], "now it has its place in time");
    assert_eq!((&comments[1]["status"], &comments[1]["content"]), (&json!("approved"), &json!("early")));
}

#[tokio::test]
async fn a_repeated_creation_of_a_post_keeps_its_comments() {
    let world = World::new();
    let query = start(&world).await;
    let mut events = vec![post_created("p1", "T", 1)];
    events.extend(judged("c1", "p1", "kept", 2, Status::Approved));
    deliver(&world, &query, 1, &events).await;
    let before = query.get("/query/posts/p1").await.ok(200);
    // Read again by its publisher, said by a bus that forgot, or a bare one by hand.
    deliver(&world, &query, 4, &[post_created("p1", "T", 1)]).await;
    let bare = json!({"type": "PostCreated", "data": {"id": "p1", "title": "T"}});
    query.post("/events", &bare).await.ok(200);
    assert_eq!(query.get("/query/posts/p1").await.ok(200), before);
}

#[tokio::test]
async fn a_thread_is_read_in_pages_each_of_which_leads_to_its_neighbours() {
    let world = World::new();
    let query = start(&world).await;
    let mut events = vec![post_created("p1", "T", 1)];
    events.extend((0..120).map(|n| comment_created(&format!("c{n:03}"), "p1", "x", 2 + n / 2)));
    deliver(&world, &query, 1, &events).await;
    let page = async |parameters: &str| query.get(&format!("/query/posts/p1?{parameters}")).await.ok(200);
    let ids = |page: &Value| all(&page["comments"], "id");
    let named = |range: std::ops::Range<i64>| range.map(|n| json!(format!("c{n:03}"))).collect::<Vec<_>>();

    let newest = page("").await;
    assert_eq!((ids(&newest), &newest["later"]), (named(70..120), &Value::Null));
    assert_eq!(newest, page("comments=newest&limit=50").await);
    let earlier = page(&format!("comments=before:{}", newest["earlier"].as_str().unwrap())).await;
    assert_eq!(ids(&earlier), named(20..70));
    let again = page(&format!("comments=after:{}", earlier["later"].as_str().unwrap())).await;
    assert_eq!((ids(&again), &again["later"]), (named(70..120), &Value::Null));
    let first = page(&format!("limit=30&comments=before:{}", earlier["earlier"].as_str().unwrap())).await;
    assert_eq!((ids(&first), &first["earlier"]), (named(0..20), &Value::Null));
    assert_eq!(ids(&page("comments=oldest&limit=100").await), named(0..100));

    let around = page("comments=around:c050&limit=3").await;
    assert_eq!(ids(&around), named(49..52));
    assert_eq!(around, page("comment=c050&limit=3").await, "the page with the comment to wait for");
    assert_eq!(ids(&page("comment=c050&comments=oldest&limit=1").await), named(0..1));
    assert_eq!(around["sequence"], json!(Sequence::new(121)));
}

#[tokio::test]
async fn a_page_shows_its_reader_their_own_pending_comments() {
    let world = World::new();
    let query = start(&world).await;
    let mut events = vec![post_created("p1", "T", 1), comment_by(ADA, "hers", "p1", "her text", 2)];
    events.extend(judged("later", "p1", "fine", 3, Status::Approved));
    deliver(&world, &query, 1, &events).await;
    let page = query.send(get("/query/posts/p1?comments=oldest&limit=1").cookie(ADA)).await.ok(200);
    assert_eq!((&page["comments"][0]["content"], &page["commentCount"]), (&json!("her text"), &json!(1)));
}

#[tokio::test]
async fn pages_that_are_none_are_refused() {
    let world = World::new();
    let query = start(&world).await;
    deliver(&world, &query, 1, &[post_created("p1", "T", 1)]).await;
    for bad in [
        "limit=0",
        "limit=101",
        "limit=x",
        "comments=",
        "comments=x",
        "comments=newest:",
        "comments=before:",
        "comments=before:1~2",
        "comments=before:1~x~c",
        "comments=after:1~2~a.b",
        "comments=after:1~2~c~d",
        "comments=around:a.b",
        "comments=around:",
    ] {
        query.get(&format!("/query/posts/p1?{bad}")).await.problem(ProblemKind::BadRequest);
    }
    for empty in ["comments=before:0~0~c", "comments=after:-1~-1~c", "comments=oldest", "comments=around:c"] {
        let page = query.get(&format!("/query/posts/p1?{empty}")).await.ok(200);
        assert_eq!(
            [&page["comments"], &page["earlier"], &page["later"]],
            [&json!([]), &Value::Null, &Value::Null]
        );
    }
}
