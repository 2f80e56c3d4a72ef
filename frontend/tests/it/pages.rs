//! The pages that readers open.

use crate::world::{Behind, Frontend};
use axum::Router;
use axum::extract::{Path, RawQuery};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

const EVIL: &str = "</title></textarea><script>alert('\u{2028}\"&')</script>";

fn list() -> Value {
    json!({
        "items": [
            {"id": "a1", "title": EVIL, "author": EVIL, "excerpt": EVIL, "createdAt": "2026-11-20T09:38:56.123Z",
             "version": 1, "commentCount": 1},
            {"id": "b2", "title": "plain", "commentCount": 0}
        ],
        "next": "12~b2&x=\"><script>"
    })
}

fn thread() -> Value {
    json!({
        "id": "a1", "title": EVIL, "body": "A **bold** word, <script>alert(1)</script> [x](javascript:alert(1))",
        "author": "Ada", "createdAt": "2026-11-20T09:38:56.123Z", "version": 1,
        "comments": [
            {"id": "c1", "content": EVIL, "status": "approved", "author": EVIL, "version": 2},
            {"id": "c2", "content": "", "status": "pending", "author": "Bob", "version": 1},
            {"id": "c3", "content": "my own", "status": "pending", "version": 1, "mine": true},
            {"id": "c4", "content": "", "status": "rejected", "reason": "contains <a> blocked word", "version": 2}
        ],
        "earlier": null, "later": null, "commentCount": 1, "sequence": "7"
    })
}

