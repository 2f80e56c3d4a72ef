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
use kit::rt::Instant;
use kit::runtime::digest::sha256_hex;
use serde::de::DeserializeOwned;
use shared::views::{PostPage, Thread};
use shared::{PostId, Problem, ProblemKind, Sequence, routes};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The characters of an `ETag`: 64 bits.
const TAG_CHARS: usize = 16;

/// How many changes of other posts may pass until a page is rendered again only because of them: half of what a stream
/// sends to a page that resumes where it was rendered.
const CHANGES_OF_OTHERS: i64 = 500;

/// For how long an answer that is older than the page is taken for that of a replica that is behind. Then there is no
/// other: the log was replaced by an older one.
const NEWER_PAGE_STAYS: Duration = Duration::from_secs(10);

type Answer = Result<Option<CurrentPage>, Problem>;

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
    last: Mutex<Option<CurrentPage>>,
}

/// A page, and what query said about it last.
#[derive(Debug, Clone)]
struct CurrentPage {
    page: Arc<CachedPage>,
    /// The event up to which it is up to date; nothing where there is one replica of query.
    sequence: Option<Sequence>,
    /// When a replica last answered that is at least as far.
    as_of: Instant,
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
        let mut answer = self.asking.answer(ask).await;
        // Those who wait together have not seen the same.
        if caller.minimum().is_some_and(|minimum| is_older_than(&answer, minimum)) {
            answer = self.ask(shows, site, &caller.without_cookies()).await;
        }
        let Some(CurrentPage { page, sequence, .. }) = answer? else { return Ok(None) };
        if let Some(seen) = caller.seen() {
            seen.saw(sequence);
        }
        Ok(Some(page.response(&site.new_key(), asked)))
    }

    /// The bytes of the rendered page.
    pub(super) fn bytes(&self) -> usize {
        locked(&self.last).as_ref().map_or(0, |current| current.page.bytes())
    }

    async fn ask(&self, shows: &Shows, site: &Site, caller: &Caller) -> Answer {
        let (json, sequence) = site.services.json(&shows.path(), caller).await?;
        let assets = site.files.assets();
        let last = locked(&self.last).clone().filter(|last| last.page.assets == assets);
        if let Some(last) = last {
            if last.is_newer_than(sequence) {
                return Ok(Some(last));
            }
            if shows.the_same(&last.page.json, &json) {
                return Ok(Some(self.keep(CurrentPage { sequence, as_of: Instant::now(), ..last })));
            }
        }
        let Some(page) = CachedPage::render(shows, site, json, assets).await? else {
            *locked(&self.last) = None;
            site.shared_pages.rendered(0);
            return Ok(None);
        };
        site.shared_pages.rendered(page.bytes());
        Ok(Some(self.keep(CurrentPage { page: Arc::new(page), sequence, as_of: Instant::now() })))
    }

    /// Keeps the page for the next readers, unless there is a newer one by now.
    fn keep(&self, current: CurrentPage) -> CurrentPage {
        let mut last = locked(&self.last);
        if !last.as_ref().is_some_and(|last| last.is_newer_than(current.sequence)) {
            *last = Some(current.clone());
        }
        current
    }
}

impl CurrentPage {
    /// Whether an answer that is up to date up to this event comes from a replica that is behind.
    fn is_newer_than(&self, sequence: Option<Sequence>) -> bool {
        sequence.is_some() && self.sequence > sequence && self.as_of.elapsed() < NEWER_PAGE_STAYS
    }
}

/// Whether a reader who has seen the state up to `minimum` cannot be shown this. A replica that is behind may not know the
/// post.
fn is_older_than(answer: &Answer, minimum: Sequence) -> bool {
    match answer {
        // Without a place it is of the only replica.
        Ok(Some(current)) => current.sequence.is_some_and(|sequence| sequence < minimum),
        Ok(None) => false,
        Err(problem) => problem.status == ProblemKind::NotFound.status(),
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
