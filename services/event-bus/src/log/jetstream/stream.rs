//! The stream that holds the log: how it is made, and what is checked of one that exists.

use super::api::{CallError, call, code};
use crate::log::url::EventLogUrl;
use async_nats::Client;
use futures_util::StreamExt;
use kit::rt;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The oldest server that stores batches as a whole.
const OLDEST: (u64, u64) = (2, 12);
/// The least that a server must take as one message: the largest event of the bus and its envelope.
pub(super) const LEAST_PAYLOAD: usize = 2 * 1024 * 1024;
/// How long the answers of all servers of a cluster are waited for.
const ANSWERS: Duration = Duration::from_millis(500);

/// What the log reads of `STREAM.INFO`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Info {
    config: Value,
    /// When the stream was made: another one of the same name is another log.
    pub created: String,
    pub state: State,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct State {
    pub messages: u64,
    pub last_seq: u64,
}

/// Why the log cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CheckError {
    /// It has to be mended by an operator.
    #[error("{0}")]
    Wrong(String),
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Each setting as it must be.
fn wanted(url: &EventLogUrl) -> Vec<(&'static str, Value)> {
    vec![
        ("subjects", json!([format!("{}.*.*", url.stream)])),
        ("retention", json!("limits")),
        ("storage", json!("file")),
        ("num_replicas", json!(url.replicas)),
        // A full log refuses what is new; it never drops what is old.
        ("discard", json!("new")),
        ("max_msgs", json!(-1)),
        ("max_bytes", json!(-1)),
        ("max_age", json!(0)),
        ("max_msgs_per_subject", json!(-1)),
        ("max_msg_size", json!(-1)),
        ("deny_delete", json!(true)),
        ("deny_purge", json!(true)),
        ("allow_rollup_hdrs", json!(false)),
        ("allow_atomic", json!(true)),
        ("allow_direct", json!(false)),
    ]
}

/// What must be absent: the server leaves them out where they are not set.
const ABSENT: [&str; 7] =
    ["no_ack", "sealed", "mirror", "sources", "subject_transform", "allow_msg_ttl", "persist_mode"];

/// Names the first setting of the stream that is not as it must be.
pub(super) fn check(url: &EventLogUrl, info: &Info) -> Result<(), CheckError> {
    let stream = &url.stream;
    let wrong = |what: String| {
        CheckError::Wrong(format!(
            "the stream {stream} {what}: change it (nats stream edit {stream}), or name another stream at the end of the URL \
             of the event log"
        ))
    };
    for (setting, value) in wanted(url) {
        let found = info.config.get(setting).unwrap_or(&Value::Null);
        // The server leaves out what is false.
        let is_same = *found == value || (value == json!(false) && found.is_null());
        if !is_same {
            return Err(wrong(format!("has {setting} {found}, and must have {value}")));
        }
    }
    for setting in ABSENT {
        let found = info.config.get(setting).unwrap_or(&Value::Null);
        if !matches!(found, Value::Null | Value::Bool(false)) && *found != json!("default") {
            return Err(wrong(format!("has {setting} {found}, and must not have it")));
        }
    }
    if info.state.messages != info.state.last_seq {
        let State { messages, last_seq } = info.state;
        return Err(CheckError::Wrong(format!(
            "the log in the stream {stream} is damaged: it ends at {last_seq} and holds {messages} events; restore it from \
             a backup"
        )));
    }
    Ok(())
}

pub(super) async fn info(client: &Client, url: &EventLogUrl) -> Result<Info, CallError> {
    call(client, format!("STREAM.INFO.{}", url.stream), &json!({})).await
}

/// Makes the stream where it is missing, and checks it: a stream that exists is not changed.
pub(super) async fn open(client: &Client, url: &EventLogUrl) -> Result<Info, CheckError> {
    check_server(client).await?;
    let info = match info(client, url).await {
        Err(error) if error.code() == Some(code::NO_STREAM) => create(client, url).await?,
        other => other?,
    };
    check(url, &info)?;
    check_syncs(client).await?;
    Ok(info)
}

