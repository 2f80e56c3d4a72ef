//! A page that is rendered once for every reader, until it changes.
//!
//! It holds nothing of its reader's own. Query is still asked, together for all who come at the same time, so that no
//! reader sees a page that is older than their request. The page is rendered again only if the answer is another one.

use super::caller::Caller;
use super::gzip::{self, Template};
use super::render::{self, Html};
use super::services;
use super::site::{PRIVATE, Site};
use super::together::Together;
use crate::islands::urls::list_of_posts;
use crate::islands::{CommentDraft, PostDraft};
use crate::pages::{self, Assets, Page};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kit::runtime::digest::sha256_hex;
use serde::de::DeserializeOwned;
use shared::views::{PostPage, Thread};
use shared::{PostId, Problem, Sequence, routes};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The characters of an `ETag`: 64 bits.
const TAG_CHARS: usize = 16;

/// How many changes of other posts may pass until a page is rendered again only because of them: half of what a stream
/// sends to a page that resumes where it was rendered.
const CHANGES_OF_OTHERS: i64 = 500;

type Answer = Result<Option<Arc<CachedPage>>, Problem>;

/// What a page shows.
#[derive(Debug, Clone)]
pub(super) enum Shows {
    /// The home page of posts.
    NewestPosts,
    /// A post with its newest comments, as they are for a reader who has written none.
    Post(PostId),
}

/// A page, and the requests for it.
#[derive(Debug, Default)]
pub(super) struct SharedPage {
    asking: Arc<Together<Answer>>,
    last: Mutex<Option<Arc<CachedPage>>>,
}

/// A page, ready to be sent.
#[derive(Debug)]
struct CachedPage {
    /// What was rendered.
    json: Bytes,
    assets: Assets,
    /// With a gap for the idempotency key of the form.
    html: Template,
    headers: HeaderMap,
}

impl SharedPage {
    /// The page as it is now. Nothing where it cannot be rendered for all.
    pub(super) async fn response(
        self: &Arc<Self>,
        shows: &Shows,
        site: &Arc<Site>,
        caller: &Caller,
        asked: &HeaderMap,
    ) -> Result<Option<Response>, Problem> {
        let ask = || {
            let (this, shows, site) = (Arc::downgrade(self), shows.clone(), Arc::clone(site));
            let caller = caller.anonymous();
            async move {
                // Whoever waits holds the page.
                let Some(this) = this.upgrade() else { return Ok(None) };
                this.ask(&shows, &site, &caller).await
            }
        };
        Ok(self.asking.answer(ask).await?.map(|page| page.response(&site.new_key(), asked)))
    }

    /// The bytes of the rendered page.
    pub(super) fn bytes(&self) -> usize {
        locked(&self.last).as_ref().map_or(0, |page| page.bytes())
    }

    async fn ask(&self, shows: &Shows, site: &Site, caller: &Caller) -> Answer {
        let json = site.services.json(&shows.path(), caller).await?;
        let assets = site.files.assets();
        let last = locked(&self.last).clone();
        if let Some(page) = last.filter(|page| page.assets == assets && shows.the_same(&page.json, &json)) {
            return Ok(Some(page));
        }
        let page = CachedPage::render(shows, site, json, assets).await?.map(Arc::new);
        locked(&self.last).clone_from(&page);
        site.shared_pages.rendered(page.as_ref().map_or(0, |page| page.bytes()));
        Ok(page)
    }
}

impl Shows {
    /// Where query sends it.
    fn path(&self) -> String {
        match self {
            Self::NewestPosts => list_of_posts(None),
            Self::Post(id) => routes::query_post(id),
        }
    }

    /// Whether a page of the one answer is one of the other.
    fn the_same(&self, old: &Bytes, new: &Bytes) -> bool {
        old == new
            || match self {
                Self::NewestPosts => same_but_for_others::<PostPage>(old, new, |page| &mut page.sequence),
                Self::Post(_) => same_but_for_others::<Thread>(old, new, |thread| &mut thread.sequence),
            }
    }

    /// Nothing where it holds what only its writer may read.
    fn page(&self, json: &[u8], site: &Site, key: String) -> Result<Option<Page>, Problem> {
        match self {
            Self::NewestPosts => {
                let draft = PostDraft { key, ..PostDraft::default() };
                Ok(Some(pages::home(Some(services::read_json(json)?), None, draft, None)))
            }
            Self::Post(_) => {
                let thread: Thread = services::read_json(json)?;
                if thread.comments.iter().any(|comment| comment.mine) {
                    return Ok(None);
                }
                let draft = CommentDraft { key, ..CommentDraft::default() };
                let body = site.rendered.body(&thread.post);
                Ok(Some(pages::post(thread, body, None, draft, None)))
            }
        }
    }
}

/// Whether two answers differ in nothing but the changes of other posts.
fn same_but_for_others<T: DeserializeOwned + PartialEq>(
    old: &[u8],
    new: &[u8],
    sequence: fn(&mut T) -> &mut Sequence,
) -> bool {
    let read = serde_json::from_slice::<T>;
    let (Ok(mut old), Ok(mut new)) = (read(old), read(new)) else { return false };
    let passed = sequence(&mut new).get() - sequence(&mut old).get();
    *sequence(&mut new) = *sequence(&mut old);
    (0..=CHANGES_OF_OTHERS).contains(&passed) && old == new
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CachedPage {
    async fn render(
        shows: &Shows,
        site: &Site,
        json: Bytes,
        assets: Assets,
    ) -> Result<Option<Self>, Problem> {
        // The key of nobody's form marks the gap: no writer can know it.
        let mark = site.new_key();
        let Some(page) = shows.page(&json, site, mark.clone())? else { return Ok(None) };
        let Some(Html { text, policy }) = render::html(page, assets.clone(), site.reload_port).await else {
            return Ok(None);
        };
        let Some((before, after)) = text.split_once(&mark) else { return Ok(None) };
        let tag = sha256_hex([before, after].concat().as_bytes());
        let tag = format!("W/\"{}\"", &tag[..TAG_CHARS]);
        let (before, after) =
            (Bytes::copy_from_slice(before.as_bytes()), Bytes::copy_from_slice(after.as_bytes()));
        let (Ok(tag), Ok(html)) = (HeaderValue::from_str(&tag), Template::new(before, after)) else {
            return Ok(None);
        };
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (header::CACHE_CONTROL, PRIVATE),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
            (header::ETAG, tag),
            // Also on a 304: it replaces the policy that the browser has stored with the page.
            (header::CONTENT_SECURITY_POLICY, policy),
        ]);
        Ok(Some(Self { json, assets, html, headers }))
    }

    fn bytes(&self) -> usize {
        self.json.len() + self.html.bytes()
    }

    fn response(&self, key: &str, asked: &HeaderMap) -> Response {
        let mut response = Response::default();
        *response.headers_mut() = self.headers.clone();
        if self.is_known(asked) {
            response.headers_mut().remove(header::CONTENT_TYPE);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let compressed = gzip::is_accepted(asked).then(|| self.html.fill_compressed(key)).flatten();
        if compressed.is_some() {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        *response.body_mut() = Body::from(compressed.unwrap_or_else(|| self.html.fill(key)));
        response
    }

    /// Whether the client has this page.
    fn is_known(&self, asked: &HeaderMap) -> bool {
        let Some(tag) = self.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()) else {
            return false;
        };
        let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        known.flat_map(|value| value.split(',')).any(|known| known.trim() == tag)
    }
}
