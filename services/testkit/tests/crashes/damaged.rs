//! A damaged file: every service refuses to start on it.

use crate::process::System;
use serde_json::json;
use shared::ServiceName::{Comments, EventBus, Moderation, Posts, Query};

#[tokio::test]
async fn on_a_damaged_file_every_service_ends_with_1_and_names_it() {
    let mut system = System::new();
    for name in [EventBus, Posts, Comments, Moderation, Query] {
        system.start(name).await;
        if name == EventBus {
            let event = json!({"type": "PostCreated", "data": {"id": "p1", "title": "T"}});
            assert_eq!(system.post(name, "/events", None, &event).await.expect("an answer").status, 200);
        }
        system.kill(name);
        let file = system.folder(name).join(format!("{name}.db"));
        let _ = std::fs::remove_file(system.folder(name).join(format!("{name}.db-wal")));
        let damaged = vec![0x55; 10_000];
        std::fs::write(&file, &damaged).expect("a file");
        system.start(name).await;
        let status = system.end_of(name).await;
        let output = system.output(name);
        assert_eq!(status.code(), Some(1), "{output}");
        let line = format!("{name}: cannot open the store: the database {} is damaged: ", file.display());
        assert!(output.contains(&line), "{output}");
        assert_eq!(std::fs::read(&file).expect("a file"), damaged, "the file is unchanged");
    }
}
