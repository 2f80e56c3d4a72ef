//! `mini-blog dead-letters`: lists the events that could not be applied, and redrives or discards them.

use crate::process_name::ProcessName;
use crate::secrets::{OPERATOR_TOKEN, SecretsError, read};
use crate::state_file::{self, ServiceEntry, StackFile};
use crate::status::columns;
use bytes::Bytes;
use http::{Method, StatusCode, header};
use kit::runtime::transport::{HttpTransport, Transport, TransportError};
use shared::bus::{DeadLetterView, Redriven};
use shared::{Problem, ServiceName};
use std::path::{Path, PathBuf};

/// Dead letters in one page.
const PAGE: usize = 200;
/// The largest page in bytes: services answer with about a mebibyte of events, or with one that is larger.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// The most characters that the list shows of a text from an event.
const SHOWN: usize = 100;

/// What to do with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Apply it and those parked behind it.
    Redrive,
    /// Give it up, and apply those parked behind it.
    Discard,
}

#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    #[error("no stack is running on {}: start one with `mini-blog up`", .0.display())]
    NotRunning(PathBuf),
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error("cannot make an HTTP client: {0}")]
    Client(TransportError),
    #[error("{0} is not part of this stack; `mini-blog status` lists what is")]
    Absent(ProcessName),
    #[error("{name}: {source}")]
    Exchange { name: ProcessName, source: TransportError },
    #[error("{name}: {why}")]
    Refused { name: ProcessName, why: String },
}

/// An operator's client of the services of a running stack.
pub struct DeadLetterClient {
    transport: Box<dyn Transport>,
    stack: StackFile,
    token: String,
}

impl DeadLetterClient {
    /// Finds the stack that runs on this data folder, and its operator token.
    pub fn open(data_dir: &Path) -> Result<Self, DeadLetterError> {
        let stack =
            state_file::read(data_dir).ok_or_else(|| DeadLetterError::NotRunning(data_dir.to_owned()))?;
        let token = read(data_dir)?.get(OPERATOR_TOKEN).to_owned();
        let transport = HttpTransport::new().map_err(DeadLetterError::Client)?.with_answers_up_to(PAGE_BYTES);
        Ok(Self { transport: Box::new(transport), stack, token })
    }

    /// The dead letters of one service, or of all, as a table.
    pub async fn list(&self, only: Option<ProcessName>) -> Result<String, DeadLetterError> {
        let stores = self.stores().filter(|(name, _)| {
            only.is_none_or(|only| *name == only || (only.replica.is_none() && only.service == name.service))
        });
        let present: Vec<_> = stores.collect();
        if let (Some(only), []) = (only, &present[..]) {
            return Err(DeadLetterError::Absent(only));
        }
        let mut rows = Vec::new();
        for (name, entry) in present {
            let mut after = 0;
            loop {
                let path = format!("/dead-letters?after={after}&limit={PAGE}");
                let page: Vec<DeadLetterView> = self.ask(name, entry, Method::GET, &path).await?;
                let Some(last) = page.last() else { break };
                after = last.id;
                rows.extend(page.iter().map(|letter| row(name, letter)));
            }
        }
        if rows.is_empty() {
            return Ok("No dead letters.\n".to_owned());
        }
        let head =
            ["SERVICE", "ID", "POST", "EVENT", "SEQUENCE", "ATTEMPTS", "PARKED", "ERROR"].map(str::to_owned);
        Ok(columns(std::iter::once(head).chain(rows)))
    }

    /// Redrives or discards one; returns the result as a sentence.
    pub async fn resolve(
        &self,
        name: ProcessName,
        id: i64,
        resolution: Resolution,
    ) -> Result<String, DeadLetterError> {
        let verb = match resolution {
            Resolution::Redrive => "redrive",
            Resolution::Discard => "discard",
        };
        let path = format!("/dead-letters/{id}/{verb}");
        let entry = self.stores().find(|(store, _)| *store == name).map(|(_, entry)| entry);
        // A replica stands for the database that it shares.
        let entry = entry.or_else(|| self.stack.services.get(&name)).ok_or(DeadLetterError::Absent(name))?;
        let Redriven { applied, remaining } = self.ask(name, entry, Method::POST, &path).await?;
        let discarded = if resolution == Resolution::Discard { "discarded; " } else { "" };
        let rest = if remaining == 0 { "none left".to_owned() } else { format!("{remaining} still parked") };
        Ok(format!("{name}: {discarded}{applied} applied, {rest}\n"))
    }

    /// Each store that may hold dead letters, and a process that answers for it: every replica of query has a store of
    /// its own, those of another service share one.
    fn stores(&self) -> impl Iterator<Item = (ProcessName, &ServiceEntry)> {
        ServiceName::PEERS.into_iter().flat_map(|service| {
            let mut all: Vec<_> = self.stack.replicas(service).collect();
            if service != ServiceName::Query && all.len() > 1 {
                // One that is down cannot answer.
                all.sort_by_key(|(_, entry)| entry.pid.is_none());
                all.truncate(1);
                all[0].0 = service.into();
            }
            all
        })
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        name: ProcessName,
        entry: &ServiceEntry,
        method: Method,
        path: &str,
    ) -> Result<T, DeadLetterError> {
        let refused = |why: String| DeadLetterError::Refused { name, why };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", entry.url))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Bytes::new())
            .map_err(|e| refused(e.to_string()))?;
        let answer = self
            .transport
            .send(request)
            .await
            .map_err(|source| DeadLetterError::Exchange { name, source })?;
        if answer.status() != StatusCode::OK {
            let problem = serde_json::from_slice::<Problem>(answer.body()).ok();
            let why = problem.map(|p| p.detail.unwrap_or(p.title));
            return Err(refused(why.unwrap_or_else(|| format!("answers {}", answer.status()))));
        }
        serde_json::from_slice(answer.body()).map_err(|e| refused(format!("unexpected answer: {e}")))
    }
}

