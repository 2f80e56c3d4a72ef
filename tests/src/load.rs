//! Writers that write all the time, while a test breaks things.

use crate::blog::{Blog, contents, statuses};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use test_support::{LIMIT, eventually};
use tokio::task::JoinSet;

/// How many write at the same time.
const WRITERS: usize = 4;
/// The pause of a writer between two comments.
const PAUSE: Duration = Duration::from_millis(15);

/// A comment that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Written {
    /// The post.
    pub post: String,
    /// What it says; no two say the same.
    pub content: String,
}

/// Writers at work.
#[derive(Debug)]
pub struct Load {
    over: Arc<AtomicBool>,
    writers: JoinSet<Vec<Written>>,
}

impl Load {
    /// Writes comments on these posts from now on. What is not acknowledged is not written again: it is not
    /// promised to anybody.
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

    /// Ends the writing; gives back everything that was acknowledged.
    pub async fn end(self) -> BTreeSet<Written> {
        self.over.store(true, Ordering::Relaxed);
        self.writers.join_all().await.into_iter().flatten().collect()
    }
}

/// Waits until everything written has its verdict, exactly once, for readers and in the comments service.
pub async fn until_all_approved(blog: &Blog, written: &BTreeSet<Written>) {
    eventually(LIMIT, "every comment is approved on the reading side", async || {
        let posts = blog.read().await;
        let posts = posts.as_object().into_iter().flatten();
        complain(posts.map(|(post, entry)| (post.clone(), entry["comments"].clone())).collect(), written)
    })
    .await;
    let posts: BTreeSet<_> = written.iter().map(|w| &w.post).collect();
    eventually(LIMIT, "every comment is approved in the comments service", async || {
        let mut all = Vec::new();
        for post in &posts {
            all.push(((*post).clone(), blog.comments(post).await));
        }
        complain(all, written)
    })
    .await;
}

/// What is wrong with these comments, if anything.
fn complain(posts: Vec<(String, Value)>, written: &BTreeSet<Written>) -> Result<(), String> {
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
