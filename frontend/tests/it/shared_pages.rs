//! The pages that readers share: the home page, and those of posts.

use crate::world::{Behind, Frontend};
use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

/// A query service that knows one post, titled with the number of its version.
#[derive(Clone)]
struct Query {
    version: Arc<AtomicUsize>,
    /// Of the last change of any post.
    sequence: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    /// Each answer takes one.
    answers: Arc<Semaphore>,
}

impl Query {
    fn new(answers: usize) -> Self {
        let (version, sequence) = (Arc::default(), Arc::default());
        Self { version, sequence, requests: Arc::default(), answers: Arc::new(Semaphore::new(answers)) }
    }

    async fn start(&self) -> Frontend {
        let this = self.clone();
        let list = async move |headers: HeaderMap| {
            assert!(!headers.contains_key("cookie"), "what readers share does not depend on one of them");
            this.requests.fetch_add(1, Ordering::SeqCst);
            this.answers.acquire().await.unwrap().forget();
            let title = format!("version {}", this.version.load(Ordering::SeqCst));
            let items = [json!({"id": "p1", "title": title, "commentCount": 0})];
            axum::Json(json!({"items": items, "next": null, "sequence": "7"})).into_response()
        };
        let this = self.clone();
        let thread = async move |headers: HeaderMap| {
            this.requests.fetch_add(1, Ordering::SeqCst);
            let title = format!("version {}", this.version.load(Ordering::SeqCst));
            let sequence = this.sequence.load(Ordering::SeqCst).to_string();
            let theirs = json!({"id": "c1", "content": "for everybody", "status": "approved", "version": 2});
            let mine = headers.contains_key("cookie");
            let content = if mine { "for its writer alone" } else { "" };
            let rejected =
                json!({"id": "c2", "content": content, "status": "rejected", "version": 2, "mine": mine});
            axum::Json(json!({
                "id": "p1", "title": title, "version": 1, "comments": [theirs, rejected], "earlier": null, "later": null,
                "commentCount": 1, "sequence": sequence
            }))
        };
        let unknown = async || StatusCode::NOT_FOUND;
        let query = Router::new()
            .route("/posts", get(list))
            .route("/query/posts/p1", get(thread))
            .route("/query/posts/{id}", get(unknown));
        Behind { query: Some(query), ..Behind::default() }.start().await
    }
}

