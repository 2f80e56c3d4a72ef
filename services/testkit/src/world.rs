//! Everything around the services of one test, under the test's control.

use crate::network::Network;
use crate::panics;
use crate::running::Running;
use http::HeaderValue;
use kit::app::StartError;
use kit::app::config::{PeerConfig, StoreConfig};
use kit::app::service::Service;
use kit::http::RateLimits;
use kit::messaging::signature::{Direction, SigningKey};
use kit::runtime::deps::{Clock, Deps, Ids};
use kit::runtime::lifecycle::Lifecycle;
use kit::runtime::secret::Secret;
use kit::store::DiskFloor;
use rusqlite::{Connection, OpenFlags};
use shared::{ServiceName, Timestamp};
use std::fmt::Write;
use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::TempDir;
use test_support::{LIMIT, eventually};
use uuid::{Builder, Uuid};

/// A clock that stands still until the test moves it.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// Sets the time.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.unix_ms(), Ordering::Relaxed);
    }

    /// Moves the time forward, or back.
    pub fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.0.load(Ordering::Relaxed))
    }
}

/// Ids that count up, the same in every run, and randomness that makes every backoff 5 ms long.
#[derive(Debug)]
pub struct TestIds(AtomicU64);

impl TestIds {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Ids for TestIds {
    fn uuid(&self) -> Uuid {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.next().to_be_bytes());
        Builder::from_unix_timestamp_millis(1_800_000_000_000, &random).into_uuid()
    }

    fn random(&self) -> u128 {
        // A multiple of every ceiling of the backoff between services, and 4 more.
        u128::from(self.next() + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) * 160_000 + 4
    }
}

/// Everything around the services of one test. Dropping it fails the test if anything has panicked or crashed.
#[derive(Debug)]
pub struct World {
    /// The clock of all services.
    pub clock: Arc<TestClock>,
    /// The network between them.
    pub network: Network,
    ids: Arc<TestIds>,
    dir: TempDir,
    secure: bool,
    lifecycles: Mutex<Vec<(ServiceName, Lifecycle)>>,
    panics_before: usize,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A world whose services run without secrets.
    pub fn new() -> Self {
        Self::with(false)
    }

    /// A world whose services sign what they send, and whose operator has a token.
    pub fn secure() -> Self {
        Self::with(true)
    }

    fn with(secure: bool) -> Self {
        panics::watch();
        Self {
            clock: Arc::new(TestClock(AtomicI64::new(1_800_000_000_000))),
            network: Network::default(),
            ids: Arc::new(TestIds(AtomicU64::new(1))),
            dir: tempfile::tempdir().expect("a folder"),
            secure,
            lifecycles: Mutex::default(),
            panics_before: panics::seen(),
        }
    }

    /// The clock, the ids and the network of this world.
    pub fn deps(&self) -> Deps {
        Deps { clock: self.clock.clone(), ids: self.ids.clone(), transport: Arc::new(self.network.clone()) }
    }

    /// The secret that a service shares with the bus; none in a world without secrets.
    pub fn secret(&self, name: ServiceName) -> Option<Secret> {
        self.secure.then(|| Secret::new(format!("the-secret-of-{name}")).expect("a secret"))
    }

