//! Requests to the public routes, the same that any client uses.

use super::json;
use crate::islands::notice::{self, unavailable};
use gloo_net::http::{Request, RequestBuilder, Response};
use leptos::prelude::set_timeout_with_handle;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::Problem;
use shared::views::MIN_SEQUENCE_HEADER;
use std::time::Duration;
use web_sys::AbortController;

/// How long a request may take. Longer than the front door waits for a service (15 s), whose answer says more.
const TIMEOUT: Duration = Duration::from_secs(20);

async fn read(response: Result<Response, gloo_net::Error>) -> Result<String, Problem> {
    let response = response.map_err(|_| unavailable())?;
    let text = response.text().await.map_err(|_| unavailable())?;
    if response.ok() { Ok(text) } else { Err(notice::problem_of(response.status(), &text)) }
}

async fn send(request: RequestBuilder, json: Option<String>) -> Result<String, Problem> {
    let controller = AbortController::new().map_err(|_| unavailable())?;
    let request = request.abort_signal(Some(&controller.signal()));
    let request = match json {
        Some(json) => request.header("Content-Type", "application/json").body(json),
        None => request.build(),
    };
    let request = request.map_err(|_| unavailable())?;
    let on_timeout = controller.clone();
    let timer = set_timeout_with_handle(move || on_timeout.abort(), TIMEOUT);
    let text = read(request.send().await).await;
    if let Ok(timer) = timer {
        timer.clear();
    }
    text.map_err(|problem| if controller.signal().aborted() { notice::timed_out() } else { problem })
}

/// Sends `body` as JSON, and would like no more than what is new in the answer. Sending it again with the same key
/// creates nothing new.
pub(crate) async fn post<T: Serialize>(url: &str, key: &str, body: &T) -> Result<String, Problem> {
    let json = serde_json::to_string(body).map_err(|_| unavailable())?;
    let request = Request::post(url).header("Idempotency-Key", key).header("Prefer", "return=minimal");
    send(request, Some(json)).await
}

pub(crate) async fn get(url: &str) -> Result<String, Problem> {
    send(Request::get(url), None).await
}

/// What query knows now, which is at least what an event of the stream with this id has said: the answer may come from
/// another replica than the stream.
pub(crate) async fn get_as_of(url: &str, id: &str) -> Result<String, Problem> {
    send(Request::get(url).header(MIN_SEQUENCE_HEADER, id), None).await
}

pub(crate) fn parse<T: DeserializeOwned>(json: &str) -> Result<T, Problem> {
    json::parse(json).ok_or_else(unavailable)
}
