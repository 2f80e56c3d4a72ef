//! `POST /posts/{id}/comments`.

use crate::{COMMENTS, add_post, last, moderate, outbox, say, seen_by, start};
use serde_json::json;
use shared::{ProblemKind, ServiceName};
use std::time::{Duration, Instant};
use testkit::{World, in_time, post};

#[tokio::test]
async fn the_course_client_gets_the_whole_array_with_the_new_one_last() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let reply = comments.send(say(" first ")).await;
    let first = last(&reply);
    let id = first["id"].as_str().unwrap();
    let stamp = "2027-01-15T08:00:00.000Z";
    assert_eq!(
        reply.ok(201),
        json!([{"id": id, "content": "first", "status": "pending", "createdAt": stamp, "version": 1, "mine": true}])
    );
    assert_eq!(reply.header("location"), format!("{COMMENTS}#{id}"));

    // Later ones come after it, also where the clock goes back.
    world.clock.advance_ms(-5_000);
    let named = post(COMMENTS).json(&json!({"content": "second", "author": "Ada"}));
    let second = comments.send(named).await;
    assert_eq!(second.ok(201)[0]["id"], first["id"]);
    assert_eq!(second.ok(201)[1]["author"], "Ada");
    let third = comments.send(say("third")).await;
    let ids: Vec<_> = third.ok(201).as_array().unwrap().iter().map(|c| c["id"].clone()).collect();
    assert_eq!(ids, [first["id"].clone(), last(&second)["id"].clone(), last(&third)["id"].clone()]);
    let listed = seen_by(&comments, None).await;
    assert!(ids.iter().enumerate().all(|(at, id)| listed[at]["id"] == *id), "{listed}");
    assert_eq!(listed.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn each_post_has_its_own_comments() {
    let world = World::new();
    let comments = start(&world).await;
    for post_id in ["p1", "p2", "__proto__"] {
        add_post(&comments, post_id).await;
    }
    comments.send(say("on the first")).await.ok(201);
    for id in ["p2", "__proto__"] {
        let path = format!("/posts/{id}/comments");
        assert_eq!(comments.get(&path).await.ok(200), json!([]));
        let reply = comments.post(&path, &json!({"content": "x"})).await;
        assert_eq!(reply.ok(201).as_array().unwrap().len(), 1);
        assert!(reply.header("location").starts_with(&path));
    }
}

#[tokio::test]
async fn only_a_new_writer_is_given_a_cookie() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let first = comments.send(say("hi")).await;
    let cookie = first.cookie().unwrap();
    let set = first.header("set-cookie");
    for part in ["author=", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age="] {
        assert!(set.contains(part), "{set}");
    }
    for known in [cookie.clone(), format!("theme=dark; {cookie}; x=y")] {
        let again = comments.send(say("hi again").cookie(&known)).await;
        assert_eq!((again.status, again.cookie()), (201, None));
        assert_eq!(again.ok(201)[0]["mine"], true, "and is known by it");
    }
    for broken in ["author=", "author=x", "author=<script>", "author=0123", "Author"] {
        let reply = comments.send(say("hi").cookie(broken)).await;
        assert!(reply.cookie().is_some_and(|new| new != cookie), "{broken}");
        assert_eq!(reply.ok(201)[0].get("mine"), None);
    }
    assert_eq!(comments.get(COMMENTS).await.cookie(), None, "who reads is not tracked");
}

#[tokio::test]
async fn on_an_https_site_the_cookie_is_secure() {
    let world = World::new();
    let mut config = world.config(ServiceName::Comments);
    config.store.common.site_url = Some("https://blog.example".parse().unwrap());
    let comments = world.start(config, comments::build).await;
    add_post(&comments, "p1").await;
    // Another host of the domain may have set this one.
    let planted = "author=0123456789abcdef0123456789abcdef";
    let first = comments.send(say("hi").cookie(planted)).await;
    let set = first.header("set-cookie");
    assert!(set.starts_with("__Host-author=") && set.ends_with("; Secure"), "{set}");
    assert!(!set.contains("0123456789abcdef"), "{set}");
    assert_eq!(seen_by(&comments, Some(planted)).await[0]["content"], "", "pending text is not theirs");
    let again = comments.send(say("hi again").cookie(&first.cookie().unwrap())).await;
    assert_eq!((again.ok(201)[0]["mine"].clone(), again.cookie()), (true.into(), None));
}

