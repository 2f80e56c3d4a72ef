//! In tests a chunk holds few rows, so that a few posts make several chunks.

use super::response::{CutOff, Reader};
use super::*;
use crate::domain::{Comment, Post};
use crate::store::tests::handler;
use bytes::Bytes;
use kit::http::ordered_object;
use kit::messaging::consumer::{Handler, Received};
use kit::store::{Guard, SqlError, Tx, values};
use proptest::prelude::*;
use proptest::sample::select;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use shared::events::{CommentCreated, CommentUpdated, PostCreated, Status};
use shared::views::PostWithComments;
use shared::{Envelope, Event, Sequence, Timestamp};
use std::collections::BTreeSet;
use tempfile::TempDir;

fn open() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "query", store::MIGRATIONS).unwrap();
    (dir, store)
}

async fn merge(store: &Store, events: Vec<(Event, Option<i64>)>) {
    let apply = move |tx: &Tx<'_>| {
        let (handler, mut pending) = (handler(), store::Pending::default());
        for (event, place) in &events {
            let envelope = Envelope { sequence: place.map(Sequence::new), ..Envelope::bare(event).unwrap() };
            let received = Received { event, envelope: &envelope, now: Timestamp::from_unix_ms(0) };
            handler.apply(tx, &received, &mut pending).unwrap();
        }
        handler.finish(tx, pending).unwrap();
        Ok::<_, SqlError>(())
    };
    store.write(Guard::None, apply).await.unwrap();
}

fn post(id: &str, at: i64) -> Event {
    PostCreated {
        id: id.parse().unwrap(),
        title: "T".into(),
        body: "hidden".into(),
        author: String::new(),
        created_at: Some(Timestamp::from_unix_ms(at)),
        version: None,
    }
    .into()
}

fn comment(id: &str, post: &str, at: i64) -> Event {
    CommentCreated {
        id: id.parse().unwrap(),
        content: "pending, so hidden".into(),
        post_id: post.parse().unwrap(),
        status: Status::Pending,
        author: "Ada".into(),
        author_key: Some("k".into()),
        created_at: Some(Timestamp::from_unix_ms(at)),
        version: None,
    }
    .into()
}

fn verdict(id: &str, post: &str, status: Status, content: &str) -> Event {
    let (id, post_id, content) = (id.parse().unwrap(), post.parse().unwrap(), content.to_owned());
    CommentUpdated { id, content, post_id, status, reason: None, version: None }.into()
}

/// The whole document, rendered the simple way.
async fn reference(store: &Store) -> Bytes {
    let entries = store.read(|tx| {
        let sql = "SELECT id FROM posts ORDER BY at, place, id";
        let posts = tx.query(sql, &[], |row| Ok(row.text(0)?.to_owned()))?;
        posts.into_iter().map(|id| entry(tx, &id)).collect::<Result<Vec<_>, _>>()
    });
    ordered_object(entries.await.unwrap()).unwrap()
}

fn entry(tx: &Tx<'_>, id: &str) -> Result<(String, PostWithComments), SqlError> {
    let post: Post = store::post(tx, &id.parse().unwrap())?.unwrap();
    let sql = "SELECT id FROM comments WHERE post_id = $1 ORDER BY at, place, id";
    let comments = tx.query(sql, values![id], |row| row.parsed(0))?;
    let comments: Result<Vec<Comment>, SqlError> =
        comments.iter().map(|id| Ok(store::comment(tx, id)?.unwrap())).collect();
    let comments = comments?.iter().map(|comment| comment.view(None)).collect();
    Ok((id.to_owned(), PostWithComments { post: post.headline(), comments }))
}

async fn rest(reader: &mut Reader) -> Result<Vec<u8>, CutOff> {
    let mut text = Vec::new();
    while let Some(chunk) = reader.next().await? {
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

async fn whole(document: &Document) -> Bytes {
    rest(&mut Reader::new(document.clone(), Sequence::START)).await.unwrap().into()
}

/// The ids of the posts in a document, in its order. Each entry is a post with comments.
fn ids(text: &[u8]) -> Vec<String> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
            let mut ids = Vec::new();
            while let Some((id, entry)) = map.next_entry::<String, Value>()? {
                let entry: PostWithComments =
                    serde_json::from_value(entry).map_err(serde::de::Error::custom)?;
                assert_eq!(entry.post.id.as_str(), id);
                ids.push(id);
            }
            Ok(ids)
        }
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let ids = serde::Deserializer::deserialize_map(&mut json, Members)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)));
    json.end().unwrap();
    ids
}

#[derive(Debug, Clone)]
enum Step {
    Merge(Vec<(Event, Option<i64>)>),
    /// A reader who takes everything at once.
    Read,
    /// A slow reader begins, or goes on by one chunk.
    Begin,
    Next(usize),
}

