//! Requests from the pages to the services, through the same routes as any client.

use super::caller::Caller;
use super::seen::{MIN_SEQUENCE, is_behind, sequence_of};
use crate::islands::notice;
use crate::islands::urls::{list_of_comments, list_of_posts};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use kit::runtime::addresses::{Addresses, may_repeat};
use reqwest::{Client, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::commands::{CreateComment, CreatePost};
use shared::views::{CommentView, PostPage, PostView, Thread};
use shared::{CommentId, PostId, Problem, Sequence, routes};
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

/// The services, and the client to reach them.
#[derive(Debug, Clone)]
pub(super) struct Services {
    pub client: Client,
    pub posts: Addresses,
    pub comments: Addresses,
    pub query: Addresses,
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
        read("query", self.ask_query(&list_of_posts(cursor), READ_TIMEOUT, caller).await?).await
    }

    /// What query sends for this path, as it sends it, and up to which event it says that this is up to date.
    pub(super) async fn json(
        &self,
        path: &str,
        caller: &Caller,
    ) -> Result<(Bytes, Option<Sequence>), Problem> {
        let answer = self.ask_query(path, READ_TIMEOUT, caller).await?;
        let sequence = sequence_of(answer.headers());
        let json = bounded(answer).await.map_err(|error| unreadable("query", &error))?;
        Ok((json.freeze(), sequence))
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
        let timeout = READ_TIMEOUT + Duration::from_millis(wait);
        read("query", self.ask_query(&path, timeout, caller).await?).await
    }

    pub(super) async fn create_post(
        &self,
        command: &CreatePost,
        key: &str,
        caller: &Caller,
    ) -> Result<PostId, Problem> {
        let answer = self.send("posts", &self.posts, routes::CREATE_POST, command, key, caller).await?;
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
        let path = routes::post_comments(post);
        let answer = self.send("comments", &self.comments, &path, command, key, caller).await?;
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
        let path = format!("{}/{comment}", routes::post_comments(post));
        self.get("comments", &self.comments, &path, READ_TIMEOUT, caller).await.is_ok()
    }

    async fn get(
        &self,
        service: &'static str,
        addresses: &Addresses,
        path: &str,
        timeout: Duration,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        let request = |base: &str| self.client.get(format!("{base}{path}")).timeout(timeout);
        self.ask(service, addresses, request, caller).await
    }

    async fn send(
        &self,
        service: &'static str,
        addresses: &Addresses,
        path: &str,
        command: &impl Serialize,
        key: &str,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        let body = serde_json::to_vec(command).map_err(|error| unreadable(service, &error))?;
        let body = Bytes::from(body);
        let request = |base: &str| {
            let url = format!("{base}{path}");
            let request = self.client.request(Method::POST, url).timeout(WRITE_TIMEOUT).body(body.clone());
            let request =
                request.header(header::CONTENT_TYPE, "application/json").header(PREFER, RETURN_MINIMAL);
            if key.is_empty() { request } else { request.header(IDEMPOTENCY_KEY, key) }
        };
        self.ask(service, addresses, request, caller).await
    }

    /// Asks for what is not older than what the reader has seen. A replica that is behind has waited for that already; then
    /// the next one is asked, once.
    async fn ask_query(&self, path: &str, timeout: Duration, caller: &Caller) -> Result<Response, Problem> {
        let minimum = caller.minimum();
        let request = |base: &str| {
            let request = self.client.get(format!("{base}{path}")).timeout(timeout);
            match minimum {
                Some(minimum) => request.header(MIN_SEQUENCE, minimum.get()),
                None => request,
            }
        };
        let is_behind =
            |answer: &Response| is_behind(answer.status(), answer.headers(), minimum.unwrap_or_default());
        // One order for both, so that the second is another replica.
        let mut order = self.query.for_request();
        let mut answer = self.answer("query", &self.query, &mut order, request, caller).await?;
        if is_behind(&answer) {
            let order = order.chain(self.query.for_request());
            answer = self.answer("query", &self.query, order, request, caller).await?;
        }
        if let Some(seen) = caller.seen() {
            if is_behind(&answer) {
                seen.refused();
            } else {
                seen.saw(sequence_of(answer.headers()));
            }
        }
        succeeded("query", answer).await
    }

    async fn ask(
        &self,
        service: &'static str,
        addresses: &Addresses,
        request: impl Fn(&str) -> RequestBuilder,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        let order = addresses.for_request();
        succeeded(service, self.answer(service, addresses, order, request, caller).await?).await
    }

    async fn answer(
        &self,
        service: &str,
        addresses: &Addresses,
        order: impl Iterator<Item = usize>,
        request: impl Fn(&str) -> RequestBuilder,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        self.exchange(addresses, order, request, caller).await.map_err(|error| {
            let error = error.as_ref().map(|error| root_cause(error)).unwrap_or_default();
            tracing::warn!(service, %error, "a service does not answer");
            notice::unavailable()
        })
    }

    /// The answer of a replica that can be reached.
    async fn exchange(
        &self,
        addresses: &Addresses,
        order: impl Iterator<Item = usize>,
        request: impl Fn(&str) -> RequestBuilder,
        caller: &Caller,
    ) -> Result<Response, Option<reqwest::Error>> {
        let mut last = None;
        for number in order {
            let request = request(&addresses.all()[number]).headers(caller.headers().clone()).build()?;
            let may_repeat = may_repeat(request.method(), request.headers());
            match self.client.execute(request).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_connect() => {
                    addresses.cannot_connect(number);
                    last = Some(error);
                }
                // Its connection broke.
                Err(error) if may_repeat && !error.is_timeout() => last = Some(error),
                Err(error) => return Err(Some(error)),
            }
        }
        Err(last)
    }
}

