//! The parts of the services' answers that islands need. Few types with few fields: each is code that every reader
//! downloads.

use serde::Deserialize;
use shared::PostId;
use shared::views::CommentView;

/// From `GET /query/posts/{id}`, all comments; from `GET /live`, the one that changed.
#[derive(Deserialize)]
pub(super) struct CommentUpdates {
    #[serde(default)]
    pub comments: Vec<CommentView>,
    pub comment: Option<CommentView>,
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
