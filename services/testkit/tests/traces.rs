//! One trace from the click to the page: through every event that the click causes.

use kit::runtime::trace::{TRACEPARENT, TraceContext};
use serde_json::{Value, json};
use shared::ServiceName::{Comments, EventBus, Moderation, Posts, Query};
use std::collections::HashSet;
use testkit::{World, eventually, get, post};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn context(text: &str) -> TraceContext {
    text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

#[tokio::test]
async fn one_trace_leads_from_the_click_through_every_event_to_the_page() {
    let world = World::new();
    let bus = world.start_bus().await;
    let posts = world.start(world.config(Posts), posts::build).await;
    let comments = world.start(world.config(Comments), comments::build).await;
    let moderation = moderation::Config { peer: world.config(Moderation), rules: None };
    let _moderation = world.start(moderation, moderation::build).await;
    let query = world.start(world.config(Query).into(), query::build).await;
    let created = posts.post("/posts/create", &json!({"title": "T"})).await.ok(201);
    let id = created["id"].as_str().unwrap();
    query.becomes_ready().await;
    let mut page = query.open(get(format!("/live?post={id}"))).await;

    let click = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let comment = post(format!("/posts/{id}/comments")).json(&json!({"content": "hi"}));
    comments.send(comment.header(TRACEPARENT, &click)).await.ok(201);

    // The page is told of the comment when it is written, and when it is judged.
    let sequence = loop {
        let update = page.expect().await;
        let change: Value = serde_json::from_str(&update.data).unwrap_or_default();
        if change["comment"]["status"] == "approved" {
            break change["sequence"].as_str().unwrap().to_owned();
        }
    };
    let log = bus.get("/events").await.ok(200);
    let log = log.as_array().unwrap();
    let of_comment: Vec<_> = log.iter().filter(|event| event["type"] != "PostCreated").collect();
    let types: Vec<_> = of_comment.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["CommentCreated", "CommentModerated", "CommentUpdated"]);
    assert_eq!(of_comment[2]["sequence"], sequence.as_str(), "the update that reached the page");

    let traces: Vec<_> = of_comment.iter().map(|e| context(e["traceparent"].as_str().unwrap())).collect();
    assert!(traces.iter().all(|trace| trace.trace_id_hex() == TRACE), "{traces:?}");
    let mut steps: HashSet<_> = traces.iter().map(|trace| trace.parent_id).collect();
    steps.insert(context(&click).parent_id);
    assert_eq!(steps.len(), 4, "each hop is a step of its own: {traces:?}");

    // The requests between the services belong to the trace as well.
    let sent = |to, text: &'static str| {
        let sent = world.network.sent_to(to);
        let mut headers = sent.iter().filter(|s| String::from_utf8_lossy(&s.body).contains(text));
        headers.any(|s| {
            s.headers.get(TRACEPARENT).is_some_and(|h| context(h.to_str().unwrap()).trace_id_hex() == TRACE)
        })
    };
    let hops = [
        (EventBus, "CommentCreated"),
        (Moderation, "CommentCreated"),
        (EventBus, "CommentModerated"),
        (Comments, "CommentModerated"),
        (EventBus, "CommentUpdated"),
        (Query, "CommentUpdated"),
    ];
    for (to, event) in hops {
        let traced = async || sent(to, event).then_some(());
        eventually(&format!("{event} to {to} is traced"), traced).await;
    }
}
