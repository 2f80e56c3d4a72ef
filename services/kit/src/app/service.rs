//! A service as a value, and the `main` that runs one.

use crate::app::config::{self, ServiceConfig};
use crate::app::{ServeError, StartError, telemetry};
use crate::http::probes::{self, Readiness};
use crate::http::server::{self, Limits};
use crate::http::{Options, with_middleware};
use crate::runtime::deps::Deps;
use crate::runtime::lifecycle::Lifecycle;
use axum::Router;
use shared::ServiceName;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// A built service: everything but its address.
#[derive(Debug)]
pub struct Service {
    /// Who it is.
    pub name: ServiceName,
    /// Its own routes, before [`with_middleware`].
    pub router: Router,
    /// Routes beside the probes on the admin listener, for a service whose own routes are public.
    pub admin: Option<Router>,
    /// What has to be well before it takes requests.
    pub readiness: Readiness,
    /// Its stop signal and background tasks.
    pub lifecycle: Lifecycle,
    /// Where its ids come from.
    pub deps: Deps,
}

/// How long background tasks may take to end, even where the connections have used up the graceful stop.
const TASKS_LIMIT: Duration = Duration::from_secs(1);
/// The stack of a worker: rendering deep pages in debug builds needs more than tokio's 2 MiB.
const STACK_BYTES: usize = 4 * 1024 * 1024;
/// How often running without secrets is warned of.
const WARN_EVERY: Duration = Duration::from_secs(60);

impl Service {
    /// Serves until the lifecycle is stopped and everything has ended.
    ///
    /// Probes and `/metrics` sit beside the service's own routes, or alone on the admin listener if there is one.
    pub async fn serve(
        self,
        listener: TcpListener,
        admin_listener: Option<TcpListener>,
    ) -> Result<(), ServeError> {
        let Self { name, router, admin, readiness, lifecycle, deps } = self;
        let options = Options::new(deps.ids.clone());
        let ops = probes::router(lifecycle.clone(), readiness).merge(telemetry::router());
        telemetry::start(name, &*deps.clock, &lifecycle);
        lifecycle.set_listening();

        let limits = Limits::default();
        let ops = ops.merge(admin.unwrap_or_default());
        let (public, private) = match admin_listener {
            Some(listener) => (router, Some((listener, with_middleware(ops, options.clone())))),
            None => (router.merge(ops), None),
        };
        let public = server::serve(listener, with_middleware(public, options), &lifecycle, limits);
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
            // Nothing is left to tell where even this cannot be printed.
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
    config.common().validate_secrets(name)?;
    config.common().validate_urls()?;
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
        stop_on_crash(&lifecycle);
        let ended = run(name, config, deps, &lifecycle, build).await;
        // Where it failed to start, what it had begun still ends properly.
        lifecycle.stop();
        lifecycle.wait(TASKS_LIMIT).await;
        ended
    });
    // Whatever blocks a thread now has had its time.
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
    if config.common().insecure {
        warn_of_insecurity(lifecycle);
    }
    let building = build(config, deps, lifecycle.clone());
    let Some(service) = lifecycle.stopping().run_until_cancelled(building).await else { return Ok(()) };
    let service = service?;
    // Last of all, so that an open port means a service that is there.
    let listener = listen(address).await?;
    let admin_listener = match admin_address {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    // The system chooses the port where 0 was asked for.
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(service = %name, %address, version = env!("CARGO_PKG_VERSION"), "listening");
    service.serve(listener, admin_listener).await?;
    tracing::info!(service = %name, "stopped");
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

/// The first signal stops everything softly, the second ends the process.
fn stop_on_signals(lifecycle: &Lifecycle) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Runtime)?;
    let lifecycle = lifecycle.clone();
    tokio::spawn(async move {
        let mut any = async || tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} };
        any().await;
        tracing::info!("stopping");
        lifecycle.stop();
        any().await;
        tracing::warn!("ended at once by a second signal");
        std::process::exit(1);
    });
    Ok(())
}

fn stop_on_crash(lifecycle: &Lifecycle) {
    let lifecycle = lifecycle.clone();
    tokio::spawn(async move {
        lifecycle.crash_seen().await;
        lifecycle.stop();
    });
}

fn warn_of_insecurity(lifecycle: &Lifecycle) {
    let stopping = lifecycle.stopping();
    lifecycle.spawn("insecurity warning", async move {
        loop {
            tracing::warn!("running with --insecure: anybody who reaches this port may publish and operate");
            if tokio::time::timeout(WARN_EVERY, stopping.cancelled()).await.is_ok() {
                return;
            }
        }
    });
}
