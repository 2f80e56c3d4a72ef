use super::*;
use crate::events::QueryEvents;
use kit::messaging::consumer::{Handler, Received};
use kit::runtime::key_waiters::KeyWaiters;
use kit::store::Store;
use proptest::prelude::*;
use shared::events::{CommentCreated, CommentUpdated, PostCreated, Status};
use shared::{Envelope, Event};

pub(crate) fn database() -> Connection {
    let c = Connection::open_in_memory().unwrap();
    for part in MIGRATIONS.iter().copied().flatten() {
        c.execute_batch(part).unwrap();
    }
    c
}

/// How SQLite runs a statement, step by step.
pub(crate) fn plan(c: &Connection, sql: &str) -> Vec<String> {
    let mut explain = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // SQLite's planner does not look at parameters.
    explain.raw_query().mapped(|row| row.get("detail")).map(Result::unwrap).collect()
}

pub(crate) fn handler() -> QueryEvents {
    QueryEvents { waiters: KeyWaiters::new(0) }
}

/// Applies events as one delivery does.
pub(crate) fn apply(c: &Connection, events: &[Event]) {
    let (handler, mut pending) = (handler(), Pending::default());
    for event in events {
        let envelope = Envelope::bare(event).unwrap();
        let received = Received { event, envelope: &envelope, now: Timestamp::from_unix_ms(0) };
        handler.apply(c, &received, &mut pending).unwrap();
    }
    handler.finish(c, pending).unwrap();
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

fn posts_with(c: &Connection, count: &str, text: &str) -> Vec<(String, i64, Option<String>)> {
    let mut found = c.prepare(&format!("SELECT id, {count}, {text} {WITH_BODY} ORDER BY id")).unwrap();
    found
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

proptest! {
    #[test]
    fn the_columns_of_a_post_are_what_a_count_and_its_body_say(
        events in prop::collection::vec(event(), 1..30)
    ) {
        let c = database();
        apply(&c, &events);
        let counted = "(SELECT count(*) FROM comments WHERE post_id = posts.id AND status = 'approved')";
        // Each of these bodies is its own excerpt.
        prop_assert_eq!(posts_with(&c, "approved", "excerpt"), posts_with(&c, counted, "coalesce(body, '')"));
    }
}

/// All rows of the tables that events write.
fn all_rows(c: &Connection) -> Vec<String> {
    let tables = [
        "SELECT json_array('change', n, seq, post_id, comment_id) FROM changes ORDER BY n",
        "SELECT json_array('move', n, post_id, comment_id, at, place) FROM moves ORDER BY n",
    ];
    let others = tables.iter().flat_map(|sql| {
        let mut rows = c.prepare(sql).unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect::<Vec<String>>()
    });
    dump(c).unwrap().lines().map(str::to_owned).chain(others).collect()
}

proptest! {
    #[test]
    fn a_delivery_writes_what_its_events_write_one_by_one(events in prop::collection::vec(event(), 1..30)) {
        let (together, one_by_one) = (database(), database());
        apply(&together, &events);
        for event in events {
            apply(&one_by_one, &[event]);
        }
        prop_assert_eq!(all_rows(&together), all_rows(&one_by_one));
    }
}

#[tokio::test]
async fn rows_of_earlier_versions_gain_their_columns() {
    let dir = tempfile::tempdir().unwrap();
    let before = Store::open(dir.path(), "query", &MIGRATIONS[..4]).unwrap();
    let insert = |c: &Connection| {
        for n in 0..600 {
            let body = if n % 3 == 0 { "" } else { "Some **bold** text" };
            c.execute(
                "INSERT INTO posts (id, title, body, author, created_at, seq, version) VALUES (?1, 'T', ?2, 'Ada', 5, ?3, 1)",
                (format!("p{n:03}"), body, n),
            )?;
        }
        for (id, post, status) in
            [("c1", "p000", "approved"), ("c2", "p000", "approved"), ("c3", "p001", "pending")]
        {
            c.execute(
                "INSERT INTO comments (id, post_id, created, author, version, status, content)
                 VALUES (?1, ?2, 1, '', 1, ?3, 'text')",
                (id, post, status),
            )?;
        }
        Ok::<_, rusqlite::Error>(())
    };
    before.write(insert).await.unwrap();
    drop(before);
    testkit::store_is_closed(dir.path(), "query").await;

    let store = Store::open(dir.path(), "query", MIGRATIONS).unwrap();
    crate::fill_excerpts(&store).await.unwrap();
    let listed = store.read(|c| list(c, None, 1_000)).await.unwrap();
    assert_eq!(listed.len(), 600);
    for (n, Listed { post, excerpt, approved }) in listed.iter().rev().enumerate() {
        let expected = if n % 3 == 0 { "" } else { "Some bold text" };
        assert_eq!((post.id.as_str(), excerpt.as_str()), (format!("p{n:03}").as_str(), expected));
        assert_eq!(*approved, if n == 0 { 2 } else { 0 });
    }
    let post = store.read(|c| super::post(c, &"p001".parse().unwrap())).await.unwrap().unwrap();
    assert_eq!((post.body.as_str(), post.author.as_str(), post.version), ("Some **bold** text", "Ada", 1));
}
