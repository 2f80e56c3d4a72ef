//! Requests from the pages to the services, through the same routes as any client.

use super::caller::Caller;
use crate::islands::notice;
use crate::islands::urls::{list_of_comments, list_of_posts};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use reqwest::{Client, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::commands::{CreateComment, CreatePost};
use shared::views::{CommentView, PostPage, PostView, Thread};
use shared::{CommentId, PostId, Problem, routes};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Shorter than the services' own limit, so that no connection is used that is just being closed.
const POOL_IDLE: Duration = Duration::from_secs(3);
/// For an answer of query, in addition to the wait that is asked for.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// For a service to store something.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long query waits for what was just written.
const WAIT_MS: u64 = 2_000;
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const RETURN_MINIMAL: &str = "return=minimal";
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Base addresses of the services, and the client to reach them.
#[derive(Debug, Clone)]
pub(super) struct Services {
    pub client: Client,
    pub posts: String,
    pub comments: String,
    pub query: String,
}

/// The client with which pages read and write.
pub(super) fn client() -> reqwest::Result<Client> {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .tcp_nodelay(true)
        .build()
}

impl Services {
    /// One page of posts, newest first.
    pub(super) async fn posts(&self, cursor: Option<&str>, caller: &Caller) -> Result<PostPage, Problem> {
        let request = self.client.get(format!("{}{}", self.query, list_of_posts(cursor)));
        read("query", self.ask("query", request.timeout(READ_TIMEOUT), caller).await?).await
    }

    /// What query sends for this path, as it sends it.
    pub(super) async fn json(&self, path: &str, caller: &Caller) -> Result<Bytes, Problem> {
        let request = self.client.get(format!("{}{path}", self.query));
        let answer = self.ask("query", request.timeout(READ_TIMEOUT), caller).await?;
        bounded(answer).await.map(BytesMut::freeze).map_err(|error| unreadable("query", &error))
    }

    /// A post with a page of its comments.
    pub(super) async fn post(
        &self,
        id: &PostId,
        page: ThreadPage<'_>,
        caller: &Caller,
    ) -> Result<Thread, Problem> {
        let post = routes::query_post(id);
        let (path, wait) = match page {
            ThreadPage::Newest => (post, 0),
            ThreadPage::At(page) => (list_of_comments(id, page), 0),
            ThreadPage::Around(comment) => (format!("{post}?comment={comment}"), 0),
            ThreadPage::OfNewPost => (format!("{post}?wait={WAIT_MS}"), WAIT_MS),
            ThreadPage::OfNewComment(comment) => {
                (format!("{post}?wait={WAIT_MS}&comment={comment}"), WAIT_MS)
            }
        };
        let url = format!("{}{path}", self.query);
        let timeout = READ_TIMEOUT + Duration::from_millis(wait);
        read("query", self.ask("query", self.client.get(url).timeout(timeout), caller).await?).await
    }

    pub(super) async fn create_post(
        &self,
        command: &CreatePost,
        key: &str,
        caller: &Caller,
    ) -> Result<PostId, Problem> {
        let url = format!("{}{}", self.posts, routes::CREATE_POST);
        let answer = self.send("posts", url, command, key, caller).await?;
        read::<PostView>("posts", answer).await.map(|post| post.id)
    }

    /// Returns the id, and the cookie that identifies the author from now on.
    pub(super) async fn create_comment(
        &self,
        post: &PostId,
        command: &CreateComment,
        key: &str,
        caller: &Caller,
    ) -> Result<(CommentId, HeaderMap), Problem> {
        let url = format!("{}{}", self.comments, routes::post_comments(post));
        let answer = self.send("comments", url, command, key, caller).await?;
        let set = answer.headers().get_all(header::SET_COOKIE).iter().cloned();
        let cookies = set.map(|cookie| (header::SET_COOKIE, cookie)).collect();
        let comment = if answer.headers().contains_key(PREFERENCE_APPLIED) {
            read::<CommentView>("comments", answer).await?
        } else {
            // A service that does not know the preference answers with the whole thread, the new comment last.
            let last = read::<Vec<CommentView>>("comments", answer).await?.pop();
            last.ok_or_else(|| unreadable("comments", &"an empty thread"))?
        };
        Ok((comment.id, cookies))
    }

    /// Whether the comments service has stored this comment. Where that is unknown the answer is no.
    pub(super) async fn has_comment(&self, post: &PostId, comment: &CommentId, caller: &Caller) -> bool {
        let url = format!("{}{}/{comment}", self.comments, routes::post_comments(post));
        let request = self.client.get(url).timeout(READ_TIMEOUT);
        self.ask("comments", request, caller).await.is_ok()
    }

    async fn send(
        &self,
        service: &'static str,
        url: String,
        command: &impl Serialize,
        key: &str,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        let body = serde_json::to_vec(command).map_err(|error| unreadable(service, &error))?;
        let mut request = self.client.request(Method::POST, url).timeout(WRITE_TIMEOUT).body(body);
        request = request.header(header::CONTENT_TYPE, "application/json").header(PREFER, RETURN_MINIMAL);
        if !key.is_empty() {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        self.ask(service, request, caller).await
    }

    async fn ask(
        &self,
        service: &'static str,
        request: RequestBuilder,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        let answer = request.headers(caller.headers().clone()).send().await.map_err(|error| {
            tracing::warn!(service, error = %root_cause(&error), "a service does not answer");
            notice::unavailable()
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        if status.is_server_error() {
            tracing::warn!(service, status = status.as_u16(), "a service answers with an error");
        }
        Err(refusal(status, answer).await)
    }
}

/// Which comments of a post to read. For what was just written, and query may not know yet, query waits up to
/// [`WAIT_MS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThreadPage<'a> {
    Newest,
    /// In the words of the API, such as `before:CURSOR`.
    At(&'a str),
    Around(&'a CommentId),
    OfNewPost,
    OfNewComment(&'a CommentId),
}

/// Reads an answer of [`Services::json`].
pub(super) fn read_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(json).map_err(|error| unreadable("query", &error))
}

async fn refusal(status: StatusCode, answer: Response) -> Problem {
    let body = bounded(answer).await.unwrap_or_default();
    notice::problem_of(status.as_u16(), &String::from_utf8_lossy(&body))
}

async fn read<T: DeserializeOwned>(service: &str, answer: Response) -> Result<T, Problem> {
    let body = bounded(answer).await.map_err(|error| unreadable(service, &error))?;
    serde_json::from_slice(&body).map_err(|error| unreadable(service, &error))
}

async fn bounded(mut answer: Response) -> Result<BytesMut, String> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| root_cause(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(format!("more than {MAX_ANSWER_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unreadable(service: &str, error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(service, %error, "an answer cannot be read");
    notice::unavailable()
}

/// The outer messages of `reqwest` repeat the address and leave out the reason.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
