//! A lost store is restored from the log.

use serde_json::{Value, json};
use shared::ServiceName::{self, Comments, EventBus, Frontend, Moderation, Posts, Query};
use std::collections::BTreeMap;
use system_tests::blog::{Blog, id_of, statuses};
use system_tests::{LIMIT, Setup, Stack, eventually, holds};

/// Three posts, with and without comments, approved and rejected.
async fn some_history(blog: &Blog) -> Vec<String> {
    let mut posts = Vec::new();
    for n in 0..3 {
        let body = json!({ "title": format!("Post {n}"), "body": "*words*", "author": "Ada" });
        let post = id_of(&blog.posts.post("/posts/create").json(&body).send().await.expect(201).json());
        for comment in 0..n {
            blog.comment(&post, &format!("comment {comment}")).await;
            blog.comment(&post, &format!("orange {comment}")).await;
        }
        blog.until_known(&post).await;
        blog.until_settled(&post, 2 * n).await;
        posts.push(post);
    }
    posts
}

/// Everything that the services answer about their state.
#[derive(Debug, PartialEq)]
struct State {
    posts: String,
    comments: BTreeMap<String, String>,
    query: String,
    read_model: String,
    log: String,
}

impl State {
    async fn take(stack: &Stack, posts: &[String]) -> Self {
        let read = async |service, path: &str| stack.at(service).get(path).send().await.expect(200).text();
        let mut comments = BTreeMap::new();
        for post in posts {
            comments.insert(post.clone(), read(Comments, &format!("/posts/{post}/comments")).await);
        }
        Self {
            posts: read(Posts, "/posts").await,
            comments,
            query: read(Query, "/posts").await,
            read_model: stack.operator_get(Query, "/read-model").await.expect(200).text(),
            log: stack.log_bytes().await,
        }
    }
}

/// A service that has lost its store restores everything from the log, and adds nothing to it.
async fn rebuilds(service: ServiceName) {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let posts = some_history(&blog).await;
    stack.until_caught_up(service).await;
    stack.until_caught_up(Comments).await;
    let before = State::take(&stack, &posts).await;

    stack.kill(service).await;
    stack.wipe(service);
    stack.start_service(service).await;
    eventually(LIMIT, "its state is restored", async || {
        holds(State::take(&stack, &posts).await, |now| *now == before)
    })
    .await;

    // It continues, and does not publish again what it had published before.
    let post = blog.post("After the loss").await;
    blog.comment(&post, "goes on").await;
    blog.comment(&posts[0], "an old post as well").await;
    blog.until_settled(&post, 1).await;
    blog.until_settled(&posts[0], 1).await;
    stack.until_caught_up(Query).await;
    let log = stack.log_bytes().await;
    assert!(log.starts_with(before.log.trim_end_matches(']')), "the log has only grown");
    let old: Vec<Value> = serde_json::from_str(&before.log).expect("events");
    assert_eq!(stack.log().await.len(), old.len() + 1 + 3 + 3, "one post, two comments, and nothing twice");
}

#[tokio::test]
async fn posts_rebuilds_a_lost_store() {
    rebuilds(Posts).await;
}

#[tokio::test]
async fn comments_rebuilds_a_lost_store() {
    rebuilds(Comments).await;
}

#[tokio::test]
async fn moderation_rebuilds_a_lost_store() {
    rebuilds(Moderation).await;
}

#[tokio::test]
async fn query_rebuilds_a_lost_store_to_the_byte() {
    rebuilds(Query).await;
}

#[tokio::test]
async fn a_store_restored_from_an_old_backup_asks_for_what_it_lacks() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let post = blog.post("Before the backup").await;
    blog.comment(&post, "saved").await;
    blog.until_settled(&post, 1).await;
    let services = [Posts, Comments, Moderation, Query];
    let mut backups = Vec::new();
    for service in services {
        stack.kill(service).await;
        backups.push(stack.back_up(service));
        stack.start_service(service).await;
    }
    let mut posts = some_history(&blog).await;
    posts.push(post.clone());
    blog.comment(&post, "not saved").await;
    blog.until_settled(&post, 2).await;
    for service in services {
        stack.until_caught_up(service).await;
    }
    let before = State::take(&stack, &posts).await;
    for (service, backup) in services.into_iter().zip(&backups) {
        stack.kill(service).await;
        stack.restore(service, backup);
        stack.start_service(service).await;
        eventually(LIMIT, &format!("the state of {service} is restored"), async || {
            holds(State::take(&stack, &posts).await, |now| *now == before)
        })
        .await;
    }
    blog.comment(&post, "after it all").await;
    blog.until_settled(&post, 3).await;
    let old: Vec<Value> = serde_json::from_str(&before.log).expect("events");
    assert_eq!(stack.log().await.len(), old.len() + 3, "one comment, and nothing twice");
}

