//! A database of PostgreSQL that the replicas of a service share.
//!
//! Each replica has eight connections, each on a thread of its own: four writers, three readers, and one that coordinates
//! ([`control`]). The server is believed for as long as it answers: each call has a deadline, on the client's side, after
//! which the socket is closed. A call is never cancelled: the server answers a `COMMIT` whose wait for a standby was
//! cancelled with success.
//!
//! A write is one transaction of its own under READ COMMITTED, which holds the advisory lock of its guard.

mod control;
mod ddl;
mod error;
mod migrate;
mod queue;
mod reader;
mod session;
mod settings;
mod tls;
mod transaction;
mod worker;
mod writer;

pub(super) use error::{CallError, Class};
pub(super) use transaction::{PgTx, cell};

use super::handover::Wake;
use super::leadership::Leadership;
use super::sqlite::Failed;
use super::task::{Failure, Flush, Job, LazyWrite};
use super::{DatabaseLocation, Guard, OpenError, ReadError, Schema, SqlError, Tx};
use crate::rt;
use control::{Control, Order};
use queue::{Queue, Refused};
use reader::ReadJob;
use sha2::{Digest, Sha256};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use writer::{What, Write};

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a statement waits for the lock of another transaction; the write is refused then.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const WRITERS: usize = 4;
const READERS: usize = 3;
/// How many writes, and how many reads, may wait for a connection.
const QUEUE: usize = 1_024;

/// Sets the locks of a service apart from those of others in the same database.
#[derive(Clone)]
struct Namespace(Arc<str>);

/// The number of a lock that has this name.
fn lock_number(namespace: &Namespace, kind: &str, name: &str) -> i64 {
    let mut digest = Sha256::new();
    for part in [&*namespace.0, kind, name] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest: [u8; 32] = digest.finalize().into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

/// How many locks the keys of a service share. A large delivery takes those of all its events, and the server's table of
/// locks, 64 for each connection that it allows, is shared by all its databases. A power of two.
const KEY_LOCKS: i64 = 1_024;

/// The number of a key's lock. Keys that share one only wait for each other.
fn key_lock(namespace: &Namespace, key: &str) -> i64 {
    let which = KEY_LOCKS - 1;
    lock_number(namespace, "keys", "") & !which | lock_number(namespace, "key", key) & which
}

/// What all connections of one store know.
struct Program {
    location: DatabaseLocation,
    /// As the server lists its sessions.
    name: String,
    service: String,
    namespace: Namespace,
    /// Sets the notifications of this replica apart.
    id: String,
    commits: Commits,
    stop: CancellationToken,
}

impl Program {
    fn random(&self) -> u128 {
        // Seeded anew each time; it only spreads attempts.
        RandomState::new().hash_one(&self.id).into()
    }

    fn channel(&self) -> String {
        format!("mini_blog_{}", self.service)
    }

    fn place(&self) -> String {
        self.location.read().map_or_else(|error| error.to_string(), |url| url.to_string())
    }
}

/// What has been committed, and who waits for it.
#[derive(Default)]
struct Commits {
    count: watch::Sender<u64>,
    waiting: Mutex<Vec<Wake>>,
    /// Commits of this replica that the others were not told of.
    untold: Notify,
}

impl Commits {
    fn by_this_replica(&self) {
        self.by_another();
        self.untold.notify_one();
    }

    fn by_another(&self) {
        for wake in &*self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
            wake();
        }
        self.count.send_modify(|count| *count += 1);
    }

    async fn untold(&self) {
        self.untold.notified().await;
    }
}

/// A database that the replicas of a service share.
pub(super) struct Postgres {
    writes: Arc<Queue<Write>>,
    reads: Arc<Queue<Box<dyn ReadJob>>>,
    program: Arc<Program>,
    orders: mpsc::UnboundedSender<Order>,
    unavailable: watch::Receiver<Option<String>>,
    failed: Failed,
    place: PathBuf,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.program.stop.cancel();
        self.writes.close();
        self.reads.close();
    }
}

