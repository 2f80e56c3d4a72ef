//! A service as a value, and the `main` that runs one.

use crate::app::config::{self, ServiceConfig};
use crate::app::{ServeError, StartError, open_files, telemetry};
use crate::http::probes::{self, ReadinessChecks};
use crate::http::server::{self, Limits};
use crate::http::{AllowedHosts, Options, RateLimits, TrustedProxies, with_middleware};
use crate::rt::{self, Instant};
use crate::runtime::deps::Deps;
use crate::runtime::lifecycle::Lifecycle;
use crate::store::Store;
use axum::Router;
use shared::ServiceName;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A service that is built and not yet served.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Its own routes, before [`with_middleware`].
    pub router: Router,
    /// Routes beside the probes on the admin listener, for a service whose own routes are public.
    pub admin: Option<Router>,
    /// The conditions under which it takes requests.
    pub readiness: ReadinessChecks,
    /// The hosts that its own routes answer for.
    pub hosts: AllowedHosts,
    /// How many proxies report the client's address.
    pub trusted_proxies: TrustedProxies,
    /// Whether each client has only a share of what is bounded.
    pub rate_limits: RateLimits,
    /// Its stop signal and background tasks.
    pub lifecycle: Lifecycle,
    /// Its clock, ids and connections.
    pub deps: Deps,
}

/// How long background tasks may take to end, even where the connections have used up the graceful stop.
const TASKS_LIMIT: Duration = Duration::from_secs(1);
/// The stack of a worker thread: rendering deep pages in debug builds needs more than tokio's 2 MiB.
const STACK_BYTES: usize = 4 * 1024 * 1024;
/// What the system keeps of an answer that is not read (it takes twice this). Its own limit is four million bytes, which
/// counts as the service's memory in a container.
const SEND_BUFFER: u32 = 128 * 1024;
/// How many clients wait in the system's queue until they are accepted.
const BACKLOG: u32 = 1024;
/// How often a service without secrets logs a warning.
const WARN_EVERY: Duration = Duration::from_secs(60);

impl Service {
    /// A service of these routes, without readiness checks and routes for its admin listener.
    pub fn new(
        name: ServiceName,
        config: &impl ServiceConfig,
        router: Router,
        deps: Deps,
        lifecycle: Lifecycle,
    ) -> Self {
        let common = config.common();
        let (hosts, trusted_proxies) = (common.hosts(), common.trusted_proxies);
        let (admin, readiness, rate_limits) = (None, ReadinessChecks::new(), common.rate_limits);
        Self { name, router, admin, readiness, hosts, trusted_proxies, rate_limits, lifecycle, deps }
    }

    /// Serves until the lifecycle is stopped and everything has ended.
    ///
    /// Probes and `/metrics` are served beside its own routes, or on the admin listener if there is one.
    pub async fn serve(
        self,
        listener: TcpListener,
        admin_listener: Option<TcpListener>,
    ) -> Result<(), ServeError> {
        let Self { name, router, admin, readiness, hosts, trusted_proxies, rate_limits, lifecycle, deps } =
            self;
        let options = Options::new(deps.ids.clone()).without_shares();
        // The clients of the bus are services, of which one may well need everything.
        let has_shares = rate_limits.is_on() && name != ServiceName::EventBus;
        let shared = if has_shares { Options::new(deps.ids.clone()) } else { options.clone() };
        let public_options = Options { hosts, trusted_proxies, ..shared };
        let ops = probes::router(lifecycle.clone(), readiness).merge(telemetry::router());
        telemetry::start(name, &*deps.clock, &lifecycle);
        lifecycle.set_listening();

        let most = Limits::default();
        let connections = most.connections.min(open_files::connections());
        let limits = Limits { connections, connections_of_client: connections, ..most };
        // Behind proxies the address of a connection is not that of a client.
        let public_limits = if has_shares && !trusted_proxies.any() {
            Limits { connections_of_client: most.connections_of_client.min(connections), ..limits }
        } else {
            limits
        };
        let ops = ops.merge(admin.unwrap_or_default());
        let (public, private) = match admin_listener {
            Some(listener) => (router, Some((listener, with_middleware(ops, options)))),
            None => (router.merge(ops), None),
        };
        let public =
            server::serve(listener, with_middleware(public, public_options), &lifecycle, public_limits);
        let private = async {
            if let Some((listener, ops)) = private {
                server::serve(listener, ops, &lifecycle, limits).await;
            }
        };
        let stopping = lifecycle.stopping();
        let stopped = async {
            stopping.cancelled().await;
            Instant::now()
        };
        let ((), (), stopped) = tokio::join!(public, private, stopped);

        let left = limits.drain.saturating_sub(stopped.elapsed()).max(TASKS_LIMIT);
        let ended = lifecycle.wait(left).await;
        match lifecycle.crashed() {
            Some(task) => Err(ServeError::Crashed(task)),
            None if ended => Ok(()),
            None => Err(ServeError::Unfinished),
        }
    }
}

