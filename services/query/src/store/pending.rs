//! What a delivery writes once, at its end, and not once for each event.

use super::changes::NewChanges;
use kit::store::{SqlError, Tx, values};
use shared::PostId;
use std::collections::HashMap;

/// What the events of a delivery have changed and the store does not hold yet.
#[derive(Debug, Default)]
pub struct Pending {
    pub changes: NewChanges,
    /// By how many the approved comments of each post have become more.
    approved: HashMap<PostId, i64>,
}

impl Pending {
    /// A post that is not known yet counts its comments when it arrives.
    pub(super) fn add_approved(&mut self, post: Option<&PostId>, change: i64) {
        let Some(post) = post else { return };
        match self.approved.get_mut(post) {
            Some(pending) => *pending += change,
            None => {
                self.approved.insert(post.clone(), change);
            }
        }
    }

    /// The comments of this post have been counted.
    pub(super) fn counted(&mut self, post: &PostId) {
        self.approved.remove(post);
    }

    pub fn write(self, tx: &Tx<'_>) -> Result<(), SqlError> {
        for (post, change) in self.approved.iter().filter(|(_, change)| **change != 0) {
            let sql = "UPDATE posts SET approved = approved + $1 WHERE id = $2";
            tx.execute(sql, values![*change, post.as_str()])?;
        }
        self.changes.write(tx)
    }
}