impl std::fmt::Debug for DeadLetterClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetterClient").field("stack", &self.stack).finish_non_exhaustive()
    }
}

fn row(name: ProcessName, letter: &DeadLetterView) -> [String; 8] {
    // Anybody may have written this text: it must not control the terminal, nor leave its line.
    let plain = |text: &str| {
        let mut shown = String::new();
        for c in text.chars().take(SHOWN) {
            match c {
                '"' | '\'' => shown.push(c),
                _ => shown.extend(c.escape_debug()),
            }
        }
        if text.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        shown
    };
    [
        name.to_string(),
        letter.id.to_string(),
        plain(&letter.key),
        plain(&letter.event.kind),
        letter.sequence.map_or_else(|| "-".to_owned(), |sequence| sequence.get().to_string()),
        letter.attempts.to_string(),
        letter.parked_at.to_string(),
        plain(&letter.error),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::runtime::transport::Exchange;

    /// Two dead letters of query, one a page.
    struct Query;

    impl Transport for Query {
        fn send(&self, request: http::Request<Bytes>) -> Exchange<'_> {
            Box::pin(async move {
                assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer token");
                let uri = request.uri().to_string();
                let letter = |id: u32, error: &str| {
                    let error = serde_json::to_string(error).unwrap();
                    format!(
                        r#"[{{"id":{id},"key":"p1","sequence":"00000000000000000004","error":{error},"attempts":1,
                            "parkedAt":"1970-01-01T00:00:00.007Z","event":{{"type":"PostCreated","data":{{}}}}}}]"#
                    )
                };
                let (status, body) = match uri.trim_start_matches("http://query") {
                    "/dead-letters?after=0&limit=200" => (200, letter(3, "title\u{1b}[2J is an object")),
                    "/dead-letters?after=3&limit=200" => (200, letter(9, &"x".repeat(101))),
                    "/dead-letters?after=9&limit=200" => (200, "[]".to_owned()),
                    "/dead-letters/3/redrive" => (200, r#"{"applied":0,"remaining":2}"#.to_owned()),
                    "/dead-letters/3/discard" => (200, r#"{"applied":1,"remaining":0}"#.to_owned()),
                    _ => {
                        (404, r#"{"type":"/problems/not-found","title":"Not found","status":404}"#.to_owned())
                    }
                };
                let mut answer = http::Response::new(Bytes::from(body));
                *answer.status_mut() = StatusCode::from_u16(status).unwrap();
                Ok(answer)
            })
        }
    }

    fn client() -> DeadLetterClient {
        let entry = ServiceEntry { url: "http://query".into(), admin: String::new(), pid: None };
        let services = [(ServiceName::Query.into(), entry)].into();
        let stack = StackFile { pid: 1, address: String::new(), ready: true, services, database: None };
        DeadLetterClient { transport: Box::new(Query), stack, token: "token".into() }
    }

    #[tokio::test]
    async fn the_list_has_every_page_and_nothing_that_moves_a_terminal() {
        let text = client().list(None).await.unwrap();
        let expected = format!(
            "\
SERVICE  ID  POST  EVENT        SEQUENCE  ATTEMPTS  PARKED                    ERROR
query    3   p1    PostCreated  4         1         1970-01-01T00:00:00.007Z  title\\u{{1b}}[2J is an object
query    9   p1    PostCreated  4         1         1970-01-01T00:00:00.007Z  {}…
",
            "x".repeat(SHOWN)
        );
        assert_eq!(text, expected);
        let absent = client().list(Some(ServiceName::Posts.into())).await.unwrap_err();
        assert_eq!(absent.to_string(), "posts is not part of this stack; `mini-blog status` lists what is");
    }

    #[tokio::test]
    async fn the_result_is_one_sentence() {
        let redriven = client().resolve(ServiceName::Query.into(), 3, Resolution::Redrive).await.unwrap();
        assert_eq!(redriven, "query: 0 applied, 2 still parked\n");
        let discarded = client().resolve(ServiceName::Query.into(), 3, Resolution::Discard).await.unwrap();
        assert_eq!(discarded, "query: discarded; 1 applied, none left\n");
        let unknown = client().resolve(ServiceName::Query.into(), 4, Resolution::Redrive).await.unwrap_err();
        assert_eq!(unknown.to_string(), "query: Not found");
    }

    #[test]
    fn replicas_that_share_a_database_are_asked_once_and_those_of_query_each() {
        let entry = |pid| ServiceEntry { url: format!("http://{pid:?}"), admin: String::new(), pid };
        let services =
            [("comments/1", None), ("comments/2", Some(2)), ("query/1", Some(3)), ("query/2", Some(4))];
        let mut client = client();
        client.stack.services = services.map(|(name, pid)| (name.parse().unwrap(), entry(pid))).into();
        let stores: Vec<_> = client.stores().map(|(name, entry)| (name.to_string(), entry.pid)).collect();
        let expected = [("comments", 2), ("query/1", 3), ("query/2", 4)];
        assert_eq!(stores, expected.map(|(name, pid)| (name.to_owned(), Some(pid))));
    }

    #[test]
    fn without_a_stack_it_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = DeadLetterClient::open(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("no stack is running on "), "{error}");
    }
}