impl Postgres {
    pub(super) async fn open(
        location: &DatabaseLocation,
        service: &str,
        schema: Schema,
    ) -> Result<Self, OpenError> {
        let random = RandomState::new();
        let program = Arc::new(Program {
            location: location.clone(),
            name: format!("mini-blog {service}"),
            service: service.to_owned(),
            namespace: Namespace(service.into()),
            id: format!(
                "{:016x}{:016x}",
                random.hash_one(service),
                RandomState::new().hash_one(std::process::id())
            ),
            commits: Commits::default(),
            stop: CancellationToken::new(),
        });
        let place = PathBuf::from(program.place());
        let writes = Arc::new(Queue::new(QUEUE));
        let reads = Arc::new(Queue::new(QUEUE));
        let (is_open, opens) = watch::channel(false);
        let (unavailable_tx, unavailable) = watch::channel(Some("is connecting to the database".to_owned()));
        let (orders, received) = mpsc::unbounded_channel();
        let failed = Failed::default();
        let store = Self {
            writes: Arc::clone(&writes),
            reads: Arc::clone(&reads),
            program: Arc::clone(&program),
            orders: orders.clone(),
            unavailable,
            failed: failed.clone(),
            place,
        };
        let control = Control {
            program: Arc::clone(&program),
            schema,
            orders: received,
            terms: 0,
            resign: orders,
            is_open,
            unavailable: unavailable_tx,
            refuse: Box::new({
                let (writes, reads) = (Arc::clone(&writes), Arc::clone(&reads));
                move |why| {
                    let Some(why) = why else {
                        writes.expect_connections();
                        return reads.expect_connections();
                    };
                    worker::refuse_all(&writes, why);
                    worker::refuse_all(&reads, why);
                }
            }),
        };
        let (opened_tx, opened) = oneshot::channel();
        let spawn = |name: String, f: Box<dyn FnOnce() + Send>| {
            let failed = failed.clone();
            rt::spawn_thread(name.clone(), move || {
                // The panic hook has logged it.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err() {
                    failed.end(format!("the thread {name} panicked"));
                }
            })
            .map_err(|source| OpenError::Io { path: PathBuf::from(service), source })
        };
        spawn(format!("{service}-control"), Box::new(move || control.run(opened_tx)))?;
        for n in 0..WRITERS {
            let (queue, program, opens) = (Arc::clone(&writes), Arc::clone(&program), opens.clone());
            spawn(format!("{service}-write-{n}"), Box::new(move || worker::run(&queue, program, opens)))?;
        }
        for n in 0..READERS {
            let (queue, program, opens) = (Arc::clone(&reads), Arc::clone(&program), opens.clone());
            spawn(format!("{service}-read-{n}"), Box::new(move || worker::run(&queue, program, opens)))?;
        }
        match opened.await {
            Ok(Ok(())) => Ok(store),
            Ok(Err(error)) => Err(OpenError::Database(error.to_string())),
            Err(_) => Err(OpenError::Database("the thread that opens it has ended".to_owned())),
        }
    }

    pub(super) fn submit(&self, guard: &Guard, job: Box<dyn Job>) -> Result<(), Failure> {
        let lock = match guard {
            Guard::Key(key) => Some(key_lock(&self.program.namespace, key)),
            Guard::Consumer => Some(lock_number(&self.program.namespace, "consumer", "")),
            Guard::None => None,
        };
        self.writes.add(lock, Write { lock, what: What::Job(job) }).map_err(Failure::from)
    }

    /// One after another, in the order in which they came.
    pub(super) fn write_lazily(&self, write: LazyWrite) -> Result<(), Failure> {
        let write = Write { lock: None, what: What::Lazy(write) };
        self.writes.add_to_stay(self.lazy_key(), write).map_err(Failure::from)
    }

    /// Behind all lazy writes.
    pub(super) fn flush(&self, reply: Flush) -> Result<(), Failure> {
        let flush = Write { lock: None, what: What::Flush(reply) };
        self.writes.add(Some(self.lazy_key()), flush).map_err(Failure::from)
    }

    fn lazy_key(&self) -> i64 {
        lock_number(&self.program.namespace, "lazy", "")
    }

    pub(super) async fn read<T, F>(&self, f: F) -> Result<T, ReadError>
    where
        F: FnOnce(&Tx<'_>) -> Result<T, SqlError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.reads.add(None, reader::job(f, reply)).map_err(|why| match why {
            Refused::Full => ReadError::Unavailable("too many reads are waiting".to_owned()),
            Refused::NoConnection(why) => ReadError::Unavailable(why),
            Refused::Closed => ReadError::Stopped,
        })?;
        answer.await.unwrap_or(Err(ReadError::Panicked))
    }

    pub(super) fn committed(&self) -> watch::Receiver<u64> {
        self.program.commits.count.subscribe()
    }

    pub(super) fn wake(&self, wake: Wake) {
        self.program.commits.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(wake);
    }

    pub(super) async fn lead(&self, duty: &'static str) -> Leadership {
        let (candidate, elected) = oneshot::channel();
        let _ = self.orders.send(Order::Lead(duty, candidate));
        match elected.await {
            Ok(leadership) => leadership,
            // The store has ended.
            Err(_) => std::future::pending().await,
        }
    }

    pub(super) fn availability(&self) -> watch::Receiver<Option<String>> {
        self.unavailable.clone()
    }

    pub(super) async fn failure(&self) -> String {
        self.failed.seen().await
    }

    pub(super) fn end(&self, why: &str) {
        self.failed.end(why.to_owned());
    }

    pub(super) fn place(&self) -> &Path {
        &self.place
    }
}

impl From<Refused> for Failure {
    fn from(why: Refused) -> Self {
        match why {
            Refused::Full => Self::Busy,
            Refused::NoConnection(why) => Self::Unavailable(why),
            Refused::Closed => Self::Unavailable("the store has ended".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_largest_delivery_takes_a_bounded_number_of_locks() {
        let (posts, comments) = (Namespace("posts".into()), Namespace("comments".into()));
        let locks = |namespace: &Namespace| -> HashSet<_> {
            (0..20_000).map(|n| key_lock(namespace, &format!("post {n}"))).collect()
        };
        let (of_posts, of_comments) = (locks(&posts), locks(&comments));
        assert_eq!((of_posts.len(), of_comments.len()), (KEY_LOCKS as usize, KEY_LOCKS as usize));
        assert!(of_posts.is_disjoint(&of_comments), "services that share a database share no locks");
    }
}