async fn succeeded(service: &str, answer: Response) -> Result<Response, Problem> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    if status.is_server_error() {
        tracing::warn!(service, status = status.as_u16(), "a service answers with an error");
    }
    Err(refusal(status, answer).await)
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::FromRequestParts;
    use axum::{Json, Router};
    use kit::rt;
    use serde_json::json;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use test_support::ports;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    /// Reads requests and closes. Counts them.
    async fn broken() -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        rt::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        (base, requests)
    }

    /// Answers every request with the same. Counts them.
    async fn sound() -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let router = Router::new().fallback(async move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Json(json!("sound"))
        });
        rt::spawn(async move { axum::serve(listener, router).await });
        (base, requests)
    }

    #[tokio::test]
    async fn pages_and_forms_go_to_a_replica_that_can_take_them() {
        let ((broken, lost), (sound, received)) = (broken().await, sound().await);
        let [port] = ports::free(1)[..] else { unreachable!() };
        let nobody = format!("http://127.0.0.1:{port}");
        let (mut parts, ()) = http::Request::new(()).into_parts();
        let caller = Caller::from_request_parts(&mut parts, &()).await.unwrap();
        let to = |first: &str| Addresses::new(&format!("{first},{sound}"));
        let services = Services { client: client().unwrap(), posts: to(""), comments: to(""), query: to("") };
        let get =
            async |first: &str| services.get("query", &to(first), "/", READ_TIMEOUT, &caller).await.is_ok();
        let send = async |first: &str, key: &str| {
            services.send("posts", &to(first), "/", &json!({}), key, &caller).await.is_ok()
        };
        assert!(get(&nobody).await && get(&broken).await);
        assert!(send(&nobody, "").await && send(&nobody, "key").await && send(&broken, "key").await);
        assert_eq!((lost.load(Ordering::SeqCst), received.load(Ordering::SeqCst)), (2, 5));
        assert!(!send(&broken, "").await, "it may have been processed");
        assert_eq!((lost.load(Ordering::SeqCst), received.load(Ordering::SeqCst)), (3, 5));
    }
}
