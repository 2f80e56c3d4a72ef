//! The blog works: written and read through the front door, by programs and by plain forms, and live.

use crate::deployment::Deployment;
use serde_json::json;
use system_tests::blog::{contents, id_of, statuses};
use system_tests::sse::Stream;

/// Posts and comments in JSON, both verdicts, and what is told of them meanwhile.
pub async fn takes_posts_and_comments(deployment: &Deployment) {
    let (blog, door) = (deployment.blog(), deployment.front_door());
    let mut live = Stream::open(door.get("/live")).await;
    live.until("a greeting", |event| event.name == "hello").await;

    let new = json!({ "title": "From a container", "body": "with **weight**", "author": "Ada" });
    let created = door.post("/posts/create").json(&new).send().await.expect(201).json();
    let post = id_of(&created);
    assert_eq!(created["title"], "From a container");
    live.until("the post", |event| event.data.contains(&post)).await;
    blog.until_known(&post).await;
    blog.comment(&post, "a good word").await;
    blog.comment(&post, "an ORANGE one").await;
    let settled = blog.until_settled(&post, 2).await;
    assert_eq!(statuses(&settled["comments"]), ["approved", "rejected"]);
    assert_eq!(contents(&settled["comments"]), ["a good word", ""], "rejected text is told to nobody");
    live.until("a verdict", |event| event.data.contains("approved")).await;

    let page = door.get(&format!("/p/{post}")).send().await.expect(200).text();
    for text in ["From a container", "<strong>weight</strong>", "a good word"] {
        assert!(page.contains(text), "{text:?} is not on the page: {page}");
    }
    assert!(!page.contains("ORANGE"), "{page}");
    let list = door.get("/").send().await.expect(200);
    assert!(list.text().contains("From a container"), "{list}");
    assert!(list.header("content-security-policy").contains("nonce-"), "{list}");
    door.get("/p/no-such-post").send().await.expect(404);
    door.post("/posts/create").json(&json!({ "title": " " })).send().await.expect_problem(422);
}

/// The same as a browser without script does it.
pub async fn takes_plain_forms(deployment: &Deployment) {
    let (blog, door) = (deployment.blog(), deployment.front_door());
    let fields = [("title", "By plain form"), ("body", "words"), ("author", "Bob")];
    let sent = door.post("/p/new").form(&fields).send().await.expect(303);
    let page = sent.header("location").to_owned();
    let post = page.trim_start_matches("/p/").split(['?', '#']).next().unwrap_or_default().to_owned();
    blog.until_known(&post).await;
    let form = door.post(&format!("/p/{post}/comments")).form(&[("content", "a plain comment")]);
    form.send().await.expect(303);
    blog.until_settled(&post, 1).await;
    let shown = door.get(&format!("/p/{post}")).send().await.expect(200).text();
    assert!(shown.contains("By plain form") && shown.contains("a plain comment"), "{shown}");
    let wrong = door.post("/p/new").form(&[("title", " "), ("body", "worth keeping")]).send().await;
    assert!(wrong.clone().expect(422).text().contains("worth keeping"), "{wrong}");
}
