//! The answer that most readers ask for, kept as bytes.

use crate::store;
use bytes::Bytes;
use kit::http::{ApiResult, ordered_object};
use kit::store::Store;
use rusqlite::Connection;
use shared::views::PostWithComments;
use std::sync::Arc;
use tokio::sync::{Mutex, watch};

/// The course's `GET /posts` as bytes; written anew for the first reader after a commit, while the others wait for
/// that one.
#[derive(Debug, Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    committed: watch::Receiver<u64>,
    bytes: Mutex<Option<(u64, Bytes)>>,
}

impl Cache {
    /// An empty cache over this store.
    pub fn new(store: &Store) -> Self {
        Self { inner: Arc::new(Inner { committed: store.committed(), bytes: Mutex::new(None) }) }
    }

    /// The bytes as of the last commit.
    pub async fn get(&self, store: &Store) -> ApiResult<Bytes> {
        let mut bytes = self.inner.bytes.lock().await;
        // Taken before the store is read: what is committed meanwhile makes these bytes old, never new ones wrong.
        let commit = *self.inner.committed.borrow();
        if let Some((_, bytes)) = bytes.as_ref().filter(|(at, _)| *at == commit) {
            return Ok(bytes.clone());
        }
        let fresh = store.read(all_posts).await??;
        *bytes = Some((commit, fresh.clone()));
        Ok(fresh)
    }
}

/// Every post with its comments, as everybody may see them, oldest first.
fn all_posts(c: &Connection) -> rusqlite::Result<ApiResult<Bytes>> {
    let mut entries = Vec::new();
    for post in store::all_posts(c)? {
        let comments = store::comments_of(c, &post.id)?.iter().map(|comment| comment.view(None)).collect();
        entries.push((post.id.clone(), PostWithComments { post: post.headline(), comments }));
    }
    Ok(ordered_object(entries))
}
