//! The pages that readers share, within bounded memory: the home page, and those of posts that were read last.

use super::caller::Caller;
use super::shared_page::{SharedPage, Shows};
use super::site::Site;
use axum::response::Response;
use http::HeaderMap;
use shared::{PostId, Problem};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most bytes that are kept.
const BUDGET: usize = 16 * 1024 * 1024;
/// What a page takes although nothing of it is stored: anybody can ask for posts that do not exist.
const ENTRY: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct SharedPages {
    newest_posts: Arc<SharedPage>,
    posts: Mutex<Generations>,
}

/// The posts that were read last: once `young` takes half of the budget it becomes `old`, whose pages are forgotten
/// unless they are read again.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<PostId, Arc<SharedPage>>,
    old: HashMap<PostId, Arc<SharedPage>>,
    /// What `young` takes, or more: a page that is rendered again is counted again.
    bytes: usize,
}

impl SharedPages {
    /// The home page. Nothing where it cannot be rendered.
    pub(super) async fn newest_posts(
        &self,
        site: &Arc<Site>,
        caller: &Caller,
        asked: &HeaderMap,
    ) -> Result<Option<Response>, Problem> {
        self.newest_posts.response(&Shows::NewestPosts, site, caller, asked).await
    }

    /// The page of a post with its newest comments. Nothing where it cannot be rendered for all, or where the reader may
    /// have written comments that only they may read.
    pub(super) async fn post(
        &self,
        site: &Arc<Site>,
        id: &PostId,
        caller: &Caller,
        asked: &HeaderMap,
    ) -> Result<Option<Response>, Problem> {
        if !caller.is_anonymous() {
            return Ok(None);
        }
        let page = self.posts().page(id);
        page.response(&Shows::Post(id.clone()), site, caller, asked).await
    }

    /// To be called when a page has been rendered.
    pub(super) fn rendered(&self, bytes: usize) {
        self.posts().count(bytes);
    }

    fn posts(&self) -> MutexGuard<'_, Generations> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn page(&mut self, id: &PostId) -> Arc<SharedPage> {
        if let Some(page) = self.young.get(id) {
            return Arc::clone(page);
        }
        let page = self.old.remove(id).unwrap_or_default();
        self.count(ENTRY + page.bytes());
        self.young.insert(id.clone(), Arc::clone(&page));
        page
    }

    fn count(&mut self, bytes: usize) {
        if self.bytes + bytes > BUDGET / 2 {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_pages_that_are_read_stay() {
        let mut posts = Generations::default();
        let id = |number: usize| format!("post-{number}").parse::<PostId>().unwrap();
        let read = posts.page(&id(0));
        for number in 1..10 * BUDGET / ENTRY {
            posts.page(&id(number));
            if number % 1_000 == 0 {
                assert!(Arc::ptr_eq(&read, &posts.page(&id(0))), "a page that is read is not forgotten");
            }
            assert!(posts.young.len() + posts.old.len() <= BUDGET / ENTRY);
        }
        let large = BUDGET / 4 + 1;
        posts.count(large);
        posts.count(large);
        assert!(posts.young.is_empty() && posts.bytes == large, "what is rendered counts");
    }
}
