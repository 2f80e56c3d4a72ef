//! The home page, rendered once for every reader until it changes.
//!
//! It holds nothing of its reader's own. Query is still asked: requests that arrive while it answers share the next
//! answer, which was asked for after all of them had arrived, so that no reader sees a page that is older than their
//! request. The page is rendered again only if the answer is another one.

use super::caller::Caller;
use super::gzip::{self, Template};
use super::render::{self, Html};
use super::site::{PRIVATE, Site};
use crate::islands::PostDraft;
use crate::pages::{self, Assets};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kit::runtime::digest::sha256_hex;
use shared::Problem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The characters of an `ETag`: 64 bits.
const TAG_CHARS: usize = 16;

type Answer = Result<Option<Arc<CachedPage>>, Problem>;
type Batch = Shared<BoxFuture<'static, Answer>>;

/// The home page.
#[derive(Debug, Default)]
pub(super) struct NewestPosts {
    /// The requests that wait for query to be asked.
    next: Mutex<Option<Batch>>,
    /// Whose turn it is to ask query.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Option<Arc<CachedPage>>>,
}

/// A page, ready to be sent.
#[derive(Debug)]
struct CachedPage {
    /// What was rendered.
    posts: Bytes,
    assets: Assets,
    /// With a gap for the idempotency key of the form.
    html: Template,
    headers: HeaderMap,
}

impl NewestPosts {
    /// The page as it is now. Nothing where it cannot be rendered.
    pub(super) async fn response(
        self: &Arc<Self>,
        site: &Site,
        caller: &Caller,
        asked: &HeaderMap,
    ) -> Result<Option<Response>, Problem> {
        let batch = locked(&self.next).get_or_insert_with(|| self.clone().batch(site, caller)).clone();
        Ok(batch.await?.map(|page| page.response(&site.new_key(), asked)))
    }

    fn batch(self: Arc<Self>, site: &Site, caller: &Caller) -> Batch {
        let (site, caller) = (site.clone(), caller.anonymous());
        let answer = async move {
            let _turn = self.turn.lock().await;
            // Whoever comes from now on waits for the next answer.
            locked(&self.next).take();
            self.ask(&site, &caller).await
        };
        answer.boxed().shared()
    }

    async fn ask(&self, site: &Site, caller: &Caller) -> Answer {
        let posts = site.services.posts_json(caller).await?;
        let assets = site.files.assets();
        let last = locked(&self.last).clone();
        if let Some(page) = last.filter(|page| page.posts == posts && page.assets == assets) {
            return Ok(Some(page));
        }
        let page = CachedPage::render(site, posts, assets).await?.map(Arc::new);
        locked(&self.last).clone_from(&page);
        Ok(page)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CachedPage {
    async fn render(site: &Site, posts: Bytes, assets: Assets) -> Result<Option<Self>, Problem> {
        let list = super::services::posts_of(&posts)?;
        // The key of nobody's form marks the gap: no writer can know it.
        let mark = site.new_key();
        let draft = PostDraft { key: mark.clone(), ..PostDraft::default() };
        let page = pages::home(Some(list), None, draft, None);
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
        Ok(Some(Self { posts, assets, html, headers }))
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
