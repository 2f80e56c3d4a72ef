//! The blog as its readers and writers use it.

use crate::http::{Answer, Server};
use serde_json::{Value, json};
use test_support::{LIMIT, eventually, holds};

/// The addresses of three services, or three times that of the front door.
#[derive(Debug, Clone)]
pub struct Blog {
    /// Accepts `POST /posts/create`.
    pub posts: Server,
    /// Accepts `POST /posts/{id}/comments`.
    pub comments: Server,
    /// Answers `GET /posts`.
    pub query: Server,
}

/// The id in an object.
#[track_caller]
pub fn id_of(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value}")).to_owned()
}

/// The status of each comment, in order.
pub fn statuses(comments: &Value) -> Vec<&str> {
    comments.as_array().into_iter().flatten().filter_map(|comment| comment["status"].as_str()).collect()
}

/// The text of each comment, in order.
pub fn contents(comments: &Value) -> Vec<&str> {
    comments.as_array().into_iter().flatten().filter_map(|comment| comment["content"].as_str()).collect()
}

impl Blog {
    /// Writes a post, as the course's client does; returns its id.
    pub async fn post(&self, title: &str) -> String {
        let answer = self.posts.post("/posts/create").json(&json!({ "title": title })).send().await;
        id_of(&answer.expect(201).json())
    }

    /// Tries to write a comment, as the course's client does.
    pub async fn try_comment(&self, post: &str, content: &str) -> Answer {
        let path = format!("/posts/{post}/comments");
        self.comments.post(&path).json(&json!({ "content": content })).send().await
    }

    /// Writes a comment; returns its id.
    pub async fn comment(&self, post: &str, content: &str) -> String {
        let all = self.try_comment(post, content).await.expect(201).json();
        id_of(all.as_array().and_then(|all| all.last()).unwrap_or(&Value::Null))
    }

    /// The comments of a post in the comments service.
    pub async fn comments(&self, post: &str) -> Value {
        self.comments.get(&format!("/posts/{post}/comments")).send().await.expect(200).json()
    }

    /// All posts, in the course's form.
    pub async fn read(&self) -> Value {
        self.query.get("/posts").send().await.expect(200).json()
    }

    /// A post with its comments in the read model; null if it is unknown.
    pub async fn read_post(&self, post: &str) -> Value {
        let answer = self.query.get(&format!("/query/posts/{post}")).send().await;
        if answer.status == 404 { Value::Null } else { answer.expect(200).json() }
    }

    /// Waits until the read model has a post.
    pub async fn until_known(&self, post: &str) -> Value {
        let what = format!("the read model has post {post}");
        eventually(LIMIT, &what, async || holds(self.read_post(post).await, |p| !p.is_null())).await
    }

    /// Waits until the read model has this many comments of a post, none of them pending.
    pub async fn until_settled(&self, post: &str, count: usize) -> Value {
        let what = format!("{count} comments of post {post} have their verdict in the read model");
        let settled = |p: &Value| {
            let statuses = statuses(&p["comments"]);
            statuses.len() >= count && !statuses.contains(&"pending")
        };
        eventually(LIMIT, &what, async || holds(self.read_post(post).await, settled)).await
    }
}