async fn create(client: &Client, url: &EventLogUrl) -> Result<Info, CheckError> {
    let mut config = json!({"name": url.stream});
    for (setting, value) in wanted(url) {
        config[setting] = value;
    }
    match call(client, format!("STREAM.CREATE.{}", url.stream), &config).await {
        Ok(info) => {
            tracing::info!(
                stream = url.stream,
                replicas = url.replicas,
                "the stream of the event log is made"
            );
            Ok(info)
        }
        Err(error) if error.may_pass() => Err(error.into()),
        // Another replica of the bus may have been faster.
        Err(error) => match info(client, url).await {
            Ok(info) => Ok(info),
            Err(_) => Err(CheckError::Wrong(format!(
                "the stream {} of the event log cannot be made: {error}",
                url.stream
            ))),
        },
    }
}

/// The server's version, whether it has JetStream, and what it takes as one message.
async fn check_server(client: &Client) -> Result<(), CheckError> {
    let server = client.server_info();
    let mut numbers = server.version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < OLDEST {
        return Err(CheckError::Wrong(format!(
            "the NATS server has the version {}, which does not store batches as a whole: install 2.15 or later",
            server.version
        )));
    }
    if server.max_payload < LEAST_PAYLOAD {
        return Err(CheckError::Wrong(format!(
            "max_payload of the NATS server is {} bytes, and an event may have {LEAST_PAYLOAD}: set max_payload: 4MB",
            server.max_payload
        )));
    }
    match call::<Value>(client, "INFO".to_owned(), &json!({})).await {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.code(), Some(code::NOT_ENABLED | code::NOT_ENABLED_FOR_ACCOUNT)) => {
            Err(CheckError::Wrong(
                "JetStream is off on the NATS server, or for this account: set jetstream { store_dir: …, sync_interval: \
                 always }"
                    .to_owned(),
            ))
        }
        // A server without JetStream does not answer at all; one whose cluster has no leader yet does not, either.
        Err(CallError::NoAnswer(_)) if !server.jetstream => Err(CheckError::Wrong(
            "JetStream is off on the NATS server: set jetstream { store_dir: …, sync_interval: always }".to_owned(),
        )),
        Err(error) => Err(error.into()),
    }
}

#[derive(Deserialize)]
struct Varz {
    server: Server,
    data: VarzData,
}

#[derive(Deserialize)]
struct Server {
    name: String,
}

#[derive(Deserialize)]
struct VarzData {
    jetstream: Option<JetStreamVarz>,
}

#[derive(Deserialize)]
struct JetStreamVarz {
    config: Option<SyncConfig>,
}

#[derive(Deserialize)]
struct SyncConfig {
    #[serde(default)]
    sync_always: bool,
}

/// Whether each server that answers writes to the disk before it acknowledges. Only accounts that may ask are answered.
async fn check_syncs(client: &Client) -> Result<(), CheckError> {
    let no_answer = |e: &dyn std::fmt::Display| CallError::NoAnswer(e.to_string());
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|e| no_answer(&e))?;
    let sent = client.publish_with_reply("$SYS.REQ.SERVER.PING.VARZ", inbox, Vec::new().into()).await;
    sent.map_err(|e| no_answer(&e))?;
    let mut known = false;
    while let Ok(Some(message)) = rt::timeout(ANSWERS, answers.next()).await {
        let Ok(Varz { server, data }) = serde_json::from_slice(&message.payload) else { break };
        let Some(config) = data.jetstream.and_then(|jetstream| jetstream.config) else { continue };
        if !config.sync_always {
            return Err(CheckError::Wrong(format!(
                "the NATS server {} acknowledges before it writes to the disk: set sync_interval: always in its jetstream \
                 block",
                server.name
            )));
        }
        known = true;
    }
    if !known {
        tracing::warn!(
            "the NATS servers do not say whether they write to the disk before they acknowledge: without sync_interval: \
             always, a power cut loses acknowledged events; the bus can check it where its account imports the service \
             $SYS.REQ.SERVER.PING.VARZ"
        );
    }
    Ok(())
}