    /// The operator's token.
    pub fn operator_token(&self) -> &'static str {
        "the-token-of-the-operator"
    }

    /// The headers that sign a body.
    pub fn sign(
        &self,
        name: ServiceName,
        direction: Direction,
        body: &[u8],
    ) -> [(&'static str, HeaderValue); 3] {
        let secret = self.secret(name).expect("a world with secrets");
        SigningKey::derive(&secret, direction).sign("msg_test", self.clock.now(), body)
    }

    /// The folder of a service's store.
    pub fn data_dir(&self, name: ServiceName) -> PathBuf {
        self.dir.path().join(name.as_str())
    }

    /// The settings of a service in this world.
    pub fn config(&self, name: ServiceName) -> PeerConfig {
        PeerConfig {
            store: self.store_config(name),
            event_bus_url: format!("http://{}", ServiceName::EventBus),
            advertise_url: Some(format!("http://{name}")),
            secret: self.secret(name),
        }
    }

    /// The settings of one of several replicas of a service, with a folder and an address of its own.
    pub fn config_of_replica(&self, name: ServiceName, instance: &str) -> PeerConfig {
        let host = host_of(name, instance);
        let mut config = self.config(name);
        config.store.data_dir = self.dir.path().join(&host);
        config.advertise_url = Some(format!("http://{host}"));
        config
    }

    fn store_config(&self, name: ServiceName) -> StoreConfig {
        let mut config = StoreConfig {
            operator_token: self.secure.then(|| Secret::new(self.operator_token()).expect("a token")),
            insecure: !self.secure,
            // A test may fill its disk, which SQLite is then to meet.
            disk_floor_mib: DiskFloor::mib(0),
            ..StoreConfig::insecure(name, self.data_dir(name))
        };
        // Tests write faster than one client may.
        config.common.rate_limits = RateLimits::Off;
        config
    }

    /// The settings of the bus in this world.
    pub fn bus_config(&self) -> event_bus::Config {
        event_bus::Config {
            store: self.store_config(ServiceName::EventBus),
            posts_secret: self.secret(ServiceName::Posts),
            comments_secret: self.secret(ServiceName::Comments),
            moderation_secret: self.secret(ServiceName::Moderation),
            query_secret: self.secret(ServiceName::Query),
            subscribe: Vec::new(),
            subscriber_urls: Vec::new(),
            event_log_url: None,
            event_log_url_file: None,
        }
    }

    /// Starts the event bus.
    pub async fn start_bus(&self) -> Running {
        self.start(self.bus_config(), event_bus::build).await
    }

    /// Starts a service and connects it to the network under its name.
    pub async fn start<C, F, Fut>(&self, config: C, build: F) -> Running
    where
        F: FnOnce(C, Deps, Lifecycle) -> Fut,
        Fut: Future<Output = Result<Service, StartError>>,
    {
        self.try_start(config, build).await.expect("a service that starts")
    }

    /// Tries to start a service.
    pub async fn try_start<C, F, Fut>(&self, config: C, build: F) -> Result<Running, StartError>
    where
        F: FnOnce(C, Deps, Lifecycle) -> Fut,
        Fut: Future<Output = Result<Service, StartError>>,
    {
        self.try_start_at(None, config, build).await
    }

    /// Starts one of several replicas of a service.
    pub async fn start_replica<C, F, Fut>(&self, instance: &str, config: C, build: F) -> Running
    where
        F: FnOnce(C, Deps, Lifecycle) -> Fut,
        Fut: Future<Output = Result<Service, StartError>>,
    {
        self.try_start_at(Some(instance), config, build).await.expect("a replica that starts")
    }

    async fn try_start_at<C, F, Fut>(
        &self,
        instance: Option<&str>,
        config: C,
        build: F,
    ) -> Result<Running, StartError>
    where
        F: FnOnce(C, Deps, Lifecycle) -> Fut,
        Fut: Future<Output = Result<Service, StartError>>,
    {
        let lifecycle = Lifecycle::new();
        let service = build(config, self.deps(), lifecycle.clone()).await?;
        let name = service.name;
        let host = instance.map_or(name.to_string(), |instance| host_of(name, instance));
        let running = Running::new(service, &host, &self.network);
        self.lock().push((running.name, lifecycle));
        Ok(running)
    }

    /// Stops a service and waits until it has released its store.
    pub async fn stop(&self, running: Running) {
        let (name, dir) = (running.name, self.dir.path().join(&running.host));
        running.end().await;
        store_is_closed(&dir, name.as_str()).await;
    }

    /// Deletes the store of a stopped service.
    pub fn wipe(&self, name: ServiceName) {
        std::fs::remove_dir_all(self.data_dir(name)).expect("a folder to delete");
    }

    /// Everything in the store of a service, as text.
    pub fn dump(&self, name: ServiceName) -> String {
        let path = self.data_dir(name).join(format!("{name}.db"));
        let c = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a store");
        dump(&c).expect("a store that can be read")
    }

    /// The rows that a query of this service's store comes to, as text.
    pub fn rows(&self, name: ServiceName, sql: &str) -> Vec<String> {
        let path = self.data_dir(name).join(format!("{name}.db"));
        let c = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a store");
        rows(&c, sql).expect("a query")
    }

    /// Runs statements on the store of a service, without the service.
    pub fn execute(&self, name: ServiceName, sql: &str) {
        let path = self.data_dir(name).join(format!("{name}.db"));
        let c = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).expect("a store");
        c.execute_batch(sql).expect("statements");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(ServiceName, Lifecycle)>> {
        self.lifecycles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.network.clear();
        if std::thread::panicking() {
            return;
        }
        for (name, lifecycle) in self.lock().iter() {
            assert_eq!(lifecycle.crashed(), None, "{name} crashed");
            lifecycle.stop();
        }
        assert_eq!(panics::seen(), self.panics_before, "something panicked");
    }
}

fn host_of(name: ServiceName, instance: &str) -> String {
    format!("{name}-{instance}")
}

/// Waits until the store `<dir>/<name>.db` is closed: its last handle is dropped, and what waited is written.
pub async fn store_is_closed(dir: &Path, name: &str) {
    let lock = dir.join(format!("{name}.lock"));
    eventually(LIMIT, "the store is closed", async || File::open(&lock).ok()?.try_lock().ok()).await;
}

fn dump(c: &Connection) -> rusqlite::Result<String> {
    let mut text = String::new();
    for table in rows(c, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")? {
        let table = table.trim_matches('"');
        for row in rows(c, &format!("SELECT * FROM \"{table}\""))? {
            let _ = writeln!(text, "{table}: {row}");
        }
    }
    Ok(text)
}

fn rows(c: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    use rusqlite::types::Value;
    let mut statement = c.prepare(sql)?;
    let columns = statement.column_count();
    let written = |value: Value| match value {
        Value::Null => "null".to_owned(),
        Value::Integer(n) => n.to_string(),
        Value::Real(x) => x.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::Blob(bytes) => format!("{bytes:?}"),
    };
    statement
        .query_map([], |row| {
            let values: rusqlite::Result<Vec<_>> = (0..columns).map(|at| row.get(at).map(written)).collect();
            Ok(values?.join(" "))
        })?
        .collect()
}
