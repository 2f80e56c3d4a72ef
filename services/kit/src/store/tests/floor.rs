//! The floor of free disk space. The disk is a small tmpfs, which only root can mount.

use super::*;
use test_support::disk::Disk;

const FLOOR: DiskFloor = DiskFloor::mib(8);

#[tokio::test]
async fn below_the_floor_writes_are_refused_reads_go_on_and_it_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let disk = match Disk::mount(dir.path()) {
        Ok(disk) => disk,
        Err(why) => return test_support::report_skipped(&why),
    };
    let options = Options { disk_floor: FLOOR, ..Options::default() };
    let store = Store::open_with(dir.path(), "s", SCHEMA, options).unwrap();
    store.write(Guard::None, insert(1)).await.unwrap();
    disk.leave(7 * 1024 * 1024).unwrap();
    let mut taken = 1;
    // Measured once a second: until then, writes are accepted.
    let refused = loop {
        match store.write(Guard::None, insert(taken + 1)).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, WriteError::DiskFloor { floor } if floor == FLOOR), "{refused}");
    assert_eq!(all(&store).await.len() as i64, taken, "there is space, and reads need none");
    // What nobody waits for may take some of the space that the floor leaves.
    store.write_lazily(|tx| insert(0)(tx)).await.unwrap();
    store.flush().await.unwrap();
    disk.free().unwrap();
    let accepted = async {
        while let Err(error) = store.write(Guard::None, insert(taken + 1)).await {
            assert!(matches!(error, WriteError::DiskFloor { .. }), "{error}");
        }
    };
    rt::timeout(Duration::from_secs(20), accepted).await.expect("by itself");
    assert_eq!(all(&store).await.len() as i64, taken + 2);
    close(store).await;
}
