//! The moderation service through its real router, with a real store and, where it matters, a real bus.

mod bad_input;
mod bus;
mod events;
mod queue;
mod rules;

use serde_json::{Value, json};
use shared::ServiceName;
use testkit::events::{comment_created, logged};
use testkit::{Reply, Running, World, get, post};

/// Rules that hold comments with links, and reject spam.
const RULES: &str = r#"{"rules":[
    {"id":"links","words":["https://"],"action":"hold","reason":"has a link"},
    {"id":"spam","words":["buy now"],"action":"reject","reason":"looks like spam"}
]}"#;

/// The service with the course's rule.
async fn start(world: &World) -> Running {
    let config = moderation::Config { peer: world.config(ServiceName::Moderation), rules: None };
    world.start(config, moderation::build).await
}

/// The settings with these rules in a file.
fn config_with(world: &World, rules: &str) -> moderation::Config {
    let path = world.data_dir(ServiceName::EventBus).with_extension("rules.json");
    std::fs::write(&path, rules).unwrap();
    moderation::Config { peer: world.config(ServiceName::Moderation), rules: Some(path) }
}

/// The service with [`RULES`].
async fn start_with_rules(world: &World) -> Running {
    world.start(config_with(world, RULES), moderation::build).await
}

/// Delivers a comment on the post `p1`; `n` is its place in the log, and names it: `c1`, `c2`, …
async fn comment(world: &World, moderation: &Running, n: i64, content: &str) {
    let event = comment_created(&format!("c{n}"), "p1", content, n);
    assert_eq!(moderation.deliver(world, &[logged(&event, n)]).await.ok(200), json!({}));
}

/// A person's verdict on a comment.
async fn decide(world: &World, moderation: &Running, id: &str, body: &Value) -> Reply {
    moderation.send(post(format!("/moderation/comments/{id}")).json(body).as_operator(world)).await
}

async fn queue(world: &World, moderation: &Running) -> Value {
    moderation.send(get("/moderation/queue").as_operator(world)).await.ok(200)
}

/// The events that the service has made and not yet brought to the bus.
fn outbox(world: &World) -> Vec<Value> {
    let rows = world.rows(ServiceName::Moderation, "SELECT envelope FROM outbox ORDER BY seq");
    let text = |row: &String| serde_json::from_str::<String>(row).unwrap_or_else(|_| panic!("{row}"));
    rows.iter().map(|row| serde_json::from_str(&text(row)).unwrap()).collect()
}
