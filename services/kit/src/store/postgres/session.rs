//! One connection, on a thread of its own.

use super::error::CallError;
use super::settings::{Protection, Settings, why};
use super::tls::Tls;
use super::{DEADLINE, LOCK_TIMEOUT};
use crate::rt::{self, ThreadRuntime};
use crate::store::database_url::DatabaseLocation;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;
use tokio_postgres::error::Severity;
use tokio_postgres::{AsyncMessage, Client, Connection, Socket, Statement};
use tokio_util::sync::CancellationToken;

/// How many prepared statements a connection keeps. A program has fewer, unless it writes values into their text.
const STATEMENTS: usize = 512;

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum ConnectError {
    /// A person has to mend it: a wrong password, a database that is missing.
    #[error("{0}")]
    Refused(String),
    /// It may mend itself.
    #[error("{0}")]
    Unreachable(String),
}

/// What is sent to a session by the channels that it listens to: the payloads.
pub(super) type Notifications = mpsc::UnboundedReceiver<String>;

/// One connection.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) shared: Shared,
    driver: Option<rt::Task<()>>,
}

/// What a transaction shares with its session.
pub(super) struct Shared {
    runtime: Rc<ThreadRuntime>,
    statements: RefCell<HashMap<Box<str>, Statement>>,
    /// How many warnings the server has sent.
    warnings: Arc<AtomicUsize>,
    /// Cancelled once the connection has ended.
    closed: CancellationToken,
    /// Whether it must not be used again.
    is_dead: Cell<bool>,
}

impl Session {
    /// Connects with what the location holds now. Not for use within the runtime.
    pub(super) fn connect(
        runtime: &Rc<ThreadRuntime>,
        location: &DatabaseLocation,
        program: &str,
    ) -> Result<(Self, Notifications), ConnectError> {
        runtime.block_on(Self::open(runtime, location, program))
    }

    pub(super) async fn open(
        runtime: &Rc<ThreadRuntime>,
        location: &DatabaseLocation,
        program: &str,
    ) -> Result<(Self, Notifications), ConnectError> {
        let refused = |why: String| ConnectError::Refused(why);
        let url = location.read().map_err(|error| refused(error.to_string()))?;
        let settings = Settings::parse(&url, program).map_err(|error| refused(format!("{url}: {error}")))?;
        let tls = Tls::new(&settings.protection).map_err(|error| refused(error.to_string()))?;
        let (client, connection) = connect(&settings, &tls, &url.to_string()).await?;
        let (session, notifications) = Self::drive(Rc::clone(runtime), client, connection);
        let set = format!(
            // The server drops a session whose client is gone, and its locks with it, within 11 s; a transaction
            // whose client stands still, within 10 s.
            "SET lock_timeout = {lock}; SET idle_in_transaction_session_timeout = 10000;
             SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
             SET client_min_messages = warning;
             SELECT set_config('synchronous_commit', 'on', false)
                 WHERE current_setting('synchronous_commit') = 'off'",
            lock = LOCK_TIMEOUT.as_millis()
        );
        session.shared.ask(session.client.batch_execute(&set)).await.map_err(|error| match error {
            CallError::Server { .. } => refused(format!("{url}: {error}")),
            _ => ConnectError::Unreachable(format!("{url}: {error}")),
        })?;
        Ok((session, notifications))
    }

