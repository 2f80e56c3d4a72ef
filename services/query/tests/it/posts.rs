//! `GET /posts`: the course's object, and pages.

use crate::{all, comment_by, deliver, judged, start};
use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::events::{PostCreated, Status};
use shared::{Event, ProblemKind, Sequence};
use testkit::events::{at, comment_created, comment_updated, post_created};
use testkit::{Running, World};

fn long_post(id: &str, n: i64) -> Event {
    PostCreated {
        id: id.parse().unwrap(),
        title: "A title".into(),
        body: "# Heading\n\nSome **bold** text".into(),
        author: "Ada".into(),
        created_at: Some(at(n)),
        version: Some(1),
    }
    .into()
}

#[tokio::test]
async fn the_course_client_gets_an_object_with_the_comments_in_it() {
    let world = World::new();
    let query = start(&world).await;
    let empty = query.get("/posts").await;
    assert_eq!((empty.ok(200), empty.text()), (json!({}), "{}"));

    let mut events = vec![long_post("p1", 1), post_created("__proto__", "Another", 2)];
    events.push(comment_by("author=0123456789abcdef0123456789abcdef", "c1", "p1", "waits", 3));
    events.extend(judged("c2", "p1", "is fine", 4, Status::Approved));
    events.extend(judged("c3", "p1", "is an orange", 5, Status::Rejected));
    deliver(&world, &query, 1, &events).await;
    let stamp = |n: i64| at(n).to_string();
    let reply = query.get("/posts").await;
    assert_eq!(
        reply.ok(200),
        json!({
            "p1": {
                "id": "p1", "title": "A title", "author": "Ada", "createdAt": stamp(1), "version": 1,
                "comments": [
                    {"id": "c1", "content": "", "status": "pending", "author": "Ada", "createdAt": stamp(3), "version": 1},
                    {"id": "c2", "content": "is fine", "status": "approved", "createdAt": stamp(4), "version": 2},
                    {
                        "id": "c3", "content": "", "status": "rejected", "reason": "a reason",
                        "createdAt": stamp(5), "version": 2
                    },
                ]
            },
            "__proto__": {"id": "__proto__", "title": "Another", "createdAt": stamp(2), "version": 1, "comments": []}
        })
    );
    for secret in ["is an orange", "waits", "authorKey", "Heading"] {
        assert!(!reply.text().contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn the_object_is_written_oldest_first_whatever_arrives_when() {
    let world = World::new();
    let query = start(&world).await;
    let order = [("b", 1), ("z", 2), ("a", 3), ("k", 4), ("c", 5), ("0", 6)];
    let mut events: Vec<Event> = order.iter().rev().map(|(id, n)| post_created(id, "T", *n)).collect();
    for (id, n) in [("c9", 1), ("c1", 2), ("c5", 3), ("c0", 9)].into_iter().rev() {
        events.push(comment_created(id, "a", "x", n));
    }
    deliver(&world, &query, 1, &events).await;
    let reply = query.get("/posts").await;
    let places: Vec<_> =
        order.iter().map(|(id, _)| reply.text().find(&format!("\"{id}\":{{")).unwrap()).collect();
    assert!(places.is_sorted(), "{}", reply.text());
    assert_eq!(all(&reply.ok(200)["a"]["comments"], "id"), ["c9", "c1", "c5", "c0"]);
}

#[tokio::test]
async fn a_course_log_without_times_is_read_too() {
    let world = World::new();
    let query = start(&world).await;
    let events = [
        json!({"type": "PostCreated", "data": {"id": "p1", "title": "T"}}),
        json!({"type": "CommentCreated", "data": {"id": "c1", "content": "hi", "postId": "p1", "status": "pending"}}),
        json!({"type": "CommentUpdated", "data": {"id": "c1", "content": "hi", "postId": "p1", "status": "approved"}}),
    ];
    for event in &events {
        assert_eq!(query.post("/events", event).await.ok(200), json!({}));
    }
    let post = &query.get("/posts").await.ok(200)["p1"];
    assert_eq!((&post["title"], &post["comments"][0]["content"]), (&json!("T"), &json!("hi")));
    assert_eq!(post["comments"][0]["status"], "approved");
}

/// All pages from the newest on.
async fn pages(query: &Running, limit: usize) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut path = format!("/posts?limit={limit}");
    loop {
        let page = query.get(&path).await.ok(200);
        pages.push(all(&page["items"], "id"));
        let Value::String(cursor) = &page["next"] else {
            assert_eq!(page["next"], Value::Null);
            return pages;
        };
        path = format!("/posts?limit={limit}&cursor={cursor}");
    }
}

#[tokio::test]
async fn pages_hold_every_post_once_newest_first() {
    let world = World::new();
    let query = start(&world).await;
    let empty = json!({"items": [], "next": null, "sequence": Sequence::START});
    assert_eq!(query.get("/posts?limit=5").await.ok(200), empty);
    // Seven of each moment, so that pages end among posts of the same one.
    let ids: Vec<String> = (0..45).map(|n| format!("p{n:02}")).collect();
    let events: Vec<Event> =
        ids.iter().enumerate().map(|(n, id)| post_created(id, "T", n as i64 / 7)).collect();
    deliver(&world, &query, 1, &events).await;
    let newest_first: Vec<Value> = ids.iter().rev().map(|id| json!(id)).collect();
    for limit in [1, 2, 3, 7, 9, 15, 44, 45, 46, 100] {
        let pages = pages(&query, limit).await;
        assert_eq!(pages.concat(), newest_first, "{limit}");
        assert_eq!(pages.len(), 45_usize.div_ceil(limit), "{limit}");
        assert!(pages[..pages.len() - 1].iter().all(|page| page.len() == limit));
    }

    // A new post while somebody reads on is no reason to repeat or leave out one.
    let first = query.get("/posts?limit=20").await.ok(200);
    deliver(&world, &query, 46, &[post_created("new", "T", 99)]).await;
    let next = first["next"].as_str().unwrap();
    let second = query.get(&format!("/posts?limit=20&cursor={next}")).await.ok(200);
    assert_eq!([all(&first["items"], "id"), all(&second["items"], "id")].concat(), newest_first[..40]);
    // With a cursor alone the pages have the usual length.
    let usual = query.get(&format!("/posts?cursor={next}")).await.ok(200);
    assert_eq!(usual, second);
}

#[tokio::test]
async fn a_page_shows_posts_with_an_excerpt_and_their_readable_comments_counted() {
    let world = World::new();
    let query = start(&world).await;
    let mut events = vec![long_post("p1", 1)];
    for (n, status) in [Status::Approved, Status::Approved, Status::Rejected].into_iter().enumerate() {
        events.extend(judged(&format!("c{n}"), "p1", "secret", 2, status));
    }
    events.push(comment_created("c9", "p1", "secret", 2));
    events.extend(judged("elsewhere", "p2", "secret", 2, Status::Approved));
    deliver(&world, &query, 1, &events).await;
    assert_eq!(
        query.get("/posts?limit=1").await.ok(200),
        json!({
            "items": [{
                "id": "p1", "title": "A title", "author": "Ada", "createdAt": at(1), "version": 1,
                "excerpt": "Heading Some bold text", "commentCount": 2
            }],
            "next": null, "sequence": Sequence::new(events.len() as i64)
        })
    );
}

#[tokio::test]
async fn limits_and_cursors_that_are_none() {
    let world = World::new();
    let query = start(&world).await;
    deliver(&world, &query, 1, &[post_created("p1", "T", 1)]).await;
    for limit in ["0", "101", "-1", "x", "", "1.5", "1e2", "18446744073709551616", "%00", "1&limit=2"] {
        query.get(&format!("/posts?limit={limit}")).await.problem(ProblemKind::BadRequest);
    }
    for cursor in
        ["", "x", "~", "5", "5~", "~p1", "x~p1", "5~a.b", "5~%27;--", "99999999999999999999~p1", "5~p1~p2"]
    {
        query.get(&format!("/posts?cursor={cursor}")).await.problem(ProblemKind::BadRequest);
    }
    for fine in ["limit=1", "limit=100", "cursor=0~p1", "cursor=9223372036854775807~p1", "limit=5&x=y"] {
        query.get(&format!("/posts?{fine}")).await.ok(200);
    }
    let stranger = query.get("/posts?x=y").await.ok(200);
    assert_eq!(stranger["p1"]["id"], "p1", "a parameter that nobody knows asks for nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_never_answered_from_before() {
    let world = World::new();
    let query = start(&world).await;
    let readers = async {
        // Others who read all the time keep filling the cache, also while a write commits.
        join_all((0..4).map(|_| async {
            for _ in 0..150 {
                query.get("/posts").await.ok(200);
            }
        }))
        .await
    };
    let writer = async {
        for n in 1..=60 {
            deliver(&world, &query, n, &[post_created(&format!("p{n}"), "T", n)]).await;
            let posts = query.get("/posts").await.ok(200);
            assert_eq!(posts.as_object().unwrap().len() as i64, n);
        }
    };
    tokio::join!(readers, writer);
    deliver(&world, &query, 61, &judged("c1", "p7", "hi", 1, Status::Approved)).await;
    assert_eq!(query.get("/posts").await.ok(200)["p7"]["comments"][0]["content"], "hi");
    deliver(&world, &query, 63, &[comment_updated("c1", "p7", "hi", Status::Approved)]).await;
    assert_eq!(query.get("/posts").await.ok(200)["p7"]["comments"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_short_list_has_a_length_and_a_long_one_is_sent_in_pieces() {
    let world = World::new();
    let query = start(&world).await;
    deliver(&world, &query, 1, &[post_created("p0001", "T", 1)]).await;
    let short = query.get("/posts").await;
    assert_eq!(short.header("content-length"), short.text().len().to_string());
    let posts: Vec<Event> = (2..=1_000).map(|n| post_created(&format!("p{n:04}"), "T", n)).collect();
    deliver(&world, &query, 2, &posts).await;
    let long = query.get("/posts").await;
    assert_eq!((long.header("content-type"), long.header("content-length")), ("application/json", ""));
    let ids: Vec<String> = long.ok(200).as_object().unwrap().keys().cloned().collect();
    assert_eq!(ids, (1..=1_000).map(|n| format!("p{n:04}")).collect::<Vec<_>>());
}
