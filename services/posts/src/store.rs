//! Posts.

use kit::app::peer::tables;
use kit::store::{Migration, Row, Schema, SqlError, Tx, values};
use shared::Timestamp;
use shared::events::PostCreated;
use shared::views::PostView;
use std::ops::ControlFlow;

pub const SCHEMA: Schema = Schema {
    present: &[
        tables::INBOX,
        tables::CURSOR_ROW,
        tables::OUTBOX,
        tables::DEAD_LETTERS,
        tables::IDEMPOTENCY,
        "
        CREATE TABLE posts (
            n INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            author TEXT NOT NULL,
            created_at INTEGER,
            version INTEGER
        ) STRICT;
        CREATE INDEX posts_by_age ON posts (created_at);
    ",
    ],
    history: MIGRATIONS,
    oldest_program: 7,
};

pub const MIGRATIONS: &[Migration] = &[
    kit::app::peer::SCHEMA,
    &["
        CREATE TABLE posts (
            id TEXT PRIMARY KEY,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            author TEXT NOT NULL,
            created_at INTEGER,
            version INTEGER
        ) STRICT;
        CREATE INDEX posts_by_age ON posts (created_at, id);
    "],
    // Of the same time, the post that was stored first is the older one.
    &["
        DROP INDEX posts_by_age;
        CREATE INDEX posts_by_age ON posts (created_at);
    "],
    kit::app::peer::DEAD_LETTERS_BY_EVENT,
    // The order in which posts were stored has a column: until here it was SQLite's own number of a row.
    &["
        ALTER TABLE posts RENAME TO old_posts;
        DROP INDEX posts_by_age;
        CREATE TABLE posts (
            n INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            author TEXT NOT NULL,
            created_at INTEGER,
            version INTEGER
        ) STRICT;
        CREATE INDEX posts_by_age ON posts (created_at);
        INSERT INTO posts (n, id, title, body, author, created_at, version)
            SELECT rowid, id, title, body, author, created_at, version FROM old_posts;
        DROP TABLE old_posts;
    "],
    kit::app::peer::DEAD_LETTERS_EVENT_COLUMNS,
    kit::app::peer::CURSOR_ROW,
];

/// A post that is already stored stays as it is.
pub fn insert(tx: &Tx<'_>, post: &PostCreated) -> Result<(), SqlError> {
    let sql = "
        INSERT INTO posts (id, title, body, author, created_at, version) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING";
    let values = values![
        post.id.as_str(),
        &post.title,
        &post.body,
        &post.author,
        post.created_at.map(Timestamp::unix_ms),
        post.version,
    ];
    tx.execute(sql, values).map(drop)
}

/// A post with its body.
pub fn find(tx: &Tx<'_>, id: &str) -> Result<Option<PostView>, SqlError> {
    let sql = "SELECT id, title, body, author, created_at, version, n FROM posts WHERE id = $1";
    tx.first(sql, values![id], |row| placed(row).map(|(_, post)| post))
}

/// Where a post stands among the others: by its time, those without a time first, and then by the order in which they
/// were stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    created_at: Option<i64>,
    n: i64,
}

impl Position {
    /// Before all posts.
    pub const START: Self = Self { created_at: None, n: 0 };
}

/// The number of the post that was stored last; 0 if there is none.
pub fn last_number(tx: &Tx<'_>) -> Result<i64, SqlError> {
    tx.one("SELECT coalesce(max(n), 0) FROM posts", &[], |row| row.int(0))
}

/// Passes the posts after a position, of those up to a number, to `take` until it breaks: oldest first, without their
/// bodies.
pub fn in_order(
    tx: &Tx<'_>,
    after: Position,
    up_to: i64,
    mut take: impl FnMut(Position, PostView) -> Result<ControlFlow<()>, SqlError>,
) -> Result<(), SqlError> {
    const COLUMNS: &str = "SELECT id, title, '', author, created_at, version, n FROM posts";
    let mut take = |row: &Row<'_>| {
        let (position, post) = placed(row)?;
        take(position, post)
    };
    // Separate statements: no comparison of SQL puts those without a time before the others.
    let goes_on = if let Some(time) = after.created_at {
        let same = format!("{COLUMNS} WHERE created_at = $1 AND n > $2 AND n <= $3 ORDER BY n");
        tx.each(&same, values![time, after.n, up_to], &mut take)?
    } else {
        let none = format!("{COLUMNS} WHERE created_at IS NULL AND n > $1 AND n <= $2 ORDER BY n");
        tx.each(&none, values![after.n, up_to], &mut take)?
    };
    if goes_on {
        let later = format!("{COLUMNS} WHERE created_at > $1 AND n <= $2 ORDER BY created_at, n");
        tx.each(&later, values![after.created_at.unwrap_or(i64::MIN), up_to], &mut take)?;
    }
    Ok(())
}

fn placed(row: &Row<'_>) -> Result<(Position, PostView), SqlError> {
    let created_at: Option<i64> = row.opt_int(4)?;
    let post = PostView {
        id: row.parsed(0)?,
        title: row.text(1)?.to_owned(),
        body: row.text(2)?.to_owned(),
        author: row.text(3)?.to_owned(),
        created_at: created_at.map(Timestamp::from_unix_ms),
        version: row.opt_int(5)?,
    };
    Ok((Position { created_at, n: row.int(6)? }, post))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::store::{Guard, Store};

    fn post(id: &str, at: Option<i64>) -> PostCreated {
        let (id, title) = (id.parse().unwrap(), String::new());
        let created_at = at.map(Timestamp::from_unix_ms);
        PostCreated { id, title, body: "hidden".into(), author: String::new(), created_at, version: Some(1) }
    }

    fn ids(tx: &Tx<'_>, after: Position, count: usize) -> Result<(Vec<String>, Position), SqlError> {
        let (mut ids, mut last) = (Vec::new(), after);
        in_order(tx, after, last_number(tx)?, |position, post| {
            if ids.len() == count {
                return Ok(ControlFlow::Break(()));
            }
            assert_eq!(post.body, "");
            ids.push(post.id.to_string());
            last = position;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((ids, last))
    }

    #[tokio::test]
    async fn posts_of_earlier_versions_keep_their_order_and_new_ones_follow() {
        let dir = tempfile::tempdir().unwrap();
        let before = Store::open(dir.path(), "posts", &MIGRATIONS[..4]).unwrap();
        let times = [("z", Some(2)), ("d", Some(1)), ("c", None), ("b", Some(1)), ("a", None)];
        let write = move |tx: &Tx<'_>| times.iter().try_for_each(|(id, at)| insert(tx, &post(id, *at)));
        before.write(Guard::None, write).await.unwrap();
        drop(before);
        testkit::store_is_closed(dir.path(), "posts").await;

        let store = Store::open(dir.path(), "posts", MIGRATIONS).unwrap();
        let write = |tx: &Tx<'_>| {
            insert(tx, &post("0", Some(1)))?;
            insert(tx, &post("b", Some(9)))
        };
        store.write(Guard::None, write).await.unwrap();
        let all = ["c", "a", "d", "b", "0", "z"];
        // However many are taken at once.
        for count in 1..=all.len() {
            let read = store.read(move |tx| {
                let (mut found, mut position) = (Vec::new(), Position::START);
                loop {
                    let (some, last) = ids(tx, position, count)?;
                    if some.is_empty() {
                        return Ok(found);
                    }
                    found.extend(some);
                    position = last;
                }
            });
            assert_eq!(read.await.unwrap(), all, "{count} at once");
        }
        let found = store.read(|tx| find(tx, "d")).await.unwrap().unwrap();
        assert_eq!((found.body.as_str(), found.version), ("hidden", Some(1)));
    }

    #[test]
    fn the_present_tables_are_those_of_the_history() {
        kit::store::Memory::compare(&SCHEMA);
    }
}
