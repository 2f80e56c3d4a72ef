//! A disk that has been filled.

use crate::visitor::Site;
use serde_json::json;
use system_tests::{LIMIT, Setup, eventually, holds};
use test_support::disk::Disk;
use test_support::report_skipped;

/// What is left of the disk: less than the floor, and enough for SQLite.
const LEFT: u64 = 32 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn below_the_floor_of_free_space_pages_are_served_and_writes_refused_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = match Disk::mount(folder.path()) {
        Ok(disk) => disk,
        Err(why) => return report_skipped(&format!("no disk can be mounted: {why}")),
    };
    let site = Site::with(Setup::new().below(folder.path())).await;
    disk.leave(LEFT).expect("a nearly full disk");
    eventually(LIMIT, "writes are refused", async || {
        let request = site.front_door().post("/posts/create").json(&json!({ "title": "Too much" }));
        holds(request.send().await, |answer| answer.status == 503)
    })
    .await;
    let visitor = site.visitor_whose_writes_are_answered(503);
    visitor.leaves("a disk below the floor of free space", 1).await;
}