/// One page of the thread of a post, in the middle or, of the comments before the first one, without any.
fn page_of_thread(asked: &str) -> Response {
    if asked == "comments=nonsense" {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let comments = match asked {
        "comments=before%3A1~1~c1" => json!([]),
        _ => json!([{"id": "c5", "content": "in the middle", "status": "approved",
                     "createdAt": "2026-11-20T09:38:56.123Z"}]),
    };
    let page = json!({
        "id": "long", "title": asked, "comments": comments, "earlier": "5~5~c5", "later": "6~6~c5", "commentCount": 120,
        "sequence": "7"
    });
    axum::Json(page).into_response()
}

/// A query service with these answers.
fn query() -> Router {
    let post = async |Path(id): Path<String>, RawQuery(asked): RawQuery, headers: HeaderMap| -> Response {
        let asked = asked.unwrap_or_default();
        match id.as_str() {
            "long" => page_of_thread(&asked),
            "a1" if headers.get(header::COOKIE).is_some_and(|cookie| cookie == "author=me") => {
                axum::Json(thread()).into_response()
            }
            // Its title is the query string of the request.
            "asked" => {
                let page = json!({
                    "id": "asked", "title": asked, "comments": [], "earlier": null, "later": null, "commentCount": 0,
                    "sequence": "7"
                });
                axum::Json(page).into_response()
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    };
    let posts = async |RawQuery(asked): RawQuery| -> Response {
        match asked.as_deref() {
            Some("limit=20") => axum::Json(list()).into_response(),
            Some("limit=20&cursor=12~a%26b") => {
                axum::Json(json!({"items": [], "next": null})).into_response()
            }
            _ => StatusCode::BAD_REQUEST.into_response(),
        }
    };
    Router::new().route("/posts", get(posts)).route("/query/posts/{id}", get(post))
}

/// A comments service that has stored one comment of the post `asked`.
fn comments() -> Router {
    let comment = async |Path(path): Path<(String, String)>| match path.0.as_str() {
        "asked" if path.1 == "c9" => {
            axum::Json(json!({"id": "c9", "content": "", "status": "pending"})).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    };
    Router::new().route("/posts/{id}/comments/{comment}", get(comment))
}

async fn start() -> Frontend {
    Behind { query: Some(query()), comments: Some(comments()), ..Behind::default() }.start().await
}

/// No text of a reader or writer has become markup.
fn is_clean(page: &str) {
    assert!(!page.contains("<script") && !page.contains("alert('\u{2028}\"&')"), "{page}");
    assert_eq!(page.matches("<title>").count(), 1);
    assert_eq!(page.matches("</title>").count(), 1);
    assert_eq!(page.matches("<textarea").count(), page.matches("</textarea>").count());
}

/// The islands that a page names.
fn islands(page: &str) -> Vec<&str> {
    page.split("data-component=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test]
async fn the_list_shows_posts_counts_and_the_way_on() {
    let frontend = start().await;
    let page = frontend.get("/").await;
    assert_eq!((page.status, page.header("cache-control")), (200, "private, no-cache"));
    is_clean(&page.body);
    for there in [
        "<title>mini-blog</title>",
        "href=\"/p/a1\"",
        "id=\"count-a1\"",
        "1 comment",
        "No comments",
        "<time datetime=\"2026-11-20T09:38:56.123Z\">20 November 2026",
        "href=\"/?cursor=12~b2%26x%3D%22%3E%3Cscript%3E\"",
        "action=\"/p/new\"",
    ] {
        assert!(page.body.contains(there), "{there}: {}", page.body);
    }
    assert_eq!(islands(&page.body), ["NewPosts", "NewPost"]);
    assert!(
        page.body.contains("&quot;list&quot;:&quot;/posts?limit=20&quot;,&quot;is_newest&quot;:true"),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn older_pages_have_addresses() {
    let frontend = start().await;
    let page = frontend.get("/?cursor=12~a%26b").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Older posts") && page.body.contains("No posts yet"), "{}", page.body);
    let among_others = frontend.get("/?utm=x&cursor=12~a%26b").await;
    for page in [page, among_others] {
        let list =
            "&quot;list&quot;:&quot;/posts?limit=20&amp;cursor=12~a%26b&quot;,&quot;is_newest&quot;:false";
        assert!(page.body.contains(list), "{}", page.body);
    }
    assert_eq!(frontend.get("/?cursor=never-given-out").await.status, 404);
}

#[tokio::test]
async fn a_post_shows_its_text_and_each_comment_as_it_stands() {
    let frontend = start().await;
    let page = frontend.send("GET", "/p/a1", &[("cookie", "author=me"), ("accept", "text/html")], "").await;
    assert_eq!(
        (page.status, page.header("cache-control")),
        (200, "no-store"),
        "it shows what only its writer may read"
    );
    is_clean(&page.body);
    assert!(page.body.contains("A <strong>bold</strong> word,"), "{}", page.body);
    assert!(!page.body.contains("href=\"javascript"));
    let entries: Vec<&str> = page.body.split("<li ").skip(1).collect();
    let [approved, pending, mine, rejected] = entries.as_slice() else { panic!("{}", page.body) };
    assert!(approved.contains("data-status=\"approved\"") && approved.contains("&lt;script"), "{approved}");
    assert!(
        pending.contains("This comment is awaiting moderation.") && !pending.contains("Check status"),
        "{pending}"
    );
    assert!(mine.contains("my own") && mine.contains("href=\"/p/a1?comment=c3#comment-c3\""), "{mine}");
    let verdict = "This comment has been rejected: contains &lt;a&gt; blocked word.";
    assert!(rejected.contains(verdict), "{rejected}");
    assert!(pending.contains(">Bob<") && mine.contains(">Anonymous<"), "{pending}{mine}");
    assert!(!rejected.contains("class=\"author\""), "its name is hidden, not missing: {rejected}");
    assert_eq!(islands(&page.body), ["Comments"]);
    assert!(page.body.contains("action=\"/p/a1/comments\""));
}

#[tokio::test]
async fn a_page_of_a_long_thread_links_to_the_others() {
    let frontend = start().await;
    for (path, asked) in [
        ("/p/long", ""),
        ("/p/long?comments=before:6~6~c6", "comments=before%3A6~6~c6"),
        ("/p/long?comment=c5", "comment=c5"),
    ] {
        let page = frontend.get(path).await;
        assert_eq!(page.status, 200);
        for there in [
            format!("<h1 dir=\"auto\">{}", if asked.is_empty() { " " } else { asked }).as_str(),
            "<h2>120 comments",
            "href=\"/p/long?comments=before:5~5~c5#comments\"",
            "href=\"/p/long?comments=after:6~6~c5#comments\"",
            "href=\"/p/long#comments\"",
            "href=\"/p/long?comment=c5#comment-c5\"",
        ] {
            assert!(page.body.contains(there), "{path}: {there}: {}", page.body);
        }
        let places = ["class=\"earlier\"", "<ol class=\"thread\"", "</ol>", "class=\"later\"", "<form"]
            .map(|part| page.body.find(part).unwrap_or_else(|| panic!("{path}: {part}: {}", page.body)));
        assert!(places.is_sorted(), "earlier comments before the list, later ones below it: {}", page.body);
    }
    let end = frontend.get("/p/long?comments=before:1~1~c1").await;
    assert_eq!((end.status, end.header("location")), (303, "/p/long#comments"));
    assert_eq!(frontend.get("/p/long?comments=nonsense").await.status, 404);
}

#[tokio::test]
async fn a_page_holds_each_comment_once() {
    let frontend = start().await;
    let page = frontend.get("/p/long").await;
    assert_eq!(page.body.matches("in the middle").count(), 1, "{}", page.body);
    let props = "{&quot;post&quot;:&quot;long&quot;,&quot;has_earlier&quot;:true,&quot;later&quot;:&quot;6~6~c5&quot;,\
                 &quot;count&quot;:120,&quot;sequence&quot;:&quot;00000000000000000007&quot;,&quot;problem&quot;:null}";
    assert!(page.body.contains(props), "{}", page.body);
}

#[tokio::test]
async fn a_page_waits_only_for_what_was_just_written() {
    let frontend = start().await;
    for (path, asked) in [
        ("/p/asked", "<h1 dir=\"auto\"> "),
        ("/p/asked?new=1", "wait=2000"),
        ("/p/asked?comment=c9", "wait=2000&amp;comment=c9"),
        ("/p/asked?comment=not%20an%20id", "<h1 dir=\"auto\"> "),
        // Nobody has written this one: the page neither waits for it nor claims that it was sent.
        ("/p/asked?comment=c8", "<h1 dir=\"auto\">comment=c8<"),
    ] {
        let page = frontend.get(path).await;
        assert_eq!((page.status, page.header("cache-control")), (200, "private, no-cache"));
        assert!(page.body.contains(asked), "{path}: {}", page.body);
        let is_missing = page.body.contains("Your comment has been sent");
        assert_eq!(is_missing, path.ends_with("c9"), "{path}: {}", page.body);
    }
    let unknown = frontend.get("/p/none?comment=c9").await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn what_is_not_there_has_a_page_too() {
    let frontend = start().await;
    for path in ["/p/none", "/p/__proto__", "/p/not%20an%20id", "/p/%3Cscript%3E"] {
        let page = frontend.get(path).await;
        assert_eq!((page.status, page.header("content-type")), (404, "text/html; charset=utf-8"), "{path}");
        is_clean(&page.body);
    }
    let late = frontend.get("/p/none?new=1").await;
    assert_eq!((late.status, late.header("retry-after")), (503, "2"));
    assert!(late.body.contains("This post is on its way"), "{}", late.body);
}

#[tokio::test]
async fn without_the_reading_side_there_is_a_page_that_says_so() {
    let frontend = Behind::default().start().await;
    for path in ["/", "/?cursor=1~a", "/p/a1"] {
        let page = frontend.get(path).await;
        assert_eq!((page.status, page.header("retry-after")), (503, "2"), "{path}");
        assert!(page.body.contains("Temporarily unavailable"), "{}", page.body);
        assert_ne!(page.header("content-security-policy"), "");
    }
    let nonsense = async || "no JSON";
    let frontend = Behind::all(Router::new().fallback(get(nonsense))).start().await;
    assert_eq!(frontend.get("/").await.status, 503);
}

#[tokio::test]
async fn every_page_says_what_a_browser_may_do_with_it() {
    let frontend = start().await;
    for path in ["/", "/p/asked", "/p/none"] {
        let page = frontend.get(path).await;
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self'"),
            "{policy}"
        );
        assert_eq!(page.header("referrer-policy"), "same-origin");
        assert_eq!(page.header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(page.header("cross-origin-resource-policy"), "same-origin");
        assert_eq!(page.all("set-cookie"), [""; 0], "readers get no cookie");
        assert!(!page.body.contains(" style="), "{}", page.body);
    }
}
