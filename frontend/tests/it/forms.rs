//! Plain forms, as a browser without script sends them.

use crate::world::{Behind, Frontend, Reply};
use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const EVIL: &str = "</textarea><script>alert(1)</script>\n\n  & \"quoted\"";
/// As a page must contain it.
const EVIL_ESCAPED: &str = "&lt;/textarea>&lt;script>alert(1)&lt;/script>\n\n  &amp; \"quoted\"";

/// The requests to a service: headers and JSON.
type Sent = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

/// Services that record requests and answer with this status; query knows everything at once.
fn services(status: u16, sent: &Sent) -> Behind {
    let status = StatusCode::from_u16(status).unwrap();
    let note = sent.clone();
    let create_post = async move |headers: HeaderMap, axum::Json(body): axum::Json<Value>| -> Response {
        note.lock().unwrap().push((headers, body));
        (status, axum::Json(json!({"id": "p1", "title": "t"}))).into_response()
    };
    let note = sent.clone();
    // To comments on the post `course` it answers as the course's service does, which knows no preferences.
    let create_comment = async move |Path(post_id): Path<String>,
                                     headers: HeaderMap,
                                     axum::Json(body): axum::Json<Value>|
                -> Response {
        note.lock().unwrap().push((headers, body));
        let cookies = [(header::SET_COOKIE, "author=new; HttpOnly; SameSite=Lax")];
        let new = json!({"id": "c1", "content": "new", "status": "pending"});
        if post_id == "course" {
            let all = json!([{"id": "c0", "content": "older", "status": "approved"}, new]);
            return (status, cookies, axum::Json(all)).into_response();
        }
        (status, cookies, [("preference-applied", "return=minimal")], axum::Json(new)).into_response()
    };
    let read = async |Path(id): Path<String>| match id.as_str() {
        "p1" => {
            let page = json!({
                "id": id, "title": "The post", "comments": [], "earlier": null, "later": null, "commentCount": 0,
                "sequence": "7"
            });
            axum::Json(page).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    };
    let list = async || axum::Json(json!({"items": [], "next": null}));
    Behind {
        posts: Some(Router::new().route("/posts/create", post(create_post))),
        comments: Some(Router::new().route("/posts/{id}/comments", post(create_comment))),
        query: Some(Router::new().route("/posts", get(list)).route("/query/posts/{id}", get(read))),
        ..Behind::default()
    }
}

async fn start(status: u16) -> (Frontend, Sent) {
    let sent = Sent::default();
    (services(status, &sent).start().await, sent)
}

/// The value of a hidden or plain field.
fn field<'a>(page: &'a Reply, id: &str) -> &'a str {
    let (_, rest) =
        page.body.split_once(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("{id}: {}", page.body));
    rest.split_once("value=\"").and_then(|(_, rest)| rest.split('"').next()).unwrap()
}

