//! `mini-blog seed`: fills a running stack with posts and comments.
//!
//! The events are published to the bus in large batches, signed as posts and comments sign theirs, and the services do
//! the rest: posts and comments read their own events, as they do where a lost store is rebuilt, moderation judges each
//! comment, and query merges them all. Nothing is written past the services, so that every store agrees with the log.

mod content;

use crate::process_name::ProcessName;
use crate::secrets::{OPERATOR_TOKEN, Secrets, SecretsError, read};
use crate::state_file::{self, StackFile};
use bytes::Bytes;
use content::{Batch, Content};
use http::{StatusCode, header};
use kit::app::config::secret_env;
use kit::messaging::bus_client::BusClient;
use kit::rt;
use kit::runtime::deps::Deps;
use kit::runtime::secret::Secret;
use kit::runtime::transport::{TransportError, retry_after};
use shared::bus::SubscriptionView;
use shared::envelope::CLOUDEVENTS_BATCH_JSON;
use shared::{Problem, Sequence, ServiceName};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use content::Amount;

/// How long the bus may refuse or be away before seeding ends.
const MOST_TRIES: u32 = 30;
/// How long to wait where the bus does not say.
const RETRY: Duration = Duration::from_secs(1);
/// How often the services are asked how far they are.
const LOOK: Duration = Duration::from_millis(200);
/// How often progress is reported.
const REPORT: Duration = Duration::from_secs(5);
/// How long the services may stand still before waiting for them ends.
const STALLED: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("no stack is running on {}: start one with `mini-blog up`", .0.display())]
    NotRunning(PathBuf),
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error("the secret of {0} in secrets.env is too short")]
    WeakSecret(ServiceName),
    #[error("{0} is not part of this stack; seeding needs it")]
    Absent(ServiceName),
    #[error("an event cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{service}: {why}")]
    Refused { service: ServiceName, why: String },
    #[error("{service}: {source}")]
    Exchange { service: ServiceName, source: TransportError },
    #[error(
        "the services have made no progress for {} s: {waiting}; see `mini-blog status`",
        STALLED.as_secs()
    )]
    Stalled { waiting: String },
}

/// What the services have done so far.
#[derive(Debug, PartialEq, Eq)]
struct Progress {
    head: Sequence,
    /// The number of events that each service has not applied, and of those that it has not published.
    waiting: Vec<(ServiceName, i64, u64)>,
}

impl Progress {
    fn is_done(&self) -> bool {
        self.waiting.iter().all(|(_, lag, outbox)| *lag == 0 && *outbox == 0)
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the log has {} events", self.head.get())?;
        for (service, lag, outbox) in &self.waiting {
            write!(f, "; {service}: {lag} to apply, {outbox} to publish")?;
        }
        Ok(())
    }
}

/// A client of a running stack that publishes as its services.
struct Seeder {
    deps: Deps,
    stack: StackFile,
    token: String,
    posts: BusClient,
    comments: BusClient,
}

/// Publishes the content, and waits until every running service has applied it. `report` gets a line every few seconds.
pub async fn seed(data_dir: &Path, amount: Amount, report: impl Fn(&str)) -> Result<String, SeedError> {
    let seeder = Seeder::open(data_dir)?;
    let begun = rt::Instant::now();
    let mut reported = begun;
    let (mut content, mut published) = (Content::new(amount), 0);
    while let Some(batch) = content.next_batch()? {
        published += batch.events.len();
        seeder.publish(batch).await?;
        if reported.elapsed() >= REPORT {
            report(&format!("{published} of {} events published", amount.posts + amount.comments));
            reported = rt::Instant::now();
        }
    }
    let head = seeder.wait_until_applied(&report).await?;
    Ok(format!(
        "{} posts and {} comments in {:.1} s; the log has {} events\n",
        amount.posts,
        amount.comments,
        begun.elapsed().as_secs_f64(),
        head.get()
    ))
}

impl Seeder {
    fn open(data_dir: &Path) -> Result<Self, SeedError> {
        let stack = state_file::read(data_dir).ok_or_else(|| SeedError::NotRunning(data_dir.to_owned()))?;
        let secrets = read(data_dir)?;
        let deps = Deps::system()
            .map_err(|source| SeedError::Exchange { service: ServiceName::EventBus, source })?;
        let bus = running(&stack, ServiceName::EventBus)?.join(",");
        let client = |service| -> Result<BusClient, SeedError> {
            running(&stack, service)?;
            Ok(BusClient::new(deps.clone(), &bus, Some(&secret_of(&secrets, service)?)))
        };
        let (posts, comments) = (client(ServiceName::Posts)?, client(ServiceName::Comments)?);
        let token = secrets.get(OPERATOR_TOKEN).to_owned();
        Ok(Self { deps, stack, token, posts, comments })
    }

