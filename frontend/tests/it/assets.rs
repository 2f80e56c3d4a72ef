//! The files of the site.

use crate::world::Behind;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const FILES: &[(&str, &str)] = &[
    ("hash.txt", "js: AAAAAAAAAAAAAAAAAAAAAA\nwasm: BBBBBBBBBBBBBBBBBBBBBB\ncss: CCCCCCCCCCCCCCCCCCCCCC\n"),
    ("pkg/mini-blog.AAAAAAAAAAAAAAAAAAAAAA.js", "export {}"),
    ("pkg/mini-blog.BBBBBBBBBBBBBBBBBBBBBB.wasm", "wasm"),
    ("pkg/mini-blog.BBBBBBBBBBBBBBBBBBBBBB.wasm.br", "brotli"),
    ("pkg/mini-blog.BBBBBBBBBBBBBBBBBBBBBB.wasm.gz", "gzip"),
    ("pkg/mini-blog.CCCCCCCCCCCCCCCCCCCCCC.css", "body{}"),
    ("favicon.svg", "<svg/>"),
    ("robots.txt", "User-agent: *"),
];

const WASM: &str = "/pkg/mini-blog.BBBBBBBBBBBBBBBBBBBBBB.wasm";

#[tokio::test]
async fn files_come_with_their_type_and_may_be_kept_as_long_as_their_name_allows() {
    let frontend = Behind::default().start_with(FILES).await;
    let for_ever = "public, max-age=31536000, immutable";
    for (path, media, kept) in [
        (WASM, "application/wasm", for_ever),
        ("/pkg/mini-blog.AAAAAAAAAAAAAAAAAAAAAA.js", "text/javascript", for_ever),
        ("/pkg/mini-blog.CCCCCCCCCCCCCCCCCCCCCC.css", "text/css", for_ever),
        ("/favicon.svg", "image/svg+xml", "no-cache"),
        ("/robots.txt", "text/plain", "no-cache"),
    ] {
        let reply = frontend.get(path).await;
        assert_eq!(
            (reply.status, reply.header("content-type"), reply.header("cache-control")),
            (200, media, kept)
        );
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        let policy = reply.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';") && policy.ends_with("sandbox"), "{path}: {policy}");
        let again = [("if-modified-since", reply.header("last-modified"))];
        assert_eq!(frontend.send("GET", path, &again, "").await.status, 304, "{path}");
    }
}

#[tokio::test]
async fn what_was_compressed_beforehand_is_sent_so() {
    let frontend = Behind::default().start_with(FILES).await;
    for (accepted, encoding, body) in
        [("gzip, deflate, br", "br", "brotli"), ("gzip", "gzip", "gzip"), ("identity", "", "wasm")]
    {
        let reply = frontend.send("GET", WASM, &[("accept-encoding", accepted)], "").await;
        assert_eq!((reply.header("content-encoding"), reply.body.as_str()), (encoding, body));
        assert_eq!(reply.header("content-type"), "application/wasm");
        assert!(reply.header("vary").to_lowercase().contains("accept-encoding"), "{}", reply.head);
    }
}

#[tokio::test]
async fn a_site_at_https_is_opened_with_https_only() {
    for (site_url, expected) in
        [(None, ""), (Some("http://blog.example"), ""), (Some("https://blog.example"), "max-age=31536000")]
    {
        let frontend = Behind { site_url, ..Behind::default() }.start_with(FILES).await;
        for path in ["/", "/favicon.svg", "/nothing", "/posts"] {
            assert_eq!(frontend.get(path).await.header("strict-transport-security"), expected, "{path}");
        }
    }
}

#[tokio::test]
async fn nothing_but_files_is_served() {
    let frontend = Behind::default().start_with(FILES).await;
    for path in ["/pkg", "/pkg/", "/pkg/none.js", "/favicon.svg/", "/index.html"] {
        assert_eq!(frontend.get(path).await.status, 404, "{path}");
    }
    assert_eq!(frontend.send("POST", "/favicon.svg", &[], "").await.status, 404);
}

#[tokio::test]
async fn a_page_names_the_hashed_files_and_its_policy_names_its_script() {
    let frontend = Behind::default().start_with(FILES).await;
    let first = frontend.get("/nothing").await;
    for file in FILES.iter().map(|(name, _)| name).filter(|name| name.matches('.').count() == 2) {
        assert!(first.body.contains(&format!("\"/{file}\"")), "{file}: {}", first.body);
    }
    let policy = first.header("content-security-policy");
    let scripts: Vec<_> = first.body.split("<script").skip(1).collect();
    assert_eq!(scripts.len(), 1, "{}", first.body);
    let script = scripts[0].strip_prefix(" type=\"module\">").and_then(|rest| rest.split_once("</script>"));
    let hash = STANDARD.encode(Sha256::digest(script.expect("an inline script").0));
    assert!(policy.contains(&format!("script-src 'self' 'sha256-{hash}' 'wasm-unsafe-eval'")), "{policy}");
    for forbidden in [" style=", "<style", "javascript:", " onclick", "http://", "https://leptos"] {
        assert!(!first.body.contains(forbidden), "{forbidden}");
    }
}

#[tokio::test]
async fn without_a_built_site_a_page_names_no_file() {
    let frontend = Behind::default().start().await;
    let page = frontend.get("/nothing").await;
    assert!(!page.body.contains("/pkg/") && !page.body.contains("<script"), "{}", page.body);
}
