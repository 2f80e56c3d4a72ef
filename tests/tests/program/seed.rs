//! `mini-blog seed` fills every store as if people had written.

use serde_json::Value;
use shared::ServiceName::{self, Posts};
use system_tests::blog::statuses;
use system_tests::stack::said;
use system_tests::{Stack, eventually};

const POSTS: usize = 30;
const COMMENTS: usize = 200;

async fn seed(stack: &Stack) -> String {
    let (posts, comments) = (POSTS.to_string(), COMMENTS.to_string());
    let output = stack.cli(&["seed", "--posts", &posts, "--comments", &comments, "--seed", "7"]).await;
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seeded_stack_agrees_with_its_log_and_a_second_seed_adds_nothing() {
    let stack = Stack::services().await;
    let text = seed(&stack).await;
    // Each comment has been judged, and the verdict has been applied.
    let events = POSTS + 3 * COMMENTS;
    assert!(text.contains(&format!("the log has {events} events")), "{text}");

    // It has waited until every service has applied everything: no test waits here.
    let posts = stack.at(Posts).get("/posts").send().await.expect(200).json();
    assert_eq!(posts.as_object().map(serde_json::Map::len), Some(POSTS));
    let read = stack.blog().read().await;
    let mut found = Vec::new();
    for (post, entry) in read.as_object().expect("an object") {
        let stored = stack.blog().comments(post).await;
        let ids = |comments: &Value| {
            let all = comments.as_array().into_iter().flatten();
            all.map(|c| (c["id"].to_string(), c["status"].to_string()))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        assert_eq!(ids(&stored), ids(&entry["comments"]), "post {post}");
        found.extend(statuses(&stored).into_iter().map(str::to_owned));
    }
    let count = |status: &str| found.iter().filter(|s| *s == status).count();
    assert_eq!((count("approved"), count("rejected")), (COMMENTS - COMMENTS / 50, COMMENTS / 50));

    seed(&stack).await;
    assert_eq!(stack.log().await.len(), events);
    for service in ServiceName::PEERS {
        assert!(stack.dead_letters(service).await.is_empty(), "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn seeding_survives_a_bus_that_restarts() {
    let stack = Stack::services().await;
    let seeding = async {
        let output = stack.cli(&["seed", "--posts", "2000", "--comments", "8000"]).await;
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    let breaking = async {
        eventually(system_tests::LIMIT, "seeding has begun", async || {
            stack.subscription("posts").await["cursor"].as_str() > Some("00000000000000000000")
        })
        .await;
        stack.crash(ServiceName::EventBus).await;
    };
    let (text, ()) = tokio::join!(seeding, breaking);
    assert!(text.contains("the log has 26000 events"), "{text}");
}
