//! The course's `GET /posts`, the most frequent request, cached as bytes.

use crate::store;
use bytes::Bytes;
use kit::http::{ApiResult, ordered_object};
use kit::store::Store;
use rusqlite::Connection;
use shared::views::PostWithComments;
use std::sync::Arc;
use tokio::sync::{Mutex, watch};

/// The first request after a commit builds the answer again; the others wait for it.
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
    pub fn new(store: &Store) -> Self {
        Self { inner: Arc::new(Inner { committed: store.committed(), bytes: Mutex::new(None) }) }
    }

    /// The bytes as of the last commit.
    pub async fn get(&self, store: &Store) -> ApiResult<Bytes> {
        let mut bytes = self.inner.bytes.lock().await;
        // Read before the store: a commit in between makes these bytes out of date, and the next request sees that.
        let commit = *self.inner.committed.borrow();
        if let Some((_, bytes)) = bytes.as_ref().filter(|(at, _)| *at == commit) {
            return Ok(bytes.clone());
        }
        let fresh = store.read(all_posts).await??;
        *bytes = Some((commit, fresh.clone()));
        Ok(fresh)
    }
}

/// Every post with its comments as everybody may see them, oldest first.
fn all_posts(c: &Connection) -> rusqlite::Result<ApiResult<Bytes>> {
    let mut entries = Vec::new();
    for post in store::all_posts(c)? {
        let comments = store::comments_of(c, &post.id)?.iter().map(|comment| comment.view(None)).collect();
        entries.push((post.id.clone(), PostWithComments { post: post.headline(), comments }));
    }
    Ok(ordered_object(entries))
}