fn event() -> impl Strategy<Value = (Event, Option<i64>)> {
    let posts = || select((0..12).map(|n| format!("p{n}")).collect::<Vec<_>>());
    let comments = || select((0..24).map(|n| format!("c{n}")).collect::<Vec<_>>());
    let status = select(vec![Status::Approved, Status::Rejected]);
    let event = prop_oneof![
        3 => (posts(), 0..4_i64).prop_map(|(id, at)| post(&id, at)),
        4 => (comments(), posts(), 0..4_i64).prop_map(|(id, of, at)| comment(&id, &of, at)),
        3 => (comments(), posts(), status, "x{0,200}")
            .prop_map(|(id, of, status, text)| verdict(&id, &of, status, &text)),
    ];
    (event, prop::option::of(1..40_i64))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(event(), 1..6).prop_map(Step::Merge),
        2 => Just(Step::Read),
        1 => Just(Step::Begin),
        3 => (0..4_usize).prop_map(Step::Next),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_merged_the_chunks_come_to_the_same_as_a_simple_rendering(
        begin in prop::collection::vec(event(), 0..60),
        steps in prop::collection::vec(step(), 1..40),
        budget in select(vec![BUDGET, 1_500, 0]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, store) = open();
            let document = Document::with_budget(store.clone(), budget);
            let mut slow: Vec<(Reader, Vec<u8>)> = Vec::new();
            for step in std::iter::once(Step::Merge(begin)).chain(steps) {
                match step {
                    Step::Merge(events) => merge(&store, events).await,
                    Step::Read => assert_eq!(whole(&document).await, reference(&store).await),
                    Step::Begin => slow.push((Reader::new(document.clone(), Sequence::START), Vec::new())),
                    Step::Next(n) => if let Some((reader, text)) = slow.get_mut(n) {
                        text.extend(reader.next().await.unwrap().unwrap_or_default());
                    }
                }
                assert!(document.cached().kept_bytes() <= budget);
            }
            assert_eq!(whole(&document).await, reference(&store).await);
            for (mut reader, mut text) in slow {
                text.extend(rest(&mut reader).await.unwrap());
                let ids = ids(&text);
                assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
            }
        });
    }
}

/// Posts at the times 1, 2, …, more than one chunk holds.
async fn many(store: &Store, count: i64) {
    merge(store, (1..=count).map(|n| (post(&format!("p{n:03}"), n), Some(n))).collect()).await;
}

#[tokio::test]
async fn a_write_renders_its_own_chunk_again_and_no_other() {
    let (_dir, store) = open();
    many(&store, 50).await;
    let document = Document::new(store.clone());
    let chunks = async || {
        let mut reader = Reader::new(document.clone(), Sequence::START);
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            chunks.push(chunk);
        }
        chunks
    };
    let places = |chunks: &[Bytes]| chunks.iter().map(|chunk| chunk.as_ptr()).collect::<Vec<_>>();
    // Held to the end: what is freed may be followed by other bytes at the same place.
    let held = chunks().await;
    let before = places(&held);
    assert!(before.len() > 5, "{}", before.len());
    assert_eq!(places(&chunks().await), before, "the same bytes for each reader");
    // A commit that changes no row of it: a comment without its post, and an event that says nothing new.
    merge(&store, vec![(comment("c0", "unknown", 1), None), (post("p001", 1), Some(1))]).await;
    assert_eq!(places(&chunks().await), before);

    merge(&store, vec![(comment("c1", "p020", 1), Some(51))]).await;
    let after = places(&chunks().await);
    let others: Vec<_> = before.iter().filter(|chunk| after.contains(chunk)).collect();
    assert_eq!(others.len(), before.len() - 1, "{before:?} {after:?}");
}

#[tokio::test]
async fn the_answer_has_what_its_reader_has_seen_although_that_commit_is_not_counted_yet() {
    let (dir, store) = open();
    many(&store, 3).await;
    let document = Document::new(store.clone());
    whole(&document).await;
    // Readers see a commit a moment before its writer counts it.
    let other = rusqlite::Connection::open(dir.path().join("query.db")).unwrap();
    let commit = "BEGIN;
        INSERT INTO posts (id, title, author, created_at, seq, version, excerpt, approved)
            VALUES ('p004', 'T', '', 4, 4, 1, '', 0);
        INSERT INTO changes (n, seq, post_id) VALUES (4, 4, 'p004');
        UPDATE cursor SET seq = 4;
        COMMIT;";
    other.execute_batch(commit).unwrap();
    let (response, sequence) = document.response(Sequence::new(4)).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert_eq!((body, sequence), (reference(&store).await, Sequence::new(4)));
}

#[tokio::test]
async fn a_chunk_is_freed_with_the_last_response_that_holds_it() {
    let (_dir, store) = open();
    many(&store, 3).await;
    let document = Document::new(store.clone());
    let held = Reader::new(document.clone(), Sequence::START).next().await.unwrap().unwrap();
    assert!(!held.is_unique(), "the document holds it, too");
    merge(&store, vec![(post("p004", 4), Some(4))]).await;
    whole(&document).await;
    assert!(held.is_unique());
}

#[tokio::test]
async fn readers_of_one_chunk_wait_for_one_rendering() {
    let (_dir, store) = open();
    many(&store, 3).await;
    let document = Document::new(store.clone());
    let first =
        async || Reader::new(document.clone(), Sequence::START).next().await.unwrap().unwrap().as_ptr();
    let chunks = futures_util::future::join_all((0..50).map(|_| first())).await;
    assert_eq!(chunks.into_iter().collect::<BTreeSet<_>>().len(), 1);
}

#[tokio::test]
async fn a_post_that_moves_behind_a_reader_who_has_it_is_not_sent_again() {
    let (_dir, store) = open();
    let events: Vec<_> = (1..=30).map(|n| (post(&format!("p{n:03}"), n), (n != 2).then_some(n))).collect();
    merge(&store, events).await;
    let document = Document::new(store.clone());
    let mut reader = Reader::new(document.clone(), Sequence::START);
    let mut text = reader.next().await.unwrap().unwrap().to_vec();
    assert!(ids(&whole(&document).await).starts_with(&["p001".to_owned(), "p002".to_owned()]));
    // The log knows it, and says that it is later.
    merge(&store, vec![(post("p002", 25), Some(2))]).await;
    text.extend(rest(&mut reader).await.unwrap());
    assert_eq!(ids(&text), (1..=30).map(|n| format!("p{n:03}")).collect::<Vec<_>>());
    assert_eq!(whole(&document).await, reference(&store).await);
}
