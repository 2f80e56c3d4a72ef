//! The parts of the services' answers that islands need. Few types with few fields: each is code that every reader
//! downloads.

use serde::Deserialize;
use shared::PostId;
use shared::views::CommentView;

/// From `GET /query/posts/{id}`, a page of comments; from `GET /live`, the one that changed.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CommentUpdates {
    #[serde(default)]
    pub comments: Vec<CommentView>,
    pub comment: Option<CommentView>,
    pub earlier: Option<String>,
    pub later: Option<String>,
    pub comment_count: Option<usize>,
}

/// The answer to a new comment as the JSON of a [`CommentUpdates`]: that comment alone, or the whole thread with it at the
/// end, from a service that does not know the preference.
pub(super) fn created(answer: &str) -> String {
    let member = if answer.starts_with('[') { "comments" } else { "comment" };
    format!("{{\"{member}\":{answer}}}")
}

/// From `GET /posts?limit=`, and from `POST /posts/create`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Post {
    pub id: PostId,
    #[serde(default)]
    pub comment_count: usize,
}

#[derive(Deserialize)]
pub(super) struct Page {
    pub items: Vec<Post>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_comment_is_found_in_either_answer() {
        let comment = r#"{"id":"new","content":"hi","status":"pending"}"#;
        let older = comment.replace("new", "old");
        for answer in [comment.to_owned(), format!("[{older},{comment}]")] {
            let CommentUpdates { mut comments, comment, .. } =
                serde_json::from_str(&created(&answer)).unwrap();
            assert_eq!(comment.or_else(|| comments.pop()).unwrap().id.as_str(), "new", "{answer}");
        }
    }
}