#[tokio::test]
async fn a_post_leads_to_its_page() {
    let (frontend, sent) = start(201).await;
    let fields = [("key", "k-1"), ("title", " Ünï  title "), ("body", "a\r\nb"), ("author", "Ada")];
    let reply = frontend.post_form("/p/new", &fields).await;
    assert_eq!((reply.status, reply.header("location")), (303, "/p/p1"));
    let sent = sent.lock().unwrap();
    let [(headers, body)] = sent.as_slice() else { panic!("sent {} times", sent.len()) };
    assert_eq!(*body, json!({"title": "Ünï  title", "body": "a\nb", "author": "Ada"}));
    assert_eq!(headers["idempotency-key"], "k-1");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert!(headers.contains_key("traceparent") && headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn a_comment_leads_to_itself_and_its_writer_is_known_again() {
    let (frontend, sent) = start(201).await;
    let reply =
        frontend.post_form("/p/p1/comments", &[("key", "k-1"), ("content", "hi"), ("author", "")]).await;
    assert_eq!((reply.status, reply.header("location")), (303, "/p/p1?comment=c1#comment-c1"));
    assert_eq!(reply.all("set-cookie"), ["author=new; HttpOnly; SameSite=Lax"]);
    let sent = sent.lock().unwrap();
    assert_eq!(sent[0].0["cookie"], "author=0123456789abcdef0123456789abcdef");
    assert_eq!(sent[0].0["prefer"], "return=minimal");
    assert_eq!(sent[0].1, json!({"content": "hi"}));
}

#[tokio::test]
async fn a_comment_is_found_in_the_answer_of_a_service_that_knows_no_preference() {
    let (frontend, _) = start(201).await;
    let reply = frontend.post_form("/p/course/comments", &[("key", "k-1"), ("content", "hi")]).await;
    assert_eq!((reply.status, reply.header("location")), (303, "/p/course?comment=c1#comment-c1"));
}

#[tokio::test]
async fn wrong_fields_come_back_with_the_reason_and_every_text() {
    let (frontend, sent) = start(201).await;
    let long = "x".repeat(201);
    let fields = [("key", "k-1"), ("title", long.as_str()), ("body", EVIL), ("author", "a\u{202E}b")];
    let page = frontend.post_form("/p/new", &fields).await;
    assert_eq!((page.status, page.header("content-type")), (422, "text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(page.body.contains(EVIL_ESCAPED) && !page.body.contains("<script"), "{}", page.body);
    assert!(page.body.contains("Title must have at most 200 characters; this has 201."), "{}", page.body);
    assert!(page.body.contains("Your name must not contain the control character U+202E."), "{}", page.body);
    assert_eq!((field(&page, "post-title"), field(&page, "post-key")), (long.as_str(), "k-1"));
    assert_eq!(page.body.matches("aria-invalid=\"true\"").count(), 2);
    assert!(page.body.contains("aria-describedby=\"post-title-error\""));

    let page =
        frontend.post_form("/p/p1/comments", &[("key", "k-2"), ("content", "  "), ("author", "Ada")]).await;
    assert_eq!(page.status, 422);
    assert!(
        page.body.contains("Comment must not be empty.") && page.body.contains("The post"),
        "{}",
        page.body
    );
    assert_eq!((field(&page, "comment-author"), field(&page, "comment-key")), ("Ada", "k-2"));
    assert_eq!(sent.lock().unwrap().len(), 0, "no request for what is known to be invalid");
}

#[tokio::test]
async fn whatever_a_service_refuses_the_text_stays() {
    for (status, sentence) in [
        (404, "can no longer be found"),
        (413, "too long to send"),
        (429, "sending too fast"),
        (504, "took too long to answer"),
        (503, "cannot be saved at the moment"),
        (500, "cannot be saved at the moment"),
    ] {
        let (frontend, _) = start(status).await;
        let post = frontend.post_form("/p/new", &[("key", "k"), ("title", "t"), ("body", EVIL)]).await;
        let comment = frontend.post_form("/p/p1/comments", &[("key", "k"), ("content", EVIL)]).await;
        for page in [post, comment] {
            assert_eq!((page.status, page.header("cache-control")), (status, "no-store"));
            assert!(page.body.contains(EVIL_ESCAPED) && page.body.contains(sentence), "{}", page.body);
            assert_eq!(page.header("retry-after"), if matches!(status, 429 | 503) { "2" } else { "" });
            assert!(page.body.contains("value=\"k\""), "the attempt may have arrived: its key stays");
        }
    }
}

#[tokio::test]
async fn a_key_that_was_used_for_another_text_is_replaced() {
    let (frontend, _) = start(422).await;
    let page = frontend.post_form("/p/new", &[("key", "k"), ("title", "t"), ("body", EVIL)]).await;
    assert_eq!(page.status, 422);
    assert!(
        page.body.contains("You already submitted this form") && page.body.contains(EVIL_ESCAPED),
        "{}",
        page.body
    );
    let fresh = field(&page, "post-key");
    assert!(fresh != "k" && fresh.len() == 36, "{fresh}");
}

#[tokio::test]
async fn the_text_stays_when_every_service_is_down() {
    let frontend = Behind::default().start().await;
    let post = frontend.post_form("/p/new", &[("key", "k"), ("title", "t"), ("body", EVIL)]).await;
    let comment = frontend.post_form("/p/p1/comments", &[("key", "k"), ("content", EVIL)]).await;
    for page in [post, comment] {
        assert_eq!((page.status, page.header("retry-after")), (503, "2"));
        assert!(page.body.contains(EVIL_ESCAPED), "{}", page.body);
        assert!(page.body.contains("Your text is still here"), "{}", page.body);
    }
}

#[tokio::test]
async fn a_post_that_the_reading_side_does_not_know_yet_has_a_page_that_waits() {
    let sent = Sent::default();
    let behind = Behind { query: None, ..services(201, &sent) };
    let reply = behind.start().await.post_form("/p/new", &[("title", "t")]).await;
    assert_eq!((reply.status, reply.header("location")), (303, "/p/p1?new=1"));
    assert!(!sent.lock().unwrap()[0].0.contains_key("idempotency-key"), "no key was sent");
}

#[tokio::test]
async fn what_is_no_form_is_refused() {
    let (frontend, sent) = start(201).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for path in ["/p/new", "/p/p1/comments"] {
        let huge = format!("content={}", "x".repeat(1024 * 1024));
        assert_eq!(frontend.send("POST", path, &form, &huge).await.status, 413);
        assert_eq!(
            frontend.send("POST", path, &form, "key=a&key=b").await.status,
            422,
            "twice the same field"
        );
        assert_eq!(
            frontend.send("POST", path, &[("content-type", "application/json")], "{}").await.status,
            415
        );
        assert_eq!(
            frontend.send("POST", path, &[("content-type", "text/plain")], "title=t").await.status,
            415
        );
    }
    let odd = [("key", "a\nb"), ("title", "t"), ("status", "approved")];
    assert_eq!(frontend.post_form("/p/new", &odd).await.status, 303, "what is not ours is not read");
    let sent = sent.lock().unwrap();
    assert!(sent.len() == 1 && !sent[0].0.contains_key("idempotency-key"), "a key that is none is not sent");
    assert_eq!(sent[0].1, json!({"title": "t"}));
}

#[tokio::test]
async fn the_addresses_of_the_forms_lead_to_their_pages() {
    let (frontend, _) = start(201).await;
    let reply = frontend.get("/p/new").await;
    assert_eq!((reply.status, reply.header("location")), (303, "/#new-post"));
    let reply = frontend.get("/p/p1/comments").await;
    assert_eq!((reply.status, reply.header("location")), (303, "/p/p1#comments"));
    assert_eq!(frontend.get("/p/not%20an%20id/comments").await.status, 404);
    assert_eq!(frontend.post_form("/p/not%20an%20id/comments", &[("content", "x")]).await.status, 404);
}
