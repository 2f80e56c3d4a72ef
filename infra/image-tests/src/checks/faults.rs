//! Containers that die, one by one, while people write.

use crate::deployment::Deployment;
use serde_json::{Value, json};
use shared::ServiceName;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use system_tests::LIMIT;
use system_tests::blog::{Blog, contents, id_of, statuses};
use system_tests::eventually::{eventually, holds};

/// How many writes are begun while a container is down, and answered after it is there again.
const WRITES: usize = 10;

/// Somebody who writes on and on, and keeps what was acknowledged.
struct Writer {
    begun: Arc<AtomicUsize>,
    acknowledged: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Written>,
}

/// What was acknowledged.
#[derive(Debug, Default)]
struct Written {
    posts: Vec<String>,
    comments: Vec<String>,
}

impl Writer {
    /// Writes posts, and comments on this one.
    fn start(blog: Blog, post: String, about: ServiceName) -> Self {
        let (begun, acknowledged, enough) =
            <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let (counts, acks, stop) = (begun.clone(), acknowledged.clone(), enough.clone());
        let task = tokio::spawn(async move {
            let mut written = Written::default();
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                counts.fetch_add(1, Ordering::Relaxed);
                let title = format!("Written while {about} dies, {n}");
                let sent = blog.posts.post("/posts/create").json(&json!({ "title": title })).try_send().await;
                if let Ok(answer) = sent.as_ref()
                    && answer.status == 201
                {
                    written.posts.push(id_of(&answer.json()));
                    acks.fetch_add(1, Ordering::Relaxed);
                }
                let content = format!("written while {about} dies, {n}");
                let request = blog.comments.post(&format!("/posts/{post}/comments"));
                let sent = request.json(&json!({ "content": content })).try_send().await;
                if sent.is_ok_and(|answer| answer.status == 201) {
                    written.comments.push(content);
                    acks.fetch_add(1, Ordering::Relaxed);
                }
            }
            written
        });
        Self { begun, acknowledged, enough, task }
    }

    /// Waits until so many more writes were begun, or acknowledged.
    async fn goes_on(count: &AtomicUsize, what: &str) {
        let from = count.load(Ordering::Relaxed);
        eventually(LIMIT, what, async || {
            holds(count.load(Ordering::Relaxed), |count| *count >= from + WRITES)
        })
        .await;
    }

    async fn stop(self) -> Written {
        self.enough.store(true, Ordering::Relaxed);
        self.task.await.expect("the writer writes to the end")
    }
}

/// Each is killed and started again under writes. What was acknowledged is there in the end, judged; while one is
/// down that does not take writes itself, writes are still acknowledged.
pub async fn lose_nothing(deployment: &Deployment) {
    let blog = deployment.blog();
    for service in ServiceName::ALL {
        let post = blog.post(&format!("For comments while {service} dies")).await;
        blog.until_known(&post).await;
        let writer = Writer::start(blog.clone(), post.clone(), service);
        Writer::goes_on(&writer.acknowledged, "writes are acknowledged").await;
        deployment.kill(service).await;
        Writer::goes_on(&writer.begun, &format!("people write on without {service}")).await;
        if matches!(service, ServiceName::EventBus | ServiceName::Moderation | ServiceName::Query) {
            let what = format!("writes are acknowledged without {service}");
            Writer::goes_on(&writer.acknowledged, &what).await;
        }
        deployment.start(service).await;
        let what = format!("writes are acknowledged with {service} again");
        Writer::goes_on(&writer.acknowledged, &what).await;
        let written = writer.stop().await;

        for id in &written.posts {
            blog.until_known(id).await;
        }
        let settled = blog.until_settled(&post, written.comments.len()).await;
        let there = contents(&settled["comments"]);
        for comment in &written.comments {
            assert_eq!(there.iter().filter(|text| *text == comment).count(), 1, "{comment:?} is there, once");
        }
        assert!(statuses(&settled["comments"]).iter().all(|status| *status == "approved"), "{settled}");
    }
}

/// All containers are taken away and made anew on the same volumes: every byte that readers see is as before.
pub async fn leave_the_volumes(deployment: &Deployment) {
    let read = async || {
        let mut everything = deployment.blog().read().await;
        everything.as_object_mut().expect("an object").sort_keys();
        everything
    };
    let settled = |everything: &Value| {
        let mut posts = everything.as_object().into_iter().flatten().map(|(_, post)| post);
        posts.all(|post| !statuses(&post["comments"]).contains(&"pending"))
    };
    let before = eventually(LIMIT, "everything is judged", async || holds(read().await, settled)).await;
    assert!(before.as_object().is_some_and(|posts| posts.len() > 10), "there is something to lose");
    deployment.remove_all().await;
    deployment.launch_all().await;
    assert_eq!(read().await, before);
    // The others have theirs, too: each goes on where it was.
    let blog = deployment.blog();
    let (post, _) = before.as_object().into_iter().flatten().next().expect("a post");
    let known = contents(&before[post]["comments"]).len();
    blog.comment(post, "on the same volumes").await;
    let again = blog.until_settled(post, known + 1).await;
    assert_eq!(contents(&again["comments"]).len(), known + 1, "{again}");
}
