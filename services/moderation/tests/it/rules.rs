//! What the rules say, and where they come from.

use crate::{RULES, comment, config_with, outbox, queue, start, start_with_rules};
use serde_json::json;
use shared::ServiceName;
use testkit::World;

#[tokio::test]
async fn the_courses_rule_rejects_orange_and_approves_all_else() {
    let world = World::new();
    let moderation = start(&world).await;
    let said =
        ["an orange cat", "An ORANGE cat", "or\u{ad}an\u{200b}ge", "\u{ff4f}range", "a green cat", "O range"];
    for (n, content) in (1..).zip(said) {
        comment(&world, &moderation, n, content).await;
    }
    let statuses = "SELECT envelope ->> '$.data.status' FROM outbox ORDER BY seq";
    let [rejected, approved] = [r#""rejected""#, r#""approved""#];
    let expected = [rejected, rejected, rejected, rejected, approved, approved];
    assert_eq!(world.rows(ServiceName::Moderation, statuses), expected);
    assert_eq!(queue(&world, &moderation).await, json!([]));
}

#[tokio::test]
async fn a_verdict_says_what_it_is_about_and_what_caused_it() {
    let world = World::new();
    let moderation = start(&world).await;
    world.clock.advance_ms(5);
    comment(&world, &moderation, 1, "an orange cat").await;
    comment(&world, &moderation, 2, "a cat").await;
    let [rejected, approved] = &outbox(&world)[..] else { panic!("two verdicts") };
    assert_eq!(
        *rejected,
        json!({
            "specversion": "1.0", "id": rejected["id"], "source": "/moderation", "type": "CommentModerated",
            "subject": "p1", "time": "2027-01-15T08:00:00.005Z", "datacontenttype": "application/json",
            "dataschema": "/schemas/CommentModerated/1", "partitionkey": "p1", "correlationid": "event-1",
            "causationid": "event-1",
            "data": {
                "id": "c1", "content": "an orange cat", "postId": "p1", "status": "rejected",
                "reason": "contains a blocked word", "rule": "blocked-word"
            }
        })
    );
    assert_eq!(
        approved["data"],
        json!({"id": "c2", "content": "a cat", "postId": "p1", "status": "approved"})
    );
}

#[tokio::test]
async fn rules_come_from_a_file() {
    let world = World::new();
    let moderation = start_with_rules(&world).await;
    for (n, content) in (1..).zip(["Buy NOW!", "see https://example.com and buy now", "orange"]) {
        comment(&world, &moderation, n, content).await;
    }
    let verdicts = outbox(&world);
    assert_eq!(verdicts.len(), 2);
    assert_eq!(verdicts[0]["data"]["rule"], "spam");
    assert_eq!(verdicts[0]["data"]["reason"], "looks like spam");
    assert_eq!(verdicts[1]["data"]["status"], "approved", "the course's rule is not in this file");
    assert_eq!(queue(&world, &moderation).await[0]["rule"], "links");
}

#[tokio::test]
async fn without_the_rules_it_was_told_to_use_it_does_not_start() {
    let world = World::new();
    let mut missing = config_with(&world, RULES);
    missing.rules = Some(world.data_dir(ServiceName::Moderation).join("nowhere.json"));
    let mut folder = config_with(&world, RULES);
    folder.rules = Some(std::env::temp_dir());
    let mut configs = vec![missing, folder];
    for (n, bad) in
        ["", "{}", "[]", r#"{"rules":[{"id":"a"}]}"#, r#"{"rules":[],"else":1}"#].into_iter().enumerate()
    {
        let mut config = config_with(&world, RULES);
        let path = world.data_dir(ServiceName::EventBus).with_extension(format!("{n}.json"));
        std::fs::write(&path, bad).unwrap();
        config.rules = Some(path);
        configs.push(config);
    }
    for config in configs {
        let path = config.rules.clone().unwrap();
        let error = world.try_start(config, moderation::build).await.unwrap_err();
        assert_eq!(error.exit_code(), 2, "the caller has to put it right");
        let said = error.to_string();
        assert!(said.contains("cannot use the rules") && said.contains(path.to_str().unwrap()), "{said}");
        assert!(!world.data_dir(ServiceName::Moderation).exists(), "and nothing was begun");
    }
}
