//! The volumes outlive the containers.

use serde_json::Value;
use system_tests::blog::{contents, statuses};
use system_tests::containers::deployment::Deployment;
use system_tests::load::{Load, until_all_approved};
use system_tests::{LIMIT, eventually, holds};

/// How many posts are written, and the least number of comments.
const POSTS: usize = 12;
const COMMENTS: usize = 100;

/// Writes posts and comments through the front door, and waits until they are moderated.
pub async fn are_filled(deployment: &Deployment) {
    let blog = deployment.blog();
    let mut posts = Vec::new();
    for n in 0..POSTS {
        let post = blog.post(&format!("Kept in a volume {n}")).await;
        blog.until_known(&post).await;
        posts.push(post);
    }
    let load = Load::start(&blog, &posts);
    eventually(LIMIT, "there is something to lose", async || {
        let all = blog.read().await;
        let comments = posts.iter().map(|post| contents(&all[post]["comments"]).len()).sum::<usize>();
        holds(comments, |comments| *comments >= COMMENTS)
    })
    .await;
    until_all_approved(&blog, &load.end().await).await;
}

/// After all containers have been replaced on the same volumes, readers see the same bytes.
pub async fn outlive_the_containers(deployment: &Deployment) {
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
    assert!(before.as_object().is_some_and(|posts| posts.len() >= POSTS), "there is something to lose");
    deployment.remove_all();
    deployment.launch_all().await;
    assert_eq!(read().await, before);
    // The other services continue where they were.
    let blog = deployment.blog();
    let (post, _) = before.as_object().into_iter().flatten().next().expect("a post");
    let known = contents(&before[post]["comments"]).len();
    blog.comment(post, "on the same volumes").await;
    let again = blog.until_settled(post, known + 1).await;
    assert_eq!(contents(&again["comments"]).len(), known + 1, "{again}");
}