    fn drive(
        runtime: Rc<ThreadRuntime>,
        client: Client,
        mut connection: Connection<Socket, super::tls::Stream<Socket>>,
    ) -> (Self, Notifications) {
        let (warnings, closed) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let (notified, notifications) = mpsc::unbounded_channel();
        let (count, guard) = (Arc::clone(&warnings), closed.clone().drop_guard());
        let driver = rt::spawn(async move {
            let _closed = guard;
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notice(notice))) => {
                        if notice.parsed_severity() == Some(Severity::Warning) {
                            count.fetch_add(1, Ordering::SeqCst);
                            tracing::warn!(warning = notice.message(), "the database warns");
                        }
                    }
                    Some(Ok(AsyncMessage::Notification(note))) => {
                        // Only the control session listens.
                        let _ = notified.send(note.payload().to_owned());
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        tracing::debug!(error = why(&error), "a connection to the database has ended");
                        return;
                    }
                    None => return,
                }
            }
        });
        let statements = RefCell::default();
        let shared = Shared { runtime, statements, warnings, closed, is_dead: Cell::new(false) };
        (Self { client, shared, driver: Some(driver) }, notifications)
    }

    /// Whether it can be used.
    pub(super) fn is_alive(&self) -> bool {
        !self.shared.is_dead.get() && !self.client.is_closed()
    }

    /// Ends once the connection has ended.
    pub(super) async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    pub(super) fn warnings(&self) -> usize {
        self.shared.warnings.load(Ordering::SeqCst)
    }

    /// Statements without parameters and results, in one message.
    pub(super) fn batch(&self, sql: &str) -> Result<(), CallError> {
        self.shared.call(self.client.batch_execute(sql))
    }

    /// Closes the socket at once where the server does not answer any more.
    pub(super) async fn abandon(mut self) {
        if let Some(driver) = self.driver.take() {
            driver.abort();
            let _ = driver.await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.abort();
        }
    }
}

impl Shared {
    /// Waits for an answer, until the deadline. A connection that misses it is not used again.
    pub(super) async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, CallError> {
        let answer = match rt::timeout(DEADLINE, call).await {
            Ok(answer) => answer.map_err(CallError::from),
            Err(_) => Err(CallError::Deadline),
        };
        if let Err(error) = &answer
            && error.class() == super::error::Class::Lost
        {
            self.is_dead.set(true);
        }
        answer
    }

    /// As [`Shared::ask`], on the thread of the session.
    pub(super) fn call<T>(
        &self,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, CallError> {
        self.runtime.block_on(self.ask(call))
    }

    /// A statement, prepared once for each connection.
    pub(super) fn prepared(&self, client: &Client, sql: &str) -> Result<Statement, CallError> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.call(client.prepare(sql))?;
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= STATEMENTS {
            statements.clear();
        }
        statements.insert(sql.into(), statement.clone());
        Ok(statement)
    }

    /// The connection must not be used again.
    pub(super) fn give_up(&self) {
        self.is_dead.set(true);
    }

    /// After the schema has changed.
    pub(super) fn forget_statements(&self) {
        self.statements.borrow_mut().clear();
    }
}

type Connected = (Client, Connection<Socket, super::tls::Stream<Socket>>);

/// The first host that takes writes. Where there is none, the error is that of the last.
async fn connect(settings: &Settings, tls: &Tls, url: &str) -> Result<Connected, ConnectError> {
    let limit = if settings.hosts.len() > 1 { DEADLINE / 2 } else { DEADLINE };
    let mut last = ConnectError::Refused(format!("{url} names no host"));
    for host in &settings.hosts {
        last = match rt::timeout(limit, host.connect(tls.clone())).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => refusal(&error, settings, url),
            Err(_) => {
                ConnectError::Unreachable(format!("{url} has not answered within {} ms", limit.as_millis()))
            }
        };
    }
    Err(last)
}

/// Whether whoever runs the program has to do something.
fn refusal(error: &tokio_postgres::Error, settings: &Settings, url: &str) -> ConnectError {
    let text = format!("{url}: {}", why(error));
    let Some(db) = error.as_db_error() else {
        let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
        let inner = cause.and_then(std::io::Error::get_ref);
        let is_certificate = inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
        // Whatever is not of the network is of the settings: TLS that the server does not have, a missing password.
        return match cause {
            Some(_) if is_certificate && matches!(settings.protection, Protection::Verified { .. }) => {
                ConnectError::Refused(text)
            }
            Some(_) => ConnectError::Unreachable(text),
            None if error.is_closed() => ConnectError::Unreachable(text),
            None => ConnectError::Refused(text),
        };
    };
    let code = db.code().code();
    let message = db.message();
    match code {
        "28P01" | "28000" => {
            ConnectError::Refused(format!("{url}: {message}: check the user and its password"))
        }
        "3D000" => ConnectError::Refused(format!("{url}: {message}: create it, or correct the URL")),
        // The second is how PgBouncer calls what it does not have.
        "42501" | "08P01" => ConnectError::Refused(format!("{url}: {message}")),
        _ => ConnectError::Unreachable(format!("{url}: {message}")),
    }
}
