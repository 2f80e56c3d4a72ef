//! A service that is down misses nothing, and the others keep working.

use serde_json::json;
use shared::ServiceName::{self, Comments, EventBus, Moderation, Posts, Query};
use system_tests::blog::{contents, id_of, statuses};
use system_tests::load::{Load, until_all_approved};
use system_tests::{LIMIT, Stack, eventually, holds};

#[tokio::test]
async fn a_service_that_was_down_catches_up() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let first = blog.post("Before").await;
    blog.until_known(&first).await;

    stack.kill(Query).await;
    let missed = blog.post("Query missed it").await;
    blog.comment(&missed, "and this").await;
    stack.start_service(Query).await;
    blog.until_settled(&missed, 1).await;

    stack.kill(Moderation).await;
    blog.comment(&first, "nobody judges").await;
    stack.start_service(Moderation).await;
    blog.until_settled(&first, 1).await;

    stack.kill(Comments).await;
    let unseen = blog.post("Comments missed it").await;
    stack.start_service(Comments).await;
    blog.comment(&unseen, "known now").await;
    blog.until_settled(&unseen, 1).await;

    stack.kill(Posts).await;
    blog.comment(&first, "posts is not needed for this").await;
    blog.until_settled(&first, 2).await;
    stack.start_service(Posts).await;
    let known = stack.at(Posts).get("/posts").send().await.expect(200).json();
    assert_eq!(known.as_object().map(serde_json::Map::len), Some(3));
    for service in ServiceName::PEERS {
        stack.until_caught_up(service).await;
    }
}

#[tokio::test]
async fn a_bus_that_was_restarted_goes_on_where_it_was() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let post = blog.post("Before").await;
    blog.until_known(&post).await;
    let log = stack.log_bytes().await;
    stack.until_caught_up(Comments).await;
    stack.crash(EventBus).await;
    blog.comment(&post, "after a crash").await;
    blog.until_settled(&post, 1).await;
    stack.restart(EventBus).await;
    blog.comment(&post, "after a restart").await;
    blog.until_settled(&post, 2).await;
    assert!(stack.log_bytes().await.starts_with(log.trim_end_matches(']')));
    assert_eq!(stack.log().await.len(), 1 + 3 + 3, "nothing twice");
}

#[tokio::test]
async fn posts_and_comments_keep_accepting_while_the_bus_is_down_and_all_arrives() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let old = blog.post("Before").await;
    blog.until_known(&old).await;
    // Comments must know the post, too, before the bus is down.
    stack.until_caught_up(Comments).await;
    stack.kill(EventBus).await;
    let mut posts = Vec::new();
    for n in 0..20 {
        posts.push(blog.post(&format!("While it was down {n}")).await);
        blog.comment(&old, &format!("comment {n}")).await;
    }
    stack.start_service(EventBus).await;
    for post in &posts {
        blog.until_known(post).await;
    }
    let old = blog.until_settled(&old, 20).await;
    let expected: Vec<_> = (0..20).map(|n| format!("comment {n}")).collect();
    assert_eq!(contents(&old["comments"]), expected, "in the order in which they were written");
    assert_eq!(stack.log().await.len(), 1 + 20 + 3 * 20, "nothing twice");
}

#[tokio::test]
async fn acknowledged_writes_are_there_after_kill_9_of_every_process() {
    let mut stack = Stack::services().await;
    let blog = stack.blog();
    let mut posts = Vec::new();
    for n in 0..4 {
        posts.push(blog.post(&format!("Post {n}")).await);
        blog.until_known(&posts[n]).await;
    }
    let load = Load::start(&blog, &posts);
    eventually(LIMIT, "the writers are busy", async || {
        holds(stack.log().await.len(), |events| *events > 200)
    })
    .await;
    // Acknowledged, and probably not yet published.
    let last = blog.post("The last one").await;
    stack.kill_everything().await;
    let written = load.end().await;
    assert!(written.len() > 50, "{} are no load", written.len());

    stack.up().await;
    let blog = stack.blog();
    blog.until_known(&last).await;
    until_all_approved(&blog, &written).await;
    blog.comment(&last, "and on it goes").await;
    blog.until_settled(&last, 1).await;
}

#[tokio::test]
async fn a_repeated_request_is_one_creation_even_across_a_kill_9() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let create = async |title: &str| {
        let request = blog.posts.post("/posts/create").header("idempotency-key", "post-key");
        request.json(&json!({ "title": title })).send().await
    };
    let first = create("Once").await.expect(201);
    let post = id_of(&first.json());
    let location = first.header("location").to_owned();
    blog.until_known(&post).await;
    let comment = async |content: &str| {
        let request = blog.comments.post(&format!("/posts/{post}/comments")).header("idempotency-key", "key");
        request.json(&json!({ "content": content })).send().await
    };
    let said = comment("Once").await.expect(201);
    blog.until_settled(&post, 1).await;
    for service in [Posts, Comments] {
        stack.kill(service).await;
        stack.start_service(service).await;
    }
    let again = create("Once").await.expect(201);
    assert_eq!((again.text(), again.header("location")), (first.text(), location.as_str()));
    assert_eq!(statuses(&comment("Once").await.expect(201).json()), statuses(&said.json()));
    create("Something else").await.expect_problem(422);
    comment("Something else").await.expect_problem(422);
    assert_eq!(stack.log().await.len(), 1 + 3);
}

#[tokio::test]
async fn the_page_is_read_while_posts_comments_moderation_and_the_bus_are_down() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("Always readable").await;
    blog.comment(&post, "always there").await;
    blog.until_settled(&post, 1).await;
    for service in [Posts, Comments, Moderation, EventBus] {
        stack.kill(service).await;
    }
    let page = stack.front_door().get("/").send().await.expect(200).text();
    assert!(page.contains("Always readable"), "{page}");
    let page = stack.front_door().get(&format!("/p/{post}")).send().await.expect(200).text();
    assert!(page.contains("Always readable") && page.contains("always there"), "{page}");
    assert_eq!(contents(&blog.read_post(&post).await["comments"]), ["always there"]);
    let answer = blog.posts.post("/posts/create").json(&json!({ "title": "x" })).send().await;
    answer.expect_problem(503);
    blog.try_comment(&post, "x").await.expect_problem(503);
}

/// Microsoft's eShop reference application never publishes an outbox row if its process died before publishing it.
#[tokio::test]
async fn an_event_whose_service_was_killed_between_commit_and_publication_is_published_after_its_start() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let post = blog.post("Before").await;
    blog.until_known(&post).await;
    stack.until_caught_up(Comments).await;
    stack.kill(EventBus).await;
    let comment = blog.comment(&post, "committed, not published").await;
    let late = blog.post("Committed as well").await;
    // SIGKILL: neither can publish anything.
    stack.kill(Comments).await;
    stack.kill(Posts).await;
    stack.start_service(EventBus).await;
    let held = |id: &str, log: &[serde_json::Value]| log.iter().filter(|e| e["data"]["id"] == id).count();
    let log = stack.log().await;
    assert_eq!((held(&comment, &log), held(&late, &log)), (0, 0), "it is only in the outbox");
    // From here on the two services receive no request.
    stack.start_service(Comments).await;
    stack.start_service(Posts).await;
    eventually(LIMIT, "both are in the log, and their effects", async || {
        // Created, judged, updated.
        holds(stack.log().await, |log| (held(&comment, log), held(&late, log)) == (3, 1))
    })
    .await;
    blog.until_known(&late).await;
    blog.until_settled(&post, 1).await;
}
