//! `GET /query/posts/{id}`: a post with a page of its comments, and waiting for one that was just written.

use crate::api::{self, Api, bad_request};
use crate::domain::{Comment, Key};
use crate::events::Awaited;
use crate::replica;
use crate::store::{self, Comments, ThreadPage};
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use http::HeaderMap;
use kit::http::author::AuthorToken;
use kit::http::{ApiError, ApiResult};
use kit::rt;
use kit::store::{SqlError, Tx};
use serde::Deserialize;
use shared::views::{DEFAULT_THREAD, MAX_WAIT_MS, Thread};
use shared::{CommentId, PostId, ProblemKind};
use std::time::Duration;

/// The most requests that wait at the same time: half of the connections.
pub(crate) const MAX_WAITERS: usize = 2_048;

/// The query of `GET /query/posts/{id}`.
#[derive(Debug, Deserialize)]
pub(crate) struct Parameters {
    wait: Option<String>,
    comment: Option<String>,
    comments: Option<String>,
    limit: Option<String>,
}

impl Parameters {
    fn wait(&self) -> ApiResult<Duration> {
        let Some(text) = &self.wait else { return Ok(Duration::ZERO) };
        let ms = text.parse().ok().filter(|ms| *ms <= MAX_WAIT_MS);
        let ms = ms.ok_or_else(|| bad_request(format!("wait must be a number from 0 to {MAX_WAIT_MS}")))?;
        Ok(Duration::from_millis(ms))
    }

    /// The comment to wait for.
    fn comment(&self) -> ApiResult<Option<CommentId>> {
        let Some(text) = &self.comment else { return Ok(None) };
        text.parse().map(Some).map_err(|_| bad_request("comment is not an id"))
    }

    fn page(&self) -> ApiResult<ThreadPage> {
        let Some(text) = &self.comments else {
            return Ok(self.comment()?.map_or(ThreadPage::Newest, ThreadPage::Around));
        };
        let page = match text.split_once(':') {
            None if text == "newest" => Some(ThreadPage::Newest),
            None if text == "oldest" => Some(ThreadPage::Oldest),
            Some(("before", cursor)) => cursor.parse().ok().map(ThreadPage::Before),
            Some(("after", cursor)) => cursor.parse().ok().map(ThreadPage::After),
            Some(("around", id)) => id.parse().ok().map(ThreadPage::Around),
            _ => None,
        };
        page.ok_or_else(|| {
            bad_request("comments must be newest, oldest, before:CURSOR, after:CURSOR or around:COMMENT_ID")
        })
    }
}

pub(crate) async fn thread(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> ApiResult {
    let unknown = || ApiError::new(ProblemKind::NotFound).detail("there is no such post");
    let id: PostId = id.parse().map_err(|_| unknown())?;
    let (wait, comment) = (parameters.wait()?, parameters.comment()?);
    let (page, limit) = (parameters.page()?, api::limit(parameters.limit.as_deref(), DEFAULT_THREAD)?);
    if let Some(behind) = api.replica.behind(replica::minimum(&headers)?).await? {
        return Ok(behind);
    }
    if !wait.is_zero() {
        until_known(&api, &id, comment.as_ref(), wait).await?;
    }
    let key = AuthorToken::from_headers(&headers).map(|token| token.key());
    let found = api.store.read(move |tx| read(tx, &id, &page, limit, key.as_deref())).await?;
    let thread = found.ok_or_else(unknown)?;
    Ok(api.replica.up_to_date(axum::Json(&thread).into_response(), thread.sequence))
}

/// Returns as soon as the post, and the comment if one is named, is known; at the latest after `wait`, and at once if
/// too many wait already.
async fn until_known(api: &Api, id: &PostId, comment: Option<&CommentId>, wait: Duration) -> ApiResult<()> {
    let known = async {
        let post = || is_known(api, id, None);
        api.waiters.wait_for(Awaited::Post(id.clone()), post).await?;
        if let Some(comment) = comment {
            let both = || is_known(api, id, Some(comment));
            api.waiters.wait_for(Awaited::Comment(comment.clone()), both).await?;
        }
        Ok(())
    };
    tokio::select! {
        biased;
        () = api.stopping.cancelled() => Ok(()),
        known = rt::timeout(wait, known) => known.unwrap_or(Ok(())),
    }
}

async fn is_known(api: &Api, id: &PostId, comment: Option<&CommentId>) -> ApiResult<Option<()>> {
    let (id, comment) = (id.clone(), comment.cloned());
    let known = api.store.read(move |tx| store::is_known(tx, &id, comment.as_ref())).await?;
    Ok(known.then_some(()))
}

fn read(
    tx: &Tx<'_>,
    id: &PostId,
    page: &ThreadPage,
    limit: usize,
    reader_key: Option<&str>,
) -> Result<Option<Thread>, SqlError> {
    let Some((post, comment_count)) = store::counted_post(tx, id)? else { return Ok(None) };
    let Comments { comments, has_earlier, has_later } = store::thread(tx, id, page, limit)?;
    let cursor = |comment: Option<&Comment>| comment.map(Comment::key).as_ref().map(Key::to_string);
    Ok(Some(Thread {
        post: post.view(),
        earlier: has_earlier.then(|| cursor(comments.first())).flatten(),
        later: has_later.then(|| cursor(comments.last())).flatten(),
        comments: comments.iter().map(|comment| comment.view(reader_key)).collect(),
        comment_count,
        sequence: store::last_change(tx)?.1,
    }))
}