#[tokio::test]
async fn the_token_and_its_fingerprint_are_never_shown() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let reply = comments.send(say("hi")).await;
    let cookie = reply.cookie().unwrap();
    let token = cookie.strip_prefix("author=").unwrap();
    let events = outbox(&world);
    let key = events[0]["data"]["authorKey"].as_str().unwrap();
    assert_eq!(key.len(), 32);
    let read = seen_by(&comments, Some(&cookie)).await.to_string();
    for shown in [reply.text(), &read] {
        assert!(!shown.contains(token) && !shown.contains(key), "{shown}");
    }
    assert!(!world.dump(ServiceName::Comments).contains(token), "the token is not stored");
}

#[tokio::test]
async fn a_comment_is_on_disk_with_its_event_before_it_is_answered() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let ask = post(COMMENTS).json(&json!({"content": "hi", "author": "Ada"})).header("traceparent", trace);
    let new = last(&comments.send(ask).await);
    let [event] = &outbox(&world)[..] else { panic!("one event") };
    let same_trace = event["traceparent"].as_str().unwrap();
    assert!(same_trace.starts_with(&trace[..36]), "{same_trace}");
    assert_eq!(
        *event,
        json!({
            "specversion": "1.0", "id": event["id"], "source": "/comments", "type": "CommentCreated",
            "subject": "p1", "time": new["createdAt"], "datacontenttype": "application/json",
            "dataschema": "/schemas/CommentCreated/1", "partitionkey": "p1", "correlationid": event["id"],
            "traceparent": same_trace,
            "data": {
                "id": new["id"], "content": "hi", "postId": "p1", "status": "pending", "author": "Ada",
                "authorKey": event["data"]["authorKey"], "createdAt": new["createdAt"], "version": 1
            }
        })
    );
    world.stop(comments).await;
    let comments = start(&world).await;
    assert_eq!(seen_by(&comments, None).await[0]["id"], new["id"]);
}

#[tokio::test]
async fn a_comment_waits_for_a_post_that_is_on_its_way() {
    let world = World::new();
    let comments = start(&world).await;
    let waiting = comments.send(say("early"));
    tokio::pin!(waiting);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "it waits for the post");
    add_post(&comments, "other").await;
    add_post(&comments, "p1").await;
    let reply = in_time("the comment", waiting).await;
    assert_eq!(last(&reply)["content"], "early");
}

#[tokio::test]
async fn a_comment_on_an_unknown_post_is_refused_after_a_second() {
    let world = World::new();
    let comments = start(&world).await;
    let before = world.dump(ServiceName::Comments);
    let begun = Instant::now();
    let unknown = ["p1", "__proto__", "constructor", "%5F%5Fproto%5F%5F"];
    let asks =
        unknown.map(|id| comments.send(post(format!("/posts/{id}/comments")).json(&json!({"content": "x"}))));
    for reply in futures_util::future::join_all(asks).await {
        assert_eq!(reply.problem(ProblemKind::NotFound).detail.as_deref(), Some("there is no such post"));
        assert_eq!(reply.cookie(), None);
    }
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

    // What can be no id is unknown at once: all of these together take less than if each waited.
    let begun = Instant::now();
    let no_ids = ["a.b", "%00", "%2e%2e", "a%20b", "%F0%9F%A6%80", &"x".repeat(65), &"x".repeat(30_000)];
    for id in no_ids {
        let ask = post(format!("/posts/{id}/comments")).json(&json!({"content": "x"}));
        comments.send(ask).await.problem(ProblemKind::NotFound);
    }
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(world.dump(ServiceName::Comments), before);
}

#[tokio::test]
async fn the_array_shows_each_comment_as_its_reader_may_see_it() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let ada = comments.send(say("from Ada")).await;
    let ada_cookie = ada.cookie().unwrap();
    let bob = comments.send(say("from Bob")).await;
    assert_eq!(bob.ok(201)[0]["content"], "", "hers is pending, and not his");
    assert_eq!(bob.ok(201)[1]["content"], "from Bob");
    moderate(&comments, &last(&bob)["id"], "approved").await;
    let again = comments.send(say("more").cookie(&ada_cookie)).await.ok(201);
    let texts: Vec<_> = again.as_array().unwrap().iter().map(|c| c["content"].as_str().unwrap()).collect();
    assert_eq!(texts, ["from Ada", "from Bob", "more"]);
}

#[tokio::test]
async fn text_is_stored_in_one_unicode_form_whatever_the_keyboard_sends() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    let decomposed = json!({"content": "Gru\u{308}\u{df}e", "author": "a\u{30a}"});
    let new = last(&comments.send(post(COMMENTS).json(&decomposed)).await);
    assert_eq!((&new["content"], &new["author"]), (&json!("Gr\u{fc}\u{df}e"), &json!("\u{e5}")));
}
