//! The course's client and its students' scripts work unchanged.

use serde_json::json;
use shared::ServiceName::{Comments, Moderation, Posts, Query};
use system_tests::Stack;
use system_tests::blog::{Blog, contents, id_of, statuses};
use system_tests::bus::{comment_created, post_created, signed};
use system_tests::signature::Direction;

/// Does what the course's client and its students' scripts do, in their order.
async fn use_as_the_course_does(blog: &Blog) {
    let created =
        blog.posts.post("/posts/create").json(&json!({ "title": "First" })).send().await.expect(201);
    assert_eq!(created.header("content-type"), "application/json");
    let post = created.json();
    assert_eq!(post["title"], "First");
    let id = id_of(&post);
    let second = blog.post("Second").await;
    blog.until_known(&second).await;

    let answer = blog.try_comment(&id, "Nice").await.expect(201).json();
    assert_eq!((statuses(&answer), contents(&answer)), (vec!["pending"], vec!["Nice"]));
    let answer = blog.try_comment(&id, "I like orange").await.expect(201).json();
    let all = answer.as_array().expect("the whole array");
    assert_eq!(all.len(), 2);
    assert_eq!((&all[1]["content"], &all[1]["status"]), (&json!("I like orange"), &json!("pending")));
    blog.until_settled(&id, 2).await;

    let posts = blog.read().await;
    let entry = &posts[&id];
    assert_eq!((&entry["id"], &entry["title"]), (&json!(id), &json!("First")));
    assert_eq!(statuses(&entry["comments"]), ["approved", "rejected"]);
    assert_eq!(contents(&entry["comments"]), ["Nice", ""], "rejected text is not public");
    assert_eq!(posts[&second]["comments"], json!([]));
    let text = blog.query.get("/posts").send().await.text();
    assert!(text.find(&id) < text.find(&second), "oldest post first: {text}");
}

#[tokio::test]
async fn the_courses_client_works_unchanged_with_each_service() {
    let stack = Stack::services().await;
    let blog = stack.blog();
    use_as_the_course_does(&blog).await;

    let known = stack.at(Posts).get("/posts").send().await.expect(200).json();
    let (id, post) = known.as_object().and_then(|all| all.iter().next()).expect("an object keyed by id");
    assert_eq!((&post["id"], &post["title"]), (&json!(id), &json!("First")));
    let comments = blog.comments(id).await;
    assert_eq!(statuses(&comments), ["approved", "rejected"]);
    assert_eq!(blog.comments("nobody-knows-it").await, json!([]));

    let types: Vec<_> = stack.log().await.iter().map(|event| event["type"].clone()).collect();
    let count = |kind| types.iter().filter(|t| *t == kind).count();
    assert_eq!(
        ["PostCreated", "CommentCreated", "CommentModerated", "CommentUpdated"].map(count),
        [2, 2, 2, 2],
        "{types:?}"
    );
}

#[tokio::test]
async fn the_courses_client_works_unchanged_at_the_front_door() {
    let stack = Stack::start().await;
    use_as_the_course_does(&stack.public_blog()).await;
}

#[tokio::test]
async fn the_courses_events_are_taken_and_answered_as_in_the_course() {
    let stack = Stack::services().await;
    let answer = stack.publication(Posts, &post_created("a1b2c3d4", "As the course writes it")).send().await;
    assert_eq!(answer.expect(200).json()["status"], "OK");
    let comment = comment_created("e5f6a7b8", "a1b2c3d4", "fine");
    stack.publish(Comments, &comment).await;
    let post = stack.blog().until_settled("a1b2c3d4", 1).await;
    assert_eq!(post["title"], "As the course writes it");
    assert_eq!(statuses(&post["comments"]), ["approved"]);

    for (service, name) in
        [(Posts, "POSTS"), (Comments, "COMMENTS"), (Moderation, "MODERATION"), (Query, "QUERY")]
    {
        let secret = stack.secret(&format!("{name}_SECRET"));
        let answer = signed(stack.at(service), &secret, Direction::Deliver, 0, &comment).send().await;
        assert_eq!(answer.expect(200).json(), json!({}), "{service}");
        let strange = json!({ "type": "SomethingElse", "data": { "any": 1 }, "more": true });
        let answer = signed(stack.at(service), &secret, Direction::Deliver, 0, &strange).send().await;
        assert_eq!(answer.expect(200).json(), json!({}), "{service}");
    }
}
