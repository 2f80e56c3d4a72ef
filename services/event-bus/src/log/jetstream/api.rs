//! Requests to JetStream: JSON over the core of NATS. Only what the log needs of it.

use async_nats::client::{Client, Request, RequestErrorKind};
use async_nats::{HeaderMap, Message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a request may take, before it is sent again or fails.
pub(super) const REQUEST: Duration = Duration::from_secs(3);

/// JetStream's numbers for what went wrong.
pub(super) mod code {
    /// The subject has a message already, or another one than was expected.
    pub const WRONG_LAST_SEQUENCE: u64 = 10_071;
    /// The same, where the server does not say which it has.
    pub const WRONG_LAST_SEQUENCE_UNNAMED: u64 = 10_164;
    /// Messages of a batch have not arrived.
    pub const BATCH_INCOMPLETE: u64 = 10_176;
    pub const NO_MESSAGE: u64 = 10_037;
    pub const NO_STREAM: u64 = 10_059;
    pub const NOT_ENABLED: u64 = 10_076;
    pub const NOT_ENABLED_FOR_ACCOUNT: u64 = 10_039;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// Nobody answered in time: it may have been done, or not.
    #[error("the NATS server does not answer: {0}")]
    NoAnswer(String),
    #[error("the NATS server refuses: {description} (error {code})")]
    Refused { code: u64, status: u64, description: String },
    #[error("the NATS server's answer cannot be read: {0}")]
    Unreadable(String),
    /// Larger than the server takes.
    #[error("larger than max_payload of the NATS server")]
    TooLarge,
}

impl CallError {
    pub fn code(&self) -> Option<u64> {
        if let Self::Refused { code, .. } = self { Some(*code) } else { None }
    }

    /// Whether the same request may succeed a moment later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoAnswer(_) => true,
            Self::Refused { code, status, .. } => *status >= 500 || *code == code::BATCH_INCOMPLETE,
            Self::Unreadable(_) | Self::TooLarge => false,
        }
    }
}

#[derive(Deserialize)]
struct Failed {
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Sends a request, and reads its answer or the error in it.
pub(super) async fn request<T: DeserializeOwned>(
    client: &Client,
    subject: String,
    headers: Option<HeaderMap>,
    payload: Vec<u8>,
) -> Result<T, CallError> {
    let mut request = Request::new().payload(payload.into()).timeout(Some(REQUEST));
    if let Some(headers) = headers {
        request = request.headers(headers);
    }
    // Also where the connection is away: the library would wait for it without an end.
    let sent = kit::rt::timeout(REQUEST, client.send_request(subject, request)).await;
    let message = match sent {
        Err(_) => return Err(CallError::NoAnswer("timed out".to_owned())),
        Ok(Err(error)) if error.kind() == RequestErrorKind::MaxPayloadExceeded => {
            return Err(CallError::TooLarge);
        }
        Ok(Err(error)) => return Err(CallError::NoAnswer(error.to_string())),
        Ok(Ok(message)) => message,
    };
    answer(&message)
}

fn answer<T: DeserializeOwned>(message: &Message) -> Result<T, CallError> {
    let unreadable = |e: serde_json::Error| CallError::Unreadable(e.to_string());
    let failed: Failed = serde_json::from_slice(&message.payload).map_err(unreadable)?;
    match failed.error {
        Some(Failure { code: status, err_code: code, description }) => {
            Err(CallError::Refused { code, status, description })
        }
        None => serde_json::from_slice(&message.payload).map_err(unreadable),
    }
}

/// A request to the API of JetStream.
pub(super) async fn call<T: DeserializeOwned>(
    client: &Client,
    subject: String,
    body: &impl Serialize,
) -> Result<T, CallError> {
    let body = serde_json::to_vec(body).map_err(|e| CallError::Unreadable(e.to_string()))?;
    request(client, format!("$JS.API.{subject}"), None, body).await
}

/// A message as the leader of the stream holds it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub subject: String,
    pub sequence: u64,
    pub headers: Vec<u8>,
    pub payload: Vec<u8>,
}

#[derive(Deserialize)]
struct MessageAnswer {
    message: RawMessage,
}

#[derive(Deserialize)]
struct RawMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wanted<'a> {
    Seq(u64),
    LastBySubj(&'a str),
}

/// Asks the leader of the stream for a message. Not a direct get, which any replica answers: one that lags would not know
/// an event that was acknowledged.
pub(super) async fn message(
    client: &Client,
    stream: &str,
    wanted: &Wanted<'_>,
) -> Result<Option<Held>, CallError> {
    let found: MessageAnswer = match call(client, format!("STREAM.MSG.GET.{stream}"), wanted).await {
        Ok(found) => found,
        Err(error) if error.code() == Some(code::NO_MESSAGE) => return Ok(None),
        Err(error) => return Err(error),
    };
    let RawMessage { subject, seq, hdrs, data } = found.message;
    let decoded = |text: String| STANDARD.decode(text).map_err(|e| CallError::Unreadable(e.to_string()));
    Ok(Some(Held { subject, sequence: seq, headers: decoded(hdrs)?, payload: decoded(data)? }))
}
