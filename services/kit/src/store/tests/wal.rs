//! The length of the WAL.

use super::*;

const BLOBS: &[Migration] = &[&["CREATE TABLE blob (n INTEGER PRIMARY KEY, bytes BLOB) STRICT"]];
/// Each write is as long as this many pages, at least.
const PAGES: i64 = 20;
const PAGE_BYTES: i64 = 4_096;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wal_stays_short_although_reads_always_overlap() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "s", BLOBS).unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    // A read ends once the next one has begun, or may not begin.
    let reading = rt::spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move {
            let mut under_way = Vec::new();
            let (mut reads, mut overlapping) = (0, 0);
            let mut next_begins: Option<std::sync::mpsc::Sender<()>> = None;
            while !stop.is_cancelled() {
                let (begin, begun) = oneshot::channel();
                let (ends, may_end) = std::sync::mpsc::channel();
                let read = move |tx: &Tx<'_>| {
                    let n = tx.one("SELECT count(*) FROM blob", &[], |row| row.int::<i64>(0))?;
                    let _ = begin.send(());
                    let overlapped = may_end.recv_timeout(Duration::from_millis(50)).is_ok();
                    Ok((n, overlapped))
                };
                let store = store.clone();
                under_way.push(rt::spawn(async move { store.read(read).await }));
                begun.await.unwrap();
                if let Some(previous) = next_begins.replace(ends) {
                    let _ = previous.send(());
                }
                if under_way.len() == 2 {
                    overlapping += usize::from(under_way.remove(0).await.unwrap().unwrap().1);
                    reads += 1;
                }
            }
            (reads, overlapping)
        }
    });
    let mut longest = 0;
    for n in 0..1_000_i64 {
        let write = move |tx: &Tx<'_>| {
            tx.execute("INSERT INTO blob VALUES ($1, zeroblob($2))", values![n, PAGES * PAGE_BYTES]).map(drop)
        };
        store.write(Guard::None, write).await.unwrap();
        longest = longest.max(std::fs::metadata(dir.path().join("s.db-wal")).unwrap().len());
    }
    stop.cancel();
    let (reads, overlapping) = reading.await.unwrap();
    assert!(reads > 20 && overlapping * 2 > reads, "{overlapping} of {reads} reads overlapped the next");
    let written = 1_000 * PAGES * PAGE_BYTES;
    assert!((longest as i64) < written / 2, "{longest} bytes of {written}");
}