    /// Publishes a batch, again and again while the bus is away or busy.
    async fn publish(&self, batch: Batch) -> Result<(), SeedError> {
        let service = ServiceName::EventBus;
        let client = if batch.publisher == ServiceName::Posts { &self.posts } else { &self.comments };
        let body = Bytes::from(serde_json::to_vec(&batch.events)?);
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = client.post("/events", CLOUDEVENTS_BATCH_JSON, body.clone(), None).await;
            let (wait, error) = match answer {
                Ok(answer) if answer.status() == StatusCode::OK => return Ok(()),
                Ok(answer) => {
                    let refused = SeedError::Refused { service, why: why(&answer) };
                    if !matches!(
                        answer.status(),
                        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
                    ) {
                        return Err(refused);
                    }
                    (retry_after(answer.headers()).unwrap_or(RETRY), refused)
                }
                // The bus recognises an event that it has appended before.
                Err(source) => (RETRY, SeedError::Exchange { service, source }),
            };
            if tries == MOST_TRIES {
                return Err(error);
            }
            rt::sleep(wait).await;
        }
    }

    /// Returns the end of the log when two looks have found everything applied and published, and the log of the same
    /// length: what an event causes is in an outbox before the event counts as applied.
    async fn wait_until_applied(&self, report: impl Fn(&str)) -> Result<Sequence, SeedError> {
        let mut before = None;
        let (mut reported, mut changed) = (rt::Instant::now(), rt::Instant::now());
        loop {
            let now = match self.progress().await {
                Ok(now) => now,
                // It may be starting again.
                Err(error) if changed.elapsed() >= STALLED => return Err(error),
                Err(_) => {
                    rt::sleep(LOOK).await;
                    continue;
                }
            };
            if before.as_ref() == Some(&now) {
                if now.is_done() {
                    return Ok(now.head);
                }
                if changed.elapsed() >= STALLED {
                    return Err(SeedError::Stalled { waiting: now.to_string() });
                }
            } else {
                changed = rt::Instant::now();
            }
            if reported.elapsed() >= REPORT {
                report(&now.to_string());
                reported = rt::Instant::now();
            }
            before = Some(now);
            rt::sleep(LOOK).await;
        }
    }

    async fn progress(&self) -> Result<Progress, SeedError> {
        // A bus that does not deliver may know the end of the log and the cursors a moment later than the others: of all
        // answers the one that is furthest behind counts.
        let mut rows: Vec<SubscriptionView> = Vec::new();
        for text in self.get_each(ServiceName::EventBus, "/subscriptions").await? {
            rows.extend(serde_json::from_slice::<Vec<_>>(&text)?);
        }
        let end = |row: &SubscriptionView| Sequence::new(row.cursor.get() + row.lag);
        let head = rows.iter().map(end).max().unwrap_or(Sequence::START);
        let mut progress = Progress { head, waiting: Vec::new() };
        // A service that is left out or down catches up when it is started.
        let peers = ServiceName::PEERS.into_iter().filter(|service| running(&self.stack, *service).is_ok());
        for service in peers {
            // Of several instances, the one that is furthest behind. The bus also knows those that do not run any more.
            let subscribers = subscribers(&self.stack, service);
            let rows = rows.iter().filter(|row| subscribers.contains(&row.name));
            let Some(row) = rows.max_by_key(|row| row.lag) else { continue };
            let metrics = self.get_each(service, "/metrics").await?;
            let depth = metrics.iter().map(|text| outbox_depth(text)).max().unwrap_or(0);
            progress.waiting.push((service, row.lag, depth));
        }
        Ok(progress)
    }

    /// The answers of the replicas of a service, of one at least: another one may be down, or have been killed since.
    async fn get_each(&self, service: ServiceName, path: &str) -> Result<Vec<Bytes>, SeedError> {
        let (mut answers, mut failed) = (Vec::new(), SeedError::Absent(service));
        for url in running(&self.stack, service)? {
            match self.get(service, &url, path).await {
                Ok(answer) => answers.push(answer),
                Err(error) => failed = error,
            }
        }
        if answers.is_empty() { Err(failed) } else { Ok(answers) }
    }

    async fn get(&self, service: ServiceName, url: &str, path: &str) -> Result<Bytes, SeedError> {
        let refused = |why: String| SeedError::Refused { service, why };
        let request = http::Request::get(format!("{url}{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Bytes::new())
            .map_err(|e| refused(e.to_string()))?;
        let answer = self.deps.transport.send(request).await;
        let answer = answer.map_err(|source| SeedError::Exchange { service, source })?;
        if answer.status() == StatusCode::OK { Ok(answer.into_body()) } else { Err(refused(why(&answer))) }
    }
}

/// The addresses of the replicas of a service that run, one at least.
fn running(stack: &StackFile, service: ServiceName) -> Result<Vec<String>, SeedError> {
    let running = stack.replicas(service).filter(|(_, entry)| entry.pid.is_some());
    let urls: Vec<_> = running.map(|(_, entry)| entry.url.clone()).collect();
    if urls.is_empty() { Err(SeedError::Absent(service)) } else { Ok(urls) }
}

/// The names by which the running replicas of a service subscribe: each of query under its own.
fn subscribers(stack: &StackFile, service: ServiceName) -> Vec<String> {
    let running = stack.replicas(service).filter(|(_, entry)| entry.pid.is_some());
    let name = |name: ProcessName| if service == ServiceName::Query { name } else { service.into() };
    running.map(|(process, _)| name(process).to_string()).collect()
}

fn outbox_depth(metrics: &[u8]) -> u64 {
    let metrics = String::from_utf8_lossy(metrics);
    let depth = metrics.lines().find_map(|line| line.strip_prefix("outbox_depth "));
    depth.and_then(|depth| depth.parse().ok()).unwrap_or(0)
}

fn secret_of(secrets: &Secrets, service: ServiceName) -> Result<Secret, SeedError> {
    Secret::new(secrets.get(&secret_env(service))).map_err(|_| SeedError::WeakSecret(service))
}

/// What a service says about a refusal.
fn why(answer: &http::Response<Bytes>) -> String {
    let problem = serde_json::from_slice::<Problem>(answer.body()).ok();
    let said = problem.map(|problem| problem.detail.unwrap_or(problem.title));
    said.unwrap_or_else(|| format!("answers {}", answer.status()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_file::ServiceEntry;
    use kit::runtime::transport::{Exchange, Transport};
    use std::sync::Arc;

    /// Two buses, of which the second one knows less. No event waits for those that run, and one that does not is behind.
    #[derive(Debug)]
    struct Services {
        dead: &'static str,
    }

    impl Transport for Services {
        fn send(&self, request: http::Request<Bytes>) -> Exchange<'_> {
            Box::pin(async move {
                let row = |name: &str, cursor: u8, lag: u8| {
                    format!(
                        r#"{{"name":"{name}","url":"http://c","cursor":"{cursor:020}","lag":{lag},"attempts":0,
                            "nextRetry":null,"lastError":null,"oldestUnackedAgeMs":0}}"#
                    )
                };
                let rows = |lag| {
                    let (comments, query) = (row("comments", 4, lag), row("query/1", 4, 0));
                    format!("[{comments},{query},{},{}]", row("query/2", 0, 4), row("query", 0, 4))
                };
                let body = match request.uri().host().unwrap_or_default() {
                    dead if dead == self.dead => {
                        return Err(TransportError::Connect("connection refused".into()));
                    }
                    "event-bus-1" => rows(3),
                    "event-bus-2" => rows(0),
                    _ => "outbox_depth 0\n".to_owned(),
                };
                Ok(http::Response::new(Bytes::from(body)))
            })
        }
    }

    async fn progress(dead: &'static str) -> Result<Progress, SeedError> {
        let names = ["event-bus/1", "event-bus/2", "comments/1", "comments/2", "query/1", "query/2"];
        let services = names.map(|name| {
            let url = format!("http://{}", name.replace('/', "-"));
            let pid = (name != "query/2").then_some(1);
            (name.parse().unwrap(), ServiceEntry { url, admin: String::new(), pid })
        });
        let services = services.into();
        let stack = StackFile { pid: 1, address: String::new(), ready: true, services, database: None };
        let deps = Deps { transport: Arc::new(Services { dead }), ..Deps::system().unwrap() };
        let client = || BusClient::new(deps.clone(), "http://event-bus-1", None);
        let (posts, comments) = (client(), client());
        Seeder { deps, stack, token: "token".into(), posts, comments }.progress().await
    }

    #[tokio::test]
    async fn the_bus_that_knows_most_counts_and_what_does_not_run_is_not_waited_for() {
        let of = |head, lag| Progress {
            head: Sequence::new(head),
            waiting: vec![(ServiceName::Comments, lag, 0), (ServiceName::Query, 0, 0)],
        };
        assert_eq!(progress("nobody").await.unwrap(), of(7, 3));
        for (dead, expected) in
            [("event-bus-1", of(4, 0)), ("event-bus-2", of(7, 3)), ("comments-1", of(7, 3))]
        {
            assert_eq!(progress(dead).await.unwrap(), expected, "{dead}");
        }
    }
}