#[tokio::test]
async fn a_comment_that_a_rule_holds_waits_for_a_person() {
    let rules = r#"{"rules":[{"id":"links","words":["http://"],"action":"hold","reason":"has a link"}]}"#;
    let stack = Setup::new().without(Frontend).with_file("RULES", rules).start().await;
    let blog = stack.blog();
    let post = blog.post("Moderated").await;
    let held = blog.comment(&post, "see http://example.com").await;
    blog.comment(&post, "no link").await;
    let queue = eventually(LIMIT, "it is held for a person", async || {
        let queue = stack.operator_get(Moderation, "/moderation/queue").await.expect(200).json();
        holds(queue, |queue| queue[0]["comment"]["id"] == held.as_str())
    })
    .await;
    assert_eq!(queue.as_array().map(Vec::len), Some(1), "{queue}");
    // A held comment survives a lost store.
    stack.kill(Moderation).await;
    stack.wipe(Moderation);
    stack.start_service(Moderation).await;
    let decision = format!("/moderation/comments/{held}");
    let verdict = json!({ "status": "rejected", "reason": "advertises" });
    stack.at(Moderation).post(&decision).json(&verdict).send().await.expect_problem(401);
    eventually(LIMIT, "it is held again, and decided", async || {
        let token = stack.secret("OPERATOR_TOKEN");
        let answer = stack.at(Moderation).post(&decision).token(&token).json(&verdict).send().await;
        holds(answer, |answer| answer.status == 204)
    })
    .await;
    let settled = blog.until_settled(&post, 2).await;
    assert_eq!(statuses(&settled["comments"]), ["rejected", "approved"]);
    assert_eq!(settled["comments"][0]["reason"], "advertises");
}

#[tokio::test]
async fn a_log_that_lost_its_tail_is_reported_and_nothing_is_delivered() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let posts = some_history(&blog).await;
    stack.until_caught_up(Query).await;
    let before = stack.operator_get(Query, "/read-model").await.expect(200).text();

    stack.kill(EventBus).await;
    stack.wipe(EventBus);
    stack.start_service(EventBus).await;
    // It notices at its start or, while it runs, at its next registration.
    stack.crash(Query).await;
    let readiness = async || stack.admin(Query).get("/readyz").try_send().await;
    let problem = eventually(LIMIT, "query is not ready", async || {
        holds(readiness().await?, |answer| answer.status == 503 && answer.text().contains("lost"))
    })
    .await
    .expect_problem(503);
    assert!(
        problem["detail"].as_str().is_some_and(|why| why.contains("the bus has lost events")),
        "{problem}"
    );
    let why = stack.not_ready(Query).await;
    assert!(why.as_ref().is_some_and(|why| why.contains("the bus has lost events")), "{why:?}");
    eventually(LIMIT, "the bus logs it", async || {
        holds(stack.output(), |output| output.contains("the log has lost its tail"))
    })
    .await;

    // The new log grows beyond query's cursor, with other events.
    let seen = before.lines().count();
    for n in 0..10 * seen {
        blog.post(&format!("After the loss {n}")).await;
    }
    eventually(LIMIT, "they are in the new log", async || {
        holds(stack.log().await.len(), |events| *events >= 10 * seen)
    })
    .await;
    stack.crash(Query).await;
    eventually(LIMIT, "query has noticed again", async || {
        holds(readiness().await?, |answer| answer.status == 503 && answer.text().contains("lost"))
    })
    .await;
    assert!(readiness().await.is_ok_and(|answer| answer.status == 503));
    assert_eq!(stack.operator_get(Query, "/read-model").await.expect(200).text(), before);
    let page = blog.read().await;
    assert_eq!(page.as_object().map(serde_json::Map::len), Some(posts.len()), "readers see the old state");
}
