//! What other sites can make a reader's browser do, and what they can read.

use serde_json::json;
use system_tests::Stack;
use system_tests::sse::Stream;

#[tokio::test]
async fn what_another_site_sends_is_refused() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let (door, own) = (stack.front_door(), stack.front_door().url.clone());
    let post = blog.post("Mine").await;
    blog.until_known(&post).await;
    let json = json!({ "title": "Planted", "content": "Planted" });
    let paths = [
        "/posts/create".to_owned(),
        format!("/posts/{post}/comments"),
        "/p/new".to_owned(),
        format!("/p/{post}/comments"),
    ];
    for path in &paths {
        let foreign: [&[(&str, &str)]; 5] = [
            &[("sec-fetch-site", "cross-site"), ("origin", "http://evil.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site"), ("origin", "http://other.posts.com")],
            &[("origin", "http://evil.example")],
            &[("origin", "null")],
        ];
        for headers in foreign {
            for is_json in [true, false] {
                let request = door.post(path);
                let request = if is_json {
                    request.json(&json)
                } else {
                    request.form(&[("title", "Planted"), ("content", "Planted")])
                };
                let request = headers.iter().fold(request, |r, (name, value)| r.header(name, value));
                let answer = request.send().await;
                assert_eq!(answer.status, 403, "{path} {headers:?}: {answer}");
                answer.expect_problem(403);
            }
        }
    }
    let text = door.get("/posts").send().await.text();
    assert!(!text.contains("Planted"), "{text}");
    // The site's own pages may write, and so may programs, which send no such headers.
    let create = || door.post("/posts/create").json(&json!({ "title": "Own" }));
    create().header("sec-fetch-site", "same-origin").header("origin", &own).send().await.expect(201);
    create().header("origin", &own).send().await.expect(201);
    create().send().await.expect(201);
    // Following a link from another site only reads.
    door.get("/").header("sec-fetch-site", "cross-site").send().await.expect(200);
}

#[tokio::test]
async fn no_answer_lets_another_site_read_it() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("Mine").await;
    blog.until_known(&post).await;
    let paths = [
        "/".to_owned(),
        format!("/p/{post}"),
        "/p/unknown".to_owned(),
        "/posts".to_owned(),
        "/posts?limit=1".to_owned(),
        format!("/posts/{post}/comments"),
        format!("/query/posts/{post}"),
        "/moderation/queue".to_owned(),
        "/posts/create".to_owned(),
        "/nothing".to_owned(),
        "/favicon.svg".to_owned(),
    ];
    for path in &paths {
        for method in [http::Method::GET, http::Method::OPTIONS, http::Method::POST] {
            let request =
                stack.front_door().request(method.clone(), path).header("origin", "http://evil.example");
            let request = request.header("access-control-request-method", "POST");
            let answer = request.send().await;
            let allowed: Vec<_> =
                answer.headers.keys().filter(|name| name.as_str().starts_with("access-control-")).collect();
            assert!(allowed.is_empty(), "{method} {path}: {answer}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{method} {path}: {answer}");
            assert!(!answer.header("x-request-id").is_empty(), "{method} {path}: {answer}");
        }
    }
    let live = stack.front_door().get("/live").header("origin", "http://evil.example");
    let mut live = Stream::open(live).await;
    assert!(live.next().await.is_some());
}
