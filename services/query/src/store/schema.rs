//! The schema of the read model.

use kit::store::{Migration, Schema};

/// Each replica keeps a file of its own.
pub const SCHEMA: Schema = Schema { present: &[], history: MIGRATIONS, oldest_program: 0 };

/// No foreign keys: a comment may arrive before its post.
pub const MIGRATIONS: &[Migration] = &[
    kit::app::peer::SCHEMA,
    &["
        CREATE TABLE posts (
            id TEXT PRIMARY KEY,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            author TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            version INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX posts_by_age ON posts (created_at, id);
        CREATE TABLE comments (
            id TEXT PRIMARY KEY,
            post_id TEXT NOT NULL,
            created INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            author TEXT NOT NULL,
            author_key TEXT,
            version INTEGER NOT NULL,
            status TEXT NOT NULL,
            content TEXT NOT NULL,
            reason TEXT
        ) STRICT;
        CREATE INDEX comments_of_post ON comments (post_id, created_at, id);
        -- The latest changes, for clients that reconnect: not part of the read model.
        CREATE TABLE changes (
            n INTEGER PRIMARY KEY AUTOINCREMENT,
            seq INTEGER NOT NULL,
            post_id TEXT NOT NULL,
            comment_id TEXT
        ) STRICT;
        CREATE INDEX changes_by_seq ON changes (seq);
    "],
    // Posts and comments gain their place in the log, which only the log knows: the log is delivered once more and merged
    // into what is here, so that readers miss nothing meanwhile. What an operator discarded stays discarded.
    &["
        ALTER TABLE posts RENAME TO old_posts;
        ALTER TABLE comments RENAME TO old_comments;
        DROP INDEX posts_by_age;
        DROP INDEX comments_of_post;
        DELETE FROM changes;
        DELETE FROM cursor;
        DELETE FROM dead_letters WHERE seq IS NOT NULL AND discarded_at IS NULL;
        CREATE TABLE posts (
            id TEXT PRIMARY KEY,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            author TEXT NOT NULL,
            created_at INTEGER,
            seq INTEGER,
            version INTEGER NOT NULL,
            -- What posts are ordered by; what is not known comes first.
            at INTEGER NOT NULL AS (coalesce(created_at, 0)),
            place INTEGER NOT NULL AS (coalesce(seq, 0))
        ) STRICT;
        CREATE INDEX posts_by_age ON posts (at, place, id);
        CREATE TABLE comments (
            id TEXT PRIMARY KEY,
            post_id TEXT NOT NULL,
            created INTEGER NOT NULL,
            created_at INTEGER,
            seq INTEGER,
            author TEXT NOT NULL,
            author_key TEXT,
            version INTEGER NOT NULL,
            status TEXT NOT NULL,
            content TEXT NOT NULL,
            reason TEXT,
            at INTEGER NOT NULL AS (coalesce(created_at, 0)),
            place INTEGER NOT NULL AS (coalesce(seq, 0))
        ) STRICT;
        CREATE INDEX comments_of_post ON comments (post_id, at, place, id);
        INSERT INTO posts (id, title, body, author, created_at, seq, version)
            SELECT id, title, body, author, nullif(created_at, 0), NULL, version FROM old_posts;
        INSERT INTO comments (id, post_id, created, created_at, seq, author, author_key, version, status, content, reason)
            SELECT id, post_id, created, nullif(created_at, 0), NULL, author, author_key, version, status, content, reason
            FROM old_comments;
        DROP TABLE old_posts;
        DROP TABLE old_comments;
    "],
    kit::app::peer::DEAD_LETTERS_BY_EVENT,
    // What lists show is computed once, when it is merged, and not once for each reader. Bodies are long and no list
    // shows them, so they have a table of their own. Only Rust can compute an excerpt: `super::fill_excerpts` does, at
    // the start.
    &["
        ALTER TABLE posts RENAME TO old_posts;
        DROP INDEX posts_by_age;
        CREATE TABLE posts (
            id TEXT PRIMARY KEY,
            title TEXT NOT NULL,
            author TEXT NOT NULL,
            created_at INTEGER,
            seq INTEGER,
            version INTEGER NOT NULL,
            excerpt TEXT,
            -- The number of its approved comments.
            approved INTEGER NOT NULL,
            at INTEGER NOT NULL AS (coalesce(created_at, 0)),
            place INTEGER NOT NULL AS (coalesce(seq, 0))
        ) STRICT;
        CREATE UNIQUE INDEX posts_by_age ON posts (at, place, id);
        CREATE INDEX posts_without_excerpt ON posts (id) WHERE excerpt IS NULL;
        -- Posts without a body have no row.
        CREATE TABLE bodies (post_id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
        INSERT INTO bodies SELECT id, body FROM old_posts WHERE body <> '';
        INSERT INTO posts (id, title, author, created_at, seq, version, excerpt, approved)
            SELECT id, title, author, created_at, seq, version, iif(body = '', '', NULL),
                (SELECT count(*) FROM comments WHERE post_id = old_posts.id AND status = 'approved')
            FROM old_posts;
        DROP TABLE old_posts;
        -- Each insert into a table with AUTOINCREMENT writes another page. The last change is never deleted, so that no
        -- number is used twice without it, either.
        ALTER TABLE changes RENAME TO old_changes;
        DROP INDEX changes_by_seq;
        CREATE TABLE changes (
            n INTEGER PRIMARY KEY,
            seq INTEGER NOT NULL,
            post_id TEXT NOT NULL,
            comment_id TEXT
        ) STRICT;
        CREATE INDEX changes_by_seq ON changes (seq);
        INSERT INTO changes SELECT n, seq, post_id, comment_id FROM old_changes;
        DROP TABLE old_changes;
        -- The latest changes of position: where the post or comment stood before. Not part of the read model.
        CREATE TABLE moves (
            n INTEGER PRIMARY KEY AUTOINCREMENT,
            post_id TEXT NOT NULL,
            comment_id TEXT,
            at INTEGER NOT NULL,
            place INTEGER NOT NULL
        ) STRICT;
    "],
    kit::app::peer::DEAD_LETTERS_EVENT_COLUMNS,
    kit::app::peer::CURSOR_ROW,
];
