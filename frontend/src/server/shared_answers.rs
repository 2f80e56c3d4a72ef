//! Answers of query that readers share: those who ask for the same at the same time get the bytes of one answer.
//!
//! Without it, each reader of the list of all posts would make query send these bytes once more. Only what is the same for
//! everybody is shared: see [`key_of`]. An answer that does not arrive whole with its head, or that is an error, is for
//! one reader alone, and the others ask for themselves.

use super::seen::{MIN_SEQUENCE, Minimum, sequence_of};
use super::together::Together;
use super::upstream::{Answer, Upstream, UpstreamError};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, header};
use shared::routes::PublicRoute;
use shared::{Sequence, ServiceName};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Headers that may make the answer another one. (Nothing that query answers depends on others.)
const PERSONAL: [http::HeaderName; 8] = [
    header::COOKIE,
    header::AUTHORIZATION,
    header::RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
];

/// The parameters with which query waits until something is known, and the sign that may hide one. (`comments=`, a page of
/// a thread, does not wait.)
const WAITING: [&str; 3] = ["wait=", "comment=", "%"];

/// What a request asks for, if the answer is the same for everybody who asks for it. A request that waits for something
/// waits alone.
pub(super) fn key_of(route: &PublicRoute, head: &Parts) -> Option<PathAndQuery> {
    let is_read = route.service == ServiceName::Query && !route.stream && head.method == Method::GET;
    let path = head.uri.path_and_query()?;
    let waits = path.query().is_some_and(|query| WAITING.iter().any(|parameter| query.contains(parameter)));
    let is_same_for_all = is_read && !waits && !PERSONAL.iter().any(|name| head.headers.contains_key(name));
    is_same_for_all.then(|| path.clone())
}

/// The answers that are under way. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedAnswers(Arc<Mutex<UnderWay>>);

type UnderWay = HashMap<Key, Arc<Together<Found>>>;

/// What is asked for, and the event up to which the answer has to be up to date.
type Key = (PathAndQuery, Option<Sequence>);

#[derive(Clone)]
enum Found {
    /// For everybody.
    Whole(Arc<Response<Bytes>>),
    /// For the one whose request it answers.
    OfOne(Arc<Mutex<Option<Forwarded>>>),
}

type Forwarded = Result<Response<Body>, UpstreamError>;

impl SharedAnswers {
    /// The answer to this request, or to one for the same that was sent after this one arrived. It is not older than
    /// `minimum`, or query has answered that it is.
    ///
    /// Readers who have seen different states share an answer that is new enough for each, as nearly every one is. Where it
    /// is not, those wait together who have seen the same, and nobody else: anybody can name an event that will never be.
    pub(super) async fn answer(
        &self,
        path: PathAndQuery,
        upstream: &Upstream,
        request: Request<Body>,
        minimum: Minimum,
    ) -> Forwarded {
        let minimum = match minimum {
            Minimum::None => return self.shared((path, None), upstream, request).await,
            Minimum::Named(named) => return self.shared((path, Some(named)), upstream, request).await,
            Minimum::Seen(seen) => seen,
        };
        let (head, body) = request.into_parts();
        let mut plain = Request::from_parts(head.clone(), Body::empty());
        plain.headers_mut().remove(MIN_SEQUENCE);
        let answer = self.shared((path.clone(), None), upstream, plain).await;
        let sequence = answer.as_ref().ok().and_then(|answer| sequence_of(answer.headers()));
        if sequence.is_some_and(|sequence| sequence >= minimum) {
            return answer;
        }
        self.shared((path, Some(minimum)), upstream, Request::from_parts(head, body)).await
    }

    async fn shared(&self, key: Key, upstream: &Upstream, request: Request<Body>) -> Forwarded {
        let asked = self.ask_for(key);
        let mut own = Some(request);
        let ask = || {
            let (upstream, request) = (upstream.clone(), own.take().unwrap_or_default());
            async move { Found::of(upstream.send(request).await) }
        };
        let found = asked.together.answer(ask).await;
        match (found, own) {
            (Found::Whole(answer), _) => Ok(Response::clone(&answer).map(Body::from)),
            // It answers the request of another reader.
            (Found::OfOne(_), Some(request)) => {
                upstream.send(request).await.map(|answer| answer.map(Answer::into_body))
            }
            (Found::OfOne(answer), None) => {
                let taken = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
                taken.unwrap_or(Err(UpstreamError::Taken))
            }
        }
    }

    fn ask_for(&self, key: Key) -> Asked<'_> {
        let together = Arc::clone(self.under_way().entry(key.clone()).or_default());
        Asked { answers: self, key, together }
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    fn of(answer: Result<Response<Answer>, UpstreamError>) -> Self {
        match answer {
            Ok(answer) if answer.status() == StatusCode::OK => {
                let (head, body) = answer.into_parts();
                match body {
                    Answer::Whole(bytes) => Self::Whole(Arc::new(Response::from_parts(head, bytes))),
                    Answer::Stream(body) => Self::of_one(Ok(Response::from_parts(head, body))),
                }
            }
            answer => Self::of_one(answer.map(|answer| answer.map(Answer::into_body))),
        }
    }

    fn of_one(answer: Forwarded) -> Self {
        Self::OfOne(Arc::new(Mutex::new(Some(answer))))
    }
}

/// Somebody who waits for an answer. The last one to leave forgets what was asked for.
struct Asked<'a> {
    answers: &'a SharedAnswers,
    key: Key,
    together: Arc<Together<Found>>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut under_way = self.answers.under_way();
        // This one and the map.
        if Arc::strong_count(&self.together) <= 2 {
            under_way.remove(&self.key);
        }
    }
}
