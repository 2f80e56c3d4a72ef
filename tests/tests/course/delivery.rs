//! Events that the course's app loses, applies twice, or lets pile up.

use serde_json::Value;
use shared::ServiceName::{Comments, EventBus, Moderation, Posts, Query};
use std::time::Duration;
use system_tests::blog::{Blog, contents, statuses};
use system_tests::bus::{comment_created, post_created};
use system_tests::load::{Load, until_all_approved};
use system_tests::stack::listen;
use system_tests::{LIMIT, Setup, Stack, eventually, holds, processes};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

async fn posts(blog: &Blog, count: usize) -> Vec<String> {
    let mut posts = Vec::new();
    for n in 0..count {
        let post = blog.post(&format!("Post {n}")).await;
        blog.until_known(&post).await;
        posts.push(post);
    }
    posts
}

/// 1. A consumer paused for two seconds under load leaves comments `pending` for ever.
#[tokio::test]
async fn a_consumer_paused_under_load_leaves_no_comment_pending() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let load = Load::start(&blog, &posts(&blog, 8).await);
    for service in [Moderation, Query, Comments] {
        let paused = stack.pause(service);
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop(paused);
    }
    let written = load.end().await;
    assert!(written.len() > 100, "{} are no load", written.len());
    until_all_approved(&blog, &written).await;
}

/// 2. Moderation down for one event means that comment is never moderated.
#[tokio::test]
async fn a_comment_written_while_moderation_is_down_is_moderated_when_it_is_back() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let post = blog.post("Open for comments").await;
    stack.kill(Moderation).await;
    blog.comment(&post, "good").await;
    blog.comment(&post, "an orange").await;
    eventually(LIMIT, "readers see two pending comments", async || {
        holds(blog.read_post(&post).await, |p| statuses(&p["comments"]) == ["pending", "pending"])
    })
    .await;
    stack.start_service(Moderation).await;
    let post = blog.until_settled(&post, 2).await;
    assert_eq!(statuses(&post["comments"]), ["approved", "rejected"]);
}

/// 3. The bus forgets everything on restart; so does comments.
#[tokio::test]
async fn neither_the_bus_nor_comments_forgets_anything_on_restart() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let post = blog.post("To be remembered").await;
    for n in 0..5 {
        blog.comment(&post, &format!("comment {n}")).await;
    }
    blog.until_settled(&post, 5).await;
    let (log, comments) = (stack.log_bytes().await, blog.comments(&post).await);
    for service in [EventBus, Comments] {
        stack.kill(service).await;
        stack.start_service(service).await;
        assert_eq!(stack.log_bytes().await, log);
        assert_eq!(blog.comments(&post).await, comments);
        stack.restart(service).await;
        assert_eq!(stack.log_bytes().await, log);
        assert_eq!(blog.comments(&post).await, comments);
    }
    blog.comment(&post, "and one more").await;
    blog.until_settled(&post, 6).await;
}

/// 4. One comment on a post that does not exist stops replay there; later posts vanish behind a 200.
#[tokio::test]
async fn a_comment_on_a_post_that_does_not_exist_hides_no_later_post() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    blog.try_comment("nowhere", "lost").await.expect_problem(404);
    // An imported log may contain one.
    stack.publish(Comments, &comment_created("stray", "nowhere", "lost")).await;
    let later = blog.post("Later").await;
    blog.comment(&later, "still here").await;
    blog.until_settled(&later, 1).await;

    stack.kill(Query).await;
    stack.wipe(Query);
    stack.start_service(Query).await;
    let post = blog.until_settled(&later, 1).await;
    assert_eq!(contents(&post["comments"]), ["still here"]);
    let posts = blog.read().await;
    assert_eq!(posts.as_object().map(|all| all.keys().collect::<Vec<_>>()), Some(vec![&later]));

    // When the post arrives later, it has its comment.
    stack.publish(Posts, &post_created("nowhere", "It was somewhere")).await;
    let post = blog.until_settled("nowhere", 1).await;
    assert_eq!(contents(&post["comments"]), ["lost"]);
}

/// 5. Restarting query under load duplicates comments; a repeated `PostCreated` empties its comments.
#[tokio::test]
async fn restarting_query_under_load_duplicates_no_comment_and_empties_no_post() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    let posts = posts(&blog, 4).await;
    let load = Load::start(&blog, &posts);
    for _ in 0..3 {
        stack.crash(Query).await;
        eventually(LIMIT, "query answers again", async || blog.query.get("/posts").try_send().await).await;
    }
    stack.restart(Query).await;
    let written = load.end().await;
    until_all_approved(&blog, &written).await;

    let before = blog.read().await;
    for (n, post) in posts.iter().enumerate() {
        stack.publish(Posts, &post_created(post, &format!("Post {n}"))).await;
    }
    // A later post shows that the repetitions have been applied.
    let later = blog.post("Later").await;
    blog.until_known(&later).await;
    let mut after = blog.read().await;
    after.as_object_mut().expect("an object").remove(&later);
    let comments = |all: &Value| -> Vec<Value> { posts.iter().map(|p| all[p]["comments"].clone()).collect() };
    assert_eq!(comments(&after), comments(&before));
}

/// Accepts connections and never answers; reports how many are open.
async fn never_answers() -> (String, watch::Receiver<usize>) {
    let (listener, address) = listen().await;
    let (open, seen) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let open = open.clone();
            open.send_modify(|count| *count += 1);
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
                open.send_modify(|count| *count -= 1);
            });
        }
    });
    (address, seen)
}

/// 8. A consumer that accepts and never answers makes the bus leak sockets and memory.
#[tokio::test]
async fn a_consumer_that_never_answers_costs_the_bus_one_connection_and_the_others_nothing() {
    let (address, open) = never_answers().await;
    let setup = Setup::new().without(shared::ServiceName::Frontend);
    let stack = setup.with_env("SUBSCRIBE", &format!("mute=http://{address}/events")).start().await;
    let blog = stack.blog();
    let bus = stack.pid(EventBus).expect("the bus runs");
    let all = posts(&blog, 8).await;
    let (files, memory) = (processes::open_files(bus), processes::memory_kib(bus));

    let load = Load::start(&blog, &all);
    // When the bus begins another exchange, the first must be closed.
    eventually(LIMIT, "the bus has tried again", async || {
        holds(stack.subscription("mute").await, |row| row["attempts"].as_i64() >= Some(1))
    })
    .await;
    let written = load.end().await;
    assert!(written.len() > 300, "{} are no load", written.len());
    until_all_approved(&blog, &written).await;

    let (files_now, memory_now) = (processes::open_files(bus), processes::memory_kib(bus));
    assert!(*open.borrow() <= 1, "{} connections to one consumer", *open.borrow());
    assert!(files_now < files + 20, "{files} open files became {files_now}");
    assert!(memory_now < memory + 32 * 1024, "{memory} KiB became {memory_now} KiB");
    let row = stack.subscription("mute").await;
    assert!(row["lag"].as_u64() > Some(written.len() as u64), "its lag is the whole log: {row}");
}