/// Ends when the store has failed for good, which the lifecycle then takes as a crash.
pub async fn watch_store(store: Store, stopping: CancellationToken) {
    let checked = async {
        store.check_in_background().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = stopping.cancelled() => {}
        reason = store.failure() => {
            store.suspect(&reason);
            tracing::error!(reason, "the store has failed for good");
        }
        () = checked => {}
    }
}

/// The service is ready only while the database of its store can be used.
pub fn watch_availability(store: &Store, checks: &ReadinessChecks, lifecycle: &Lifecycle) {
    let Some(mut availability) = store.availability() else { return };
    let (ready, stopping) = (checks.register("store"), lifecycle.stopping());
    lifecycle.spawn("availability of the store", async move {
        loop {
            let why = availability.borrow_and_update().clone();
            ready.set(why.is_none(), why.unwrap_or_default());
            // It ends with the store, which the service holds.
            if stopping.run_until_cancelled(availability.changed()).await.is_none_or(|c| c.is_err()) {
                return stopping.cancelled().await;
            }
        }
    });
}

/// Runs a service from its arguments (the first is the program's name) until SIGTERM or SIGINT.
///
/// A second signal ends it at once. The exit code is 0 after a clean stop, 1 after a failure, 2 for wrong usage.
pub fn main<C, F, Fut>(name: ServiceName, args: impl IntoIterator<Item = OsString>, build: F) -> ExitCode
where
    C: ServiceConfig,
    F: FnOnce(C, Deps, Lifecycle) -> Fut,
    Fut: Future<Output = Result<Service, StartError>>,
{
    let config: C = match config::parse(name, args) {
        Ok(config) => config,
        Err(error) => {
            // If even this cannot be printed, nothing else can.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    telemetry::init(config.common().log_format);
    match start(name, config, build) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn start<C, F, Fut>(name: ServiceName, config: C, build: F) -> Result<(), StartError>
where
    C: ServiceConfig,
    F: FnOnce(C, Deps, Lifecycle) -> Fut,
    Fut: Future<Output = Result<Service, StartError>>,
{
    config.validate(name)?;
    open_files::raise();
    let deps = Deps::system()?;
    let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    let lifecycle = Lifecycle::new();
    let ended = runtime.block_on(async {
        stop_on_signals(&lifecycle)?;
        let ended = run(name, config, deps, &lifecycle, build).await;
        // Where it failed to start, what it had already started still ends properly.
        lifecycle.stop();
        lifecycle.wait(TASKS_LIMIT).await;
        ended
    });
    // Threads that are still blocked have had their time.
    runtime.shutdown_background();
    match lifecycle.crashed() {
        Some(task) => ended.and(Err(ServeError::Crashed(task).into())),
        None => ended,
    }
}

async fn run<C, F, Fut>(
    name: ServiceName,
    config: C,
    deps: Deps,
    lifecycle: &Lifecycle,
    build: F,
) -> Result<(), StartError>
where
    C: ServiceConfig,
    F: FnOnce(C, Deps, Lifecycle) -> Fut,
    Fut: Future<Output = Result<Service, StartError>>,
{
    let (address, admin_address) = (config.common().listen, config.admin_listen());
    if config.is_insecure() {
        warn_of_insecurity(lifecycle);
    }
    let building = build(config, deps, lifecycle.clone());
    let Some(service) = lifecycle.stopping().run_until_cancelled(building).await else { return Ok(()) };
    let service = service?;
    // Last, so that an open port means a running service.
    let listener = listen(address).await?;
    let admin_listener = match admin_address {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    // With port 0 the system chooses one.
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(service = %name, %address, version = env!("CARGO_PKG_VERSION"), "listening");
    service.serve(listener, admin_listener).await?;
    tracing::info!(service = %name, "stopped");
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    bind(address).map_err(|source| StartError::Listen { address, source })
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As `TcpListener::bind` does: a service that starts again gets its port.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The first signal, or a crash, stops everything gracefully; a second signal ends the process.
fn stop_on_signals(lifecycle: &Lifecycle) -> Result<(), StartError> {
    let mut signals = Signals::new().map_err(StartError::Runtime)?;
    let stopper = lifecycle.clone();
    lifecycle.spawn("signals", async move {
        let signalled = tokio::select! {
            biased;
            () = stopper.stopping().cancelled_owned() => false,
            () = stopper.crash_seen() => false,
            () = signals.next() => true,
        };
        if signalled {
            tracing::info!("stopping");
        }
        stopper.stop();
        // Lives until the process ends, so that the lifecycle must not wait for it.
        rt::spawn(async move {
            if !signalled {
                signals.next().await;
            }
            signals.next().await;
            tracing::warn!("ended at once by a second signal");
            std::process::exit(1);
        });
    });
    Ok(())
}

fn warn_of_insecurity(lifecycle: &Lifecycle) {
    let stopping = lifecycle.stopping();
    lifecycle.spawn("insecurity warning", async move {
        loop {
            tracing::warn!("running with --insecure: anybody who reaches this port may publish and operate");
            if rt::timeout(WARN_EVERY, stopping.cancelled()).await.is_ok() {
                return;
            }
        }
    });
}
