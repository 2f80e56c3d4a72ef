use super::*;
use crate::events::QueryEvents;
use kit::messaging::consumer::{Handler, Received};
use kit::runtime::key_waiters::KeyWaiters;
use kit::store::{Guard, Memory, Store, Value};
use proptest::prelude::*;
use shared::events::{CommentCreated, CommentUpdated, PostCreated, Status};
use shared::{Envelope, Event};

pub(crate) fn database() -> Memory {
    Memory::new(MIGRATIONS)
}

/// How SQLite runs a statement, step by step.
pub(crate) fn plan(sql: &str) -> Vec<String> {
    // SQLite's planner does not look at parameters.
    let values = vec![Value::Null; (1..10).filter(|n| sql.contains(&format!("${n}"))).count()];
    let detail = |row: &Row<'_>| Ok(row.text(3)?.to_owned());
    database().tx().query(&format!("EXPLAIN QUERY PLAN {sql}"), &values, detail).unwrap()
}

pub(crate) fn handler() -> QueryEvents {
    QueryEvents { waiters: KeyWaiters::new(0) }
}

/// Applies events as one delivery does.
pub(crate) fn apply(tx: &Tx<'_>, events: &[Event]) {
    let (handler, mut pending) = (handler(), Pending::default());
    for event in events {
        let envelope = Envelope::bare(event).unwrap();
        let received = Received { event, envelope: &envelope, now: Timestamp::from_unix_ms(0) };
        handler.apply(tx, &received, &mut pending).unwrap();
    }
    handler.finish(tx, pending).unwrap();
}

/// Events about few posts and few comments, so that they contradict each other: comments come before their posts,
/// move from one post to another, and change their status in any order.
fn event() -> impl Strategy<Value = Event> {
    let status = prop::sample::select(vec![Status::Pending, Status::Approved, Status::Rejected]);
    let (post, comment) = ("[pq]", "[cde]");
    prop_oneof![
        (post, "[xy]?", prop::option::of(0..3_i64)).prop_map(|(id, body, at)| {
            let (id, title, author) = (id.parse().unwrap(), "T".into(), String::new());
            let created_at = at.map(Timestamp::from_unix_ms);
            PostCreated { id, title, body, author, created_at, version: None }.into()
        }),
        (comment, post, "[ab]").prop_map(|(id, post, content)| {
            CommentCreated {
                id: id.parse().unwrap(),
                content,
                post_id: post.parse().unwrap(),
                status: Status::Pending,
                author: String::new(),
                author_key: None,
                created_at: None,
                version: None,
            }
            .into()
        }),
        (comment, post, status, prop::option::of(1..5_u32)).prop_map(|(id, post, status, version)| {
            CommentUpdated {
                id: id.parse().unwrap(),
                content: "a".into(),
                post_id: post.parse().unwrap(),
                status,
                reason: None,
                version,
            }
            .into()
        }),
    ]
}

fn posts_with(tx: &Tx<'_>, count: &str, text: &str) -> Vec<(String, i64, Option<String>)> {
    let sql = format!("SELECT id, {count}, {text} {WITH_BODY} ORDER BY id");
    let read =
        |row: &Row<'_>| Ok((row.text(0)?.to_owned(), row.int(1)?, row.opt_text(2)?.map(str::to_owned)));
    tx.query(&sql, &[], read).unwrap()
}

proptest! {
    #[test]
    fn the_columns_of_a_post_are_what_a_count_and_its_body_say(
        events in prop::collection::vec(event(), 1..30)
    ) {
        let memory = database();
        let tx = &memory.tx();
        apply(tx, &events);
        let counted = "(SELECT count(*) FROM comments WHERE post_id = posts.id AND status = 'approved')";
        // Each of these bodies is its own excerpt.
        prop_assert_eq!(posts_with(tx, "approved", "excerpt"), posts_with(tx, counted, "coalesce(body, '')"));
    }
}

/// All rows of the tables that events write.
fn all_rows(tx: &Tx<'_>) -> Vec<String> {
    let tables = [
        "SELECT json_array('change', n, seq, post_id, comment_id) FROM changes ORDER BY n",
        "SELECT json_array('move', n, post_id, comment_id, at, place) FROM moves ORDER BY n",
    ];
    let rows = |sql: &&str| tx.query(sql, &[], |row| Ok(row.text(0)?.to_owned())).unwrap();
    let others = tables.iter().flat_map(rows);
    dump(tx).unwrap().lines().map(str::to_owned).chain(others).collect()
}

proptest! {
    #[test]
    fn a_delivery_writes_what_its_events_write_one_by_one(events in prop::collection::vec(event(), 1..30)) {
        let memories = (database(), database());
        let (together, one_by_one) = (&memories.0.tx(), &memories.1.tx());
        apply(together, &events);
        for event in events {
            apply(one_by_one, &[event]);
        }
        prop_assert_eq!(all_rows(together), all_rows(one_by_one));
    }
}

#[tokio::test]
async fn rows_of_earlier_versions_gain_their_columns() {
    let dir = tempfile::tempdir().unwrap();
    let before = Store::open(dir.path(), "query", &MIGRATIONS[..4]).unwrap();
    let insert = |tx: &Tx<'_>| {
        for n in 0..600_i64 {
            let body = if n % 3 == 0 { "" } else { "Some **bold** text" };
            let sql = "
                INSERT INTO posts (id, title, body, author, created_at, seq, version)
                VALUES ($1, 'T', $2, 'Ada', 5, $3, 1)";
            tx.execute(sql, values![&format!("p{n:03}"), body, n])?;
        }
        for (id, post, status) in
            [("c1", "p000", "approved"), ("c2", "p000", "approved"), ("c3", "p001", "pending")]
        {
            let sql = "
                INSERT INTO comments (id, post_id, created, author, version, status, content)
                VALUES ($1, $2, 1, '', 1, $3, 'text')";
            tx.execute(sql, values![id, post, status])?;
        }
        Ok::<_, SqlError>(())
    };
    before.write(Guard::None, insert).await.unwrap();
    drop(before);
    testkit::store_is_closed(dir.path(), "query").await;

    let store = Store::open(dir.path(), "query", MIGRATIONS).unwrap();
    crate::fill_excerpts(&store).await.unwrap();
    let listed = store.read(|tx| list(tx, None, 1_000)).await.unwrap();
    assert_eq!(listed.len(), 600);
    for (n, Listed { post, excerpt, approved }) in listed.iter().rev().enumerate() {
        let expected = if n % 3 == 0 { "" } else { "Some bold text" };
        assert_eq!((post.id.as_str(), excerpt.as_str()), (format!("p{n:03}").as_str(), expected));
        assert_eq!(*approved, if n == 0 { 2 } else { 0 });
    }
    let post = store.read(|tx| super::post(tx, &"p001".parse().unwrap())).await.unwrap().unwrap();
    assert_eq!((post.body.as_str(), post.author.as_str(), post.version), ("Some **bold** text", "Ada", 1));
}
