//! Somebody who only wants to read and to write.

use serde_json::json;
use std::time::{Duration, Instant};
use system_tests::latency::Latency;
use system_tests::{Stack, http};

/// How often the visitor comes.
const VISITS: usize = 20;
/// How long a visit may take at most. On an idle machine it takes some milliseconds: what has to wait for an attack to
/// end, or for a timeout, takes many times as long as this.
const AT_MOST: Duration = Duration::from_secs(3);

/// Reads the page of a post and comments on it, each time over new connections, and prints how long that took.
pub async fn visit(stack: &Stack, post: &str, meanwhile: &str) {
    let (mut pages, mut writes) = (Vec::new(), Vec::new());
    for n in 0..VISITS {
        let door = http::Server::new(&http::client(), &stack.front_door().url);
        let begun = Instant::now();
        door.get(&format!("/p/{post}")).header("accept", "text/html").send().await.expect(200);
        pages.push(begun.elapsed());
        let comment = json!({ "content": format!("visit {n}, meanwhile {meanwhile}") });
        let begun = Instant::now();
        let request = door.post(&format!("/posts/{post}/comments")).header("prefer", "return=minimal");
        request.json(&comment).send().await.expect(201);
        writes.push(begun.elapsed());
    }
    for (what, all) in [("a page", pages), ("a write", writes)] {
        let longest = all.iter().max().copied().unwrap_or_default();
        println!("meanwhile {meanwhile}: {what} {}, longest {longest:.1?}", Latency::of(all));
        assert!(longest < AT_MOST, "meanwhile {meanwhile}: {what} took {longest:?}");
    }
}
