//! The PostgreSQL server of a stack: it starts before the services, is started again if it dies, and stops after them.

use crate::backoff::{failures_after, restart_delay};
use crate::engine;
use crate::labels::Output;
use kit::rt;
use servers::postgres::{Postgres, Settings};
use servers::{Account, Error};
use shared::ServiceName;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// How often its process is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The services that keep their state in it; the database of the event bus holds the log too. A read model is a copy, and
/// each replica of query has its own.
pub const SERVICES: [ServiceName; 4] =
    [ServiceName::EventBus, ServiceName::Posts, ServiceName::Comments, ServiceName::Moderation];

/// How many connections a replica of such a service holds.
const CONNECTIONS: usize = 8;

/// How many the server accepts: those of every replica, of one more of each service while sessions of a killed one end, and
/// a few for people.
const fn most_connections(replicas: u8) -> usize {
    CONNECTIONS * SERVICES.len() * (replicas as usize + 1) + 20
}

/// A running server, supervised by a thread of its own. It ends with this value, and with this process.
#[derive(Debug)]
pub struct Database {
    stop: SyncSender<oneshot::Sender<bool>>,
    pid: watch::Receiver<Option<u32>>,
    urls: BTreeMap<ServiceName, String>,
}

impl Database {
    /// Starts the server of this data folder, and creates what is missing: its files, a database for each service and
    /// the role that owns it. The roles' passwords are new each time: nobody but the services needs them.
    pub async fn start(data_dir: &Path, replicas: u8, output: &Output) -> Result<Self, Error> {
        let (data_dir, output) = (data_dir.to_owned(), output.clone());
        let started = rt::unblock(move || {
            // The folder is the owner's alone; the server has to pass through it.
            Account::for_postgres()?.admit(&data_dir)?;
            let connections = most_connections(replicas).to_string();
            let settings =
                Settings::new(engine::folder(&data_dir)).parameter("max_connections", &connections);
            let server = Postgres::start(settings)?;
            let url = |service: ServiceName| {
                let name = service.as_str().replace('-', "_");
                server.create_database(&name).map(|url| (service, url))
            };
            let urls = SERVICES.into_iter().map(url).collect::<Result<_, _>>()?;
            let (stop, stopping) = sync_channel(1);
            let (told, pid) = watch::channel(server.pid());
            std::thread::spawn(move || supervise(server, &stopping, &told, &output));
            Ok(Self { stop, pid, urls })
        });
        started.await.unwrap_or_else(|e| Err(Error::Thread(e.to_string())))
    }

    /// The URL of each service's database.
    pub fn urls(&self) -> &BTreeMap<ServiceName, String> {
        &self.urls
    }

    /// Its process; none while it does not run.
    pub fn pid(&self) -> watch::Receiver<Option<u32>> {
        self.pid.clone()
    }

    /// Stops it as PostgreSQL's fast shutdown does. False if it had to be killed.
    pub async fn stop(self) -> bool {
        let (done, outcome) = oneshot::channel();
        // If the thread has ended, so has the server.
        self.stop.send(done).is_err() || outcome.await.unwrap_or(true)
    }
}

/// Starts the server again whenever it ends by itself, until it is to stop or nobody is left who could say so.
fn supervise(
    mut server: Postgres,
    stopping: &Receiver<oneshot::Sender<bool>>,
    told: &watch::Sender<Option<u32>>,
    output: &Output,
) {
    let (mut failures, mut since, mut wait) = (0, Instant::now(), LOOK);
    loop {
        match stopping.recv_timeout(wait) {
            Ok(done) => {
                let _ = done.send(server.stop());
                return;
            }
            // Dropping the server stops it.
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => wait = LOOK,
        }
        if server.pid().is_some() {
            let Some(status) = server.ended() else { continue };
            told.send_replace(None);
            failures = failures_after(failures, since.elapsed());
            wait = restart_delay(failures);
            output.say(&format!("PostgreSQL ended ({status}); starting it again in {wait:?}"));
            server.kill();
            continue;
        }
        match server.restart() {
            Ok(()) => {
                since = Instant::now();
                told.send_replace(server.pid());
            }
            Err(e) => {
                failures += 1;
                wait = restart_delay(failures);
                output.say(&format!("PostgreSQL does not start: {e}; trying again in {wait:?}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process_name::MAX_REPLICAS;
    use rustix::process::Signal;
    use servers::postgres::{Client, Programs};
    use test_support::{LIMIT, eventually, processes};

    fn run(url: &str, sql: &str) -> String {
        let psql = Programs::find(Path::new("/nonexistent")).unwrap().psql();
        Client::new(psql, url).run(sql).unwrap()
    }

    #[tokio::test]
    async fn it_comes_back_when_it_dies_and_keeps_what_it_holds() {
        let Some(_server) = servers::testing::postgres_database("only to see whether a server can run")
        else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let (output, _writer) = Output::to(std::io::sink(), false);
        let database = Database::start(dir.path(), MAX_REPLICAS, &output).await.unwrap();
        assert_eq!(database.urls().len(), SERVICES.len());
        let url = database.urls()[&ServiceName::Posts].clone();
        let accepted: usize = run(&url, "SHOW max_connections").parse().unwrap();
        assert!(accepted > CONNECTIONS * SERVICES.len() * usize::from(MAX_REPLICAS), "{accepted}");
        run(&url, "CREATE TABLE t (n BIGINT); INSERT INTO t VALUES (7)");
        let first = database.pid().borrow().unwrap();
        processes::send(first, Signal::KILL);
        let another = async || database.pid().borrow().is_some_and(|pid| pid != first);
        eventually(LIMIT, "another process runs", another).await;
        assert_eq!(run(&url, "SELECT n FROM t"), "7");
        let second = database.pid().borrow().unwrap();
        assert!(database.stop().await);
        assert!(!processes::runs(second));

        let again = Database::start(dir.path(), MAX_REPLICAS, &output).await.unwrap();
        assert_ne!(again.urls()[&ServiceName::Posts], url, "the password or the port is another");
        assert_eq!(run(&again.urls()[&ServiceName::Posts], "SELECT n FROM t"), "7");
        let third = again.pid().borrow().unwrap();
        drop(again);
        eventually(LIMIT, "it ends with its owner", async || !processes::runs(third)).await;
    }
}
