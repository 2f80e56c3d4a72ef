//! What services answer, as far as islands care. Few types and no more fields than are shown: each one is code
//! that every reader downloads.

use serde::Deserialize;
use shared::PostId;
use shared::views::CommentView;

/// What the reading side tells of a post: all its comments, or the one that changed.
#[derive(Deserialize)]
pub(super) struct News {
    #[serde(default)]
    pub comments: Vec<CommentView>,
    pub comment: Option<CommentView>,
}

/// A post in a list, or one just created.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Post {
    pub id: PostId,
    #[serde(default)]
    pub comment_count: usize,
}

/// A page of posts.
#[derive(Deserialize)]
pub(super) struct Page {
    pub items: Vec<Post>,
}
