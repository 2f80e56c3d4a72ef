//! Requests to the public routes, the same that any client uses.

use crate::islands::notice::{self, unavailable};
use gloo_net::http::{Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::Problem;

async fn read(answer: Result<Response, gloo_net::Error>) -> Result<String, Problem> {
    let answer = answer.map_err(|_| unavailable())?;
    let text = answer.text().await.map_err(|_| unavailable())?;
    if answer.ok() { Ok(text) } else { Err(notice::problem_of(answer.status(), &text)) }
}

/// Sends `body` as JSON. The key makes sending it twice the same as once.
pub(crate) async fn post<T: Serialize>(url: &str, key: &str, body: &T) -> Result<String, Problem> {
    let request = Request::post(url).header("Idempotency-Key", key).json(body).map_err(|_| unavailable())?;
    read(request.send().await).await
}

/// Fetches the text at `url`.
pub(crate) async fn get(url: &str) -> Result<String, Problem> {
    read(Request::get(url).send().await).await
}

/// Reads the JSON of an answer.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|_| unavailable())
}