fn key_of(page: &str) -> &str {
    page.split("id=\"post-key\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap()
}

#[tokio::test]
async fn a_page_that_has_not_changed_is_not_sent_again() {
    let query = Query::new(100);
    let frontend = query.start().await;
    let first = frontend.send("GET", "/", &[("cookie", "author=me")], "").await;
    assert_eq!((first.status, first.header("cache-control")), (200, "private, no-cache"));
    assert!(first.body.contains("version 0"));
    let tag = first.header("etag").to_owned();
    let listed = format!("\"other\", {tag}");
    let same = frontend.send("GET", "/", &[("if-none-match", &listed)], "").await;
    assert_eq!((same.status, same.body.as_str(), same.header("etag")), (304, "", tag.as_str()));
    let policy = "content-security-policy";
    assert_eq!(same.header(policy), first.header(policy), "it replaces the one that the browser has stored");

    query.version.store(1, Ordering::SeqCst);
    let changed = frontend.send("GET", "/", &[("if-none-match", &tag)], "").await;
    assert_eq!(changed.status, 200);
    assert!(changed.body.contains("version 1") && changed.header("etag") != tag);
}

#[tokio::test]
async fn every_form_has_a_key_of_its_own() {
    let frontend = Query::new(100).start().await;
    let (first, second) = (frontend.get("/").await, frontend.get("/").await);
    assert_ne!(key_of(&first.body), key_of(&second.body));
    assert_eq!(key_of(&first.body).len(), 36);
    assert_eq!(first.body.replace(key_of(&first.body), key_of(&second.body)), second.body);
}

#[tokio::test]
async fn readers_who_come_together_share_an_answer_that_is_as_new_as_each_of_them() {
    let query = Query::new(0);
    let frontend = Arc::new(query.start().await);
    let open = || {
        let frontend = frontend.clone();
        tokio::spawn(async move { frontend.get("/").await })
    };
    let asked = async |count| {
        test_support::eventually(test_support::LIMIT, "query is asked", async || {
            let asked = query.requests.load(Ordering::SeqCst);
            if asked == count { Ok(()) } else { Err(asked.to_string()) }
        })
        .await;
    };
    let first = open();
    asked(1).await;
    // These come after the question that is under way: its answer may be older than they are.
    let others: Vec<_> = (0..20).map(|_| open()).collect();
    query.answers.add_permits(1);
    assert!(first.await.unwrap().body.contains("version 0"));
    asked(2).await;
    query.version.store(1, Ordering::SeqCst);
    query.answers.add_permits(20);
    for other in others {
        assert!(other.await.unwrap().body.contains("version 1"));
    }
    assert!(query.requests.load(Ordering::SeqCst) < 20, "they share: {:?}", query.requests);
}

#[tokio::test]
async fn a_reader_who_leaves_holds_up_nobody() {
    let query = Query::new(0);
    let frontend = Arc::new(query.start().await);
    for _ in 0..3 {
        let asked = query.requests.load(Ordering::SeqCst);
        let mut reader = frontend.connect().await;
        reader.write_all(b"GET / HTTP/1.1\r\nhost: blog.example\r\n\r\n").await.unwrap();
        test_support::eventually(test_support::LIMIT, "query is asked", async || {
            if query.requests.load(Ordering::SeqCst) > asked { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        drop(reader);
    }
    query.answers.add_permits(10);
    assert_eq!(frontend.get("/").await.status, 200);
}

#[tokio::test]
async fn a_post_that_has_not_changed_is_not_sent_again() {
    let query = Query::new(0);
    let frontend = query.start().await;
    let first = frontend.get("/p/p1").await;
    assert_eq!((first.status, first.header("cache-control")), (200, "private, no-cache"));
    let tag = first.header("etag").to_owned();
    let again = async || frontend.send("GET", "/p/p1", &[("if-none-match", &tag)], "").await;
    assert_eq!((again().await.status, again().await.body.as_str()), (304, ""));
    query.sequence.store(500, Ordering::SeqCst);
    assert_eq!(again().await.status, 304, "a change of another post changes nothing here");
    query.sequence.store(501, Ordering::SeqCst);
    let later = again().await;
    assert_eq!(later.status, 200, "a stream must not begin too far behind");
    assert!(later.body.contains("501"), "{}", later.body);
    query.version.store(1, Ordering::SeqCst);
    let changed = again().await;
    assert!(changed.status == 200 && changed.body.contains("version 1"), "{changed:?}");
    assert_eq!(frontend.get("/p/unknown").await.status, 404);
}

#[tokio::test]
async fn what_only_its_writer_may_read_is_on_no_page_of_another_reader() {
    let query = Query::new(0);
    let frontend = Arc::new(query.start().await);
    let open = |headers: &'static [(&'static str, &'static str)], path: &'static str| {
        let frontend = frontend.clone();
        tokio::spawn(async move { frontend.send("GET", path, headers, "").await })
    };
    for version in 0..10 {
        query.version.store(version, Ordering::SeqCst);
        let writers =
            [open(&[("cookie", "author=me")], "/p/p1"), open(&[("cookie", "author=me")], "/p/p1?comment=c2")];
        let readers =
            [open(&[], "/p/p1"), open(&[], "/p/p1?comment=c2"), open(&[("if-none-match", "*")], "/p/p1")];
        for writer in writers {
            let page = writer.await.unwrap();
            assert!(page.body.contains("for its writer alone"), "{page:?}");
            assert_eq!((page.header("cache-control"), page.header("etag")), ("no-store", ""));
        }
        for reader in readers {
            let page = reader.await.unwrap();
            assert!(page.body.contains("for everybody"), "{page:?}");
            assert!(!page.body.contains("for its writer alone"), "{page:?}");
        }
    }
}
