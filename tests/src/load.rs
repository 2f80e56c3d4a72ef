//! Writers that never stop writing while a test breaks things.

use crate::blog::{Blog, contents, statuses};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use test_support::{LIMIT, eventually};
use tokio::task::JoinSet;

/// How many writers there are.
const WRITERS: usize = 4;
/// The pause of a writer between two comments.
const PAUSE: Duration = Duration::from_millis(15);

/// A comment that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Written {
    /// The post.
    pub post: String,
    /// The content, which is unique.
    pub content: String,
}

/// The running writers.
#[derive(Debug)]
pub struct Load {
    over: Arc<AtomicBool>,
    writers: JoinSet<Vec<Written>>,
}

impl Load {
    /// Starts writing comments on these posts. A comment that is not acknowledged is not repeated.
    pub fn start(blog: &Blog, posts: &[String]) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (blog, posts, over) = (blog.clone(), posts.to_vec(), Arc::clone(&over));
            writers.spawn(async move {
                let mut written = Vec::new();
                for (n, post) in posts.iter().cycle().enumerate() {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let content = format!("comment {n} of writer {writer}");
                    let body = serde_json::json!({ "content": content });
                    let request = blog.comments.post(&format!("/posts/{post}/comments")).json(&body);
                    if request.try_send().await.is_ok_and(|answer| answer.status == 201) {
                        written.push(Written { post: post.clone(), content });
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                written
            });
        }
        Self { over, writers }
    }

    /// Ends the writing; returns every acknowledged comment.
    pub async fn end(self) -> BTreeSet<Written> {
        self.over.store(true, Ordering::Relaxed);
        self.writers.join_all().await.into_iter().flatten().collect()
    }
}

/// Waits until every comment is approved exactly once, in the read model and in the comments service.
pub async fn until_all_approved(blog: &Blog, written: &BTreeSet<Written>) {
    eventually(LIMIT, "every comment is approved in the read model", async || {
        let posts = blog.read().await;
        let posts = posts.as_object().into_iter().flatten();
        compare(posts.map(|(post, entry)| (post.clone(), entry["comments"].clone())).collect(), written)
    })
    .await;
    let posts: BTreeSet<_> = written.iter().map(|w| &w.post).collect();
    eventually(LIMIT, "every comment is approved in the comments service", async || {
        let mut all = Vec::new();
        for post in &posts {
            all.push(((*post).clone(), blog.comments(post).await));
        }
        compare(all, written)
    })
    .await;
}

/// The first fault of these comments, if any.
fn compare(posts: Vec<(String, Value)>, written: &BTreeSet<Written>) -> Result<(), String> {
    let mut found = BTreeSet::new();
    for (post, comments) in &posts {
        let count = |status| statuses(comments).into_iter().filter(|s| *s == status).count();
        if count("approved") != statuses(comments).len() {
            return Err(format!("post {post}: {} pending, {} rejected", count("pending"), count("rejected")));
        }
        for content in contents(comments) {
            let one = Written { post: post.clone(), content: content.to_owned() };
            assert!(found.insert(one), "twice under post {post}: {content:?}");
        }
    }
    let missing: Vec<_> = written.difference(&found).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("{} missing, such as {:?}", missing.len(), missing[0]))
    }
}
