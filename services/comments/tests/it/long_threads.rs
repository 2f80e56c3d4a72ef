//! Threads that are longer than one read.

use crate::{COMMENTS, add_post, say, start};
use futures_util::StreamExt;
use serde_json::{Value, json};
use shared::ServiceName;
use std::time::{Duration, Instant};
use testkit::{Running, World, get, post};

/// A service that knows the posts `p1`, with this many comments, and `empty`.
async fn with_thread(world: &World, count: usize) -> Running {
    let comments = start(world).await;
    for id in ["p1", "empty"] {
        add_post(&comments, id).await;
    }
    world.stop(comments).await;
    let sql = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
         INSERT INTO comments (id, post_id, content, author, author_key, created_at, status, reason, version)
         SELECT 'c' || n, 'p1', 'Comment ' || n, 'Ada', 'key', 1000 * n,
             CASE n % 3 WHEN 0 THEN 'pending' WHEN 1 THEN 'approved' ELSE 'rejected' END, NULL, 2
         FROM numbers"
    );
    world.execute(ServiceName::Comments, &sql);
    start(world).await
}

/// The comment number `n` of [`with_thread`] as everybody sees it.
fn seeded(n: usize) -> Value {
    let (status, content, author) = match n % 3 {
        0 => ("pending", String::new(), Some("Ada")),
        1 => ("approved", format!("Comment {n}"), Some("Ada")),
        _ => ("rejected", String::new(), None),
    };
    let created_at = shared::Timestamp::from_unix_ms(1_000 * i64::try_from(n).unwrap()).to_string();
    let mut view = json!({"id": format!("c{n}"), "content": content, "status": status, "createdAt": created_at, "version": 2});
    if let Some(author) = author {
        view["author"] = author.into();
    }
    view
}

#[tokio::test]
async fn a_long_thread_comes_in_pieces_and_is_whole() {
    const COUNT: usize = 2_000;
    let world = World::new();
    let comments = with_thread(&world, COUNT).await;
    let expected: Vec<_> = (1..=COUNT).map(seeded).collect();
    let pieces = comments.chunks(get(COMMENTS)).await;
    assert!(pieces.len() > 5 && pieces.iter().all(|piece| piece.len() < 100_000), "{}", pieces.len());
    assert_eq!(serde_json::from_slice::<Value>(&pieces.concat()).unwrap(), json!(expected));

    let reply = comments.send(say("the last")).await;
    let answered = reply.ok(201);
    let answered = answered.as_array().unwrap();
    assert_eq!((&answered[..COUNT], &answered[COUNT]["content"]), (&expected[..], &json!("the last")));
    assert_eq!(reply.headers.get("content-length"), None);
}

#[tokio::test]
async fn a_thread_that_cannot_be_read_to_its_end_is_cut_off() {
    let world = World::new();
    let comments = with_thread(&world, 2_000).await;
    world.execute(ServiceName::Comments, "UPDATE comments SET status = 'broken' WHERE id = 'c1000'");
    let came: Vec<_> = comments.stream(get(COMMENTS)).await.collect().await;
    assert!(came.last().unwrap().is_err());
    let text = came.into_iter().flatten().collect::<Vec<_>>().concat();
    assert!(text.starts_with(b"[{"));
    serde_json::from_slice::<Value>(&text).unwrap_err();
}

/// Comments are stored while the list is read: it ends with what was there when it began.
#[tokio::test]
async fn a_thread_that_grows_while_it_is_read_comes_to_an_end() {
    let world = World::new();
    let comments = with_thread(&world, 1_000).await;
    let mut stream = comments.stream(get(COMMENTS)).await;
    let mut text = stream.next().await.unwrap().unwrap().to_vec();
    comments.send(say("later")).await.ok(201);
    while let Some(piece) = stream.next().await {
        text.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(serde_json::from_slice::<Vec<Value>>(&text).unwrap().len(), 1_000);
}

#[tokio::test]
async fn a_new_comment_costs_as_much_on_a_long_thread_as_on_an_empty_one() {
    let world = World::new();
    let comments = with_thread(&world, 20_000).await;
    let fastest = async |post_id: &str| {
        let mut fastest = Duration::MAX;
        for n in 0..20 {
            let ask = post(format!("/posts/{post_id}/comments"))
                .json(&json!({"content": "new"}))
                .header("prefer", "return=minimal")
                .header("idempotency-key", format!("{post_id} {n}"));
            let begun = Instant::now();
            comments.send(ask).await.ok(201);
            fastest = fastest.min(begun.elapsed());
        }
        fastest
    };
    let (on_empty, on_long) = (fastest("empty").await, fastest("p1").await);
    assert!(
        on_long < 5 * on_empty + Duration::from_millis(5),
        "{on_long:?}, and {on_empty:?} on an empty thread"
    );
}

#[tokio::test]
async fn what_is_stored_with_a_key_does_not_grow_with_the_thread() {
    let world = World::new();
    let comments = start(&world).await;
    add_post(&comments, "p1").await;
    for n in 0..50 {
        comments.send(say("pending").header("idempotency-key", format!("key {n:02}"))).await.ok(201);
    }
    let sizes = world.rows(ServiceName::Comments, "SELECT DISTINCT length(answer) FROM idempotency");
    assert_eq!(sizes, [json!({"id": "01935b7e-8f3a-7c1d-9b2e-5a6f7c8d9e0f"}).to_string().len().to_string()]);
}
