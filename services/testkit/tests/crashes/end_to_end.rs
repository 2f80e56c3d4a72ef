//! The whole system, while each of its processes dies in turn, before and after its commits.

use crate::process::System;
use serde_json::{Value, json};
use shared::ServiceName::{self, Comments, EventBus, Moderation, Posts, Query};
use std::collections::BTreeMap;
use testkit::eventually;

const ALL: [ServiceName; 5] = [EventBus, Posts, Comments, Moderation, Query];

/// Repeats a request until it is accepted, as a client without an answer does.
async fn insist(system: &System, name: ServiceName, path: &str, key: &str, body: &Value) -> Option<Value> {
    let answer = system.post(name, path, Some(key), body).await?;
    (answer.status == 201).then_some(answer.body)
}

/// Writes a post with a comment, and starts the victim again when it has died.
async fn write(system: &mut System, victim: ServiceName, round: usize) {
    let mut post = None;
    let mut commented = false;
    let mut died = false;
    eventually("both are accepted, and the victim has died", async || {
        if !died && system.has_died(victim) {
            system.dies(victim).await;
            system.start(victim).await;
            died = true;
        }
        if post.is_none() {
            let body = json!({"title": format!("post {round}")});
            post = insist(system, Posts, "/posts/create", &format!("post-{round}"), &body).await;
        }
        if let Some(post) = &post
            && !commented
        {
            let path = format!("/posts/{}/comments", post["id"].as_str().expect("an id"));
            let body = json!({"content": "nice"});
            commented = insist(system, Comments, &path, &format!("comment-{round}"), &body).await.is_some();
        }
        (commented && died).then_some(())
    })
    .await;
}

#[tokio::test]
async fn whichever_process_dies_around_its_commits_every_write_takes_effect_once() {
    let mut system = System::new();
    for name in ALL {
        system.start(name).await;
    }
    let subscribed = "SELECT count(*) FROM subscriptions";
    eventually("the bus knows all four", async || (system.number(EventBus, subscribed) == 4).then_some(()))
        .await;
    let mut rounds = 0;
    for victim in ALL {
        for at in ["before-commit", "after-commit:2"] {
            system.kill(victim);
            system.start_to_die(victim, at).await;
            write(&mut system, victim, rounds).await;
            rounds += 1;
        }
    }
    let is_settled = |posts: &Value| {
        let posts = posts.as_object().expect("posts");
        posts.len() == rounds
            && posts.values().all(|post| {
                post["comments"].as_array().is_some_and(|all| {
                    all.len() == 1 && all[0]["status"] == "approved" && all[0]["content"] == "nice"
                })
            })
    };
    eventually("every comment is approved", async || {
        is_settled(&system.get(Query, "/posts").await).then_some(())
    })
    .await;
    let mut counts = BTreeMap::new();
    for event in system.log().await {
        *counts.entry(event["type"].to_string()).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 4, "{counts:?}");
    assert!(counts.values().all(|count| *count == rounds), "nothing lost, nothing doubled: {counts:?}");
}
