//! `mini-blog up`: starts everything, reports when it is ready, and stops it in order.

use crate::control::{self, Answer, Request};
use crate::database::Database;
use crate::engine::{self, Engine};
use crate::labels::Output;
use crate::launch::Launch;
use crate::plan::{Plan, Ports};
use crate::prepare::{self, UpError};
use crate::probe;
use crate::process_name::ProcessName;
use crate::secrets::OPERATOR_TOKEN;
use crate::service_supervisor::{self, Action, Handle, Phase, STOP_LIMIT};
use crate::state_file::{self, ServiceEntry, StackFile};
use crate::status::{DatabaseStatus, ProcessState, ServiceStatus, StackStatus, Subscriber};
use futures_util::future::join_all;
use kit::http::RateLimits;
use kit::runtime::deps::Deps;
use rustix::process::{Signal as Raw, getpid, kill_process};
use shared::ServiceName;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often a service that is not ready is probed.
const PROBE_EVERY: Duration = Duration::from_millis(25);
/// How long a start may take before the output says what it waits for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long each service has to stop, even if those before it have used up the time.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// How long suspending and resuming may take: a service supervisor that is busy stopping its service answers later.
const JOB_CONTROL: Duration = Duration::from_secs(1);

/// The command line of `up`.
#[derive(Debug, Clone)]
pub struct Options {
    pub data_dir: PathBuf,
    /// None: search for it.
    pub site_root: Option<PathBuf>,
    pub host: IpAddr,
    /// The site's port; none: the default.
    pub port: Option<u16>,
    pub ports: Ports,
    pub without: Vec<ServiceName>,
    pub rate_limits: RateLimits,
    pub engine: Engine,
    /// How often each service runs; the site runs once.
    pub replicas: u8,
}

/// The running stack.
struct Stack {
    launch: Arc<Launch>,
    handles: Vec<Handle>,
    deps: Deps,
    output: Output,
    ready: AtomicBool,
    changed: Arc<Notify>,
    /// Locked while `stack.json` is written.
    writing: Mutex<()>,
    /// The process of the database server, if there is one.
    database: Option<watch::Receiver<Option<u32>>>,
}

/// Runs the stack until a signal stops it. True if no service had to be killed.
pub async fn up(options: Options, output: &Output) -> Result<bool, UpError> {
    let system = |what| move |e: io::Error| UpError::System(what, e.to_string());
    let mut stop = StopSignals::new().map_err(system("cannot listen for signals"))?;
    let deps = Deps::system().map_err(|e| UpError::System("cannot create the HTTP client", e.to_string()))?;

    let data_dir = std::path::absolute(&options.data_dir).map_err(system("invalid data directory"))?;
    let _lock = prepare::lock(&data_dir)?;
    options.engine.check(&data_dir, options.replicas)?;
    options.engine.check_installed(&data_dir)?;
    let wanted: Vec<_> = ServiceName::ALL.into_iter().filter(|s| !options.without.contains(s)).collect();
    let site_root = match prepare::find_site(options.site_root, &prepare::default_site_roots()) {
        Err(e) if wanted.contains(&ServiceName::Frontend) => return Err(e),
        found => found.ok(),
    };
    let secrets = prepare::open_secrets(&data_dir, &deps, output)?;
    tokio::select! {
        () = prepare::wait_for_leftovers(&data_dir, output) => {}
        () = stop.next() => return Ok(true),
    }
    let plan = match options.ports {
        Ports::Course => Plan::course(options.host, options.port, options.replicas),
        Ports::Free => Plan::free(options.host, options.port, options.replicas, deps.ids.random())?,
    };
    let names: Vec<_> = plan.names().collect();
    let wanted: Vec<_> = names.iter().copied().filter(|name| wanted.contains(&name.service)).collect();
    plan.check(&wanted)?;
    let program = std::env::current_exe().map_err(system("cannot find the path of this program"))?;
    let control = control::listen(&data_dir)?;
    let job_control = JobControl::new().map_err(system("cannot listen for signals"))?;
    let database = match options.engine {
        Engine::Sqlite => None,
        Engine::Postgres => tokio::select! {
            database = Database::start(&data_dir, options.replicas, output) => Some(database?),
            () = stop.next() => return Ok(true),
        },
    };
    let databases = database.as_ref().map(|database| database.urls().clone()).unwrap_or_default();

    let launch = Arc::new(Launch {
        program,
        data_dir,
        site_root,
        plan,
        secrets,
        rate_limits: options.rate_limits,
        databases,
    });
    let now = CancellationToken::new();
    let handles = names.into_iter().map(|name| {
        let start = wanted.contains(&name);
        service_supervisor::keep(name, Arc::clone(&launch), output.clone(), start, now.clone())
    });
    let stack = Arc::new(Stack {
        handles: handles.collect(),
        launch,
        deps,
        output: output.clone(),
        ready: AtomicBool::new(false),
        changed: Arc::new(Notify::new()),
        writing: Mutex::new(()),
        database: database.as_ref().map(Database::pid),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for handle in &stack.handles {
        tasks.spawn(tell_changes(handle.clone(), Arc::clone(&stack.changed)));
    }
    if let Some(pid) = stack.database.clone() {
        tasks.spawn(tell_database(pid, Arc::clone(&stack.changed)));
    }
    tasks.spawn(keep_file(Arc::clone(&stack)));
    tasks.spawn(take_requests(control, Arc::clone(&stack)));
    tasks.spawn(follow_job_control(Arc::clone(&stack), job_control));
    tasks.spawn(announce(Arc::clone(&stack), wanted));

    stop.next().await;
    output.say("stopping");
    let clean = tokio::select! {
        clean = stack.stop() => clean,
        () = async { stop.next().await; now.cancel(); std::future::pending().await } => false,
    };
    tasks.shutdown().await;
    // The services have written their last.
    let clean = match database {
        Some(database) => database.stop().await && clean,
        None => clean,
    };
    stack.tidy(clean);
    Ok(clean)
}

impl Stack {
    fn handle(&self, name: ProcessName) -> Option<&Handle> {
        self.handles.iter().find(|h| h.name == name)
    }

    /// Stops everything: first the website, last the bus, which all others use.
    async fn stop(&self) -> bool {
        let deadline = Instant::now() + STOP_LIMIT;
        let mut clean = true;
        let stages: [&[ServiceName]; 3] =
            [&[ServiceName::Frontend], &ServiceName::PEERS, &[ServiceName::EventBus]];
        for stage in stages {
            // The last stage has some time even if the first took all of it.
            let deadline = deadline.max(Instant::now() + LAST_MOMENT);
            let handles = self.handles.iter().filter(|h| stage.contains(&h.name.service));
            let commands = handles.map(|h| h.command(Action::Stop(deadline)));
            for outcome in join_all(commands).await {
                clean &= outcome.is_ok();
            }
        }
        clean
    }

    /// Gives every service the same command. A failure has no consequence here: the service supervisors report it.
    async fn everywhere(&self, action: Action) {
        let commands = self.handles.iter().map(|h| h.command(action));
        let _ = tokio::time::timeout(JOB_CONTROL, join_all(commands)).await;
    }

    /// Removes what tells others that a stack is running.
    fn tidy(&self, clean: bool) {
        let data_dir = &self.launch.data_dir;
        let removed = state_file::remove(data_dir)
            .and_then(|()| std::fs::remove_file(data_dir.join(control::FILE_NAME)));
        if let Err(e) = removed {
            self.output.say(&format!("cannot remove the state files in {}: {e}", data_dir.display()));
        }
        self.output.say(if clean { "stopped" } else { "stopped; some services had to be killed" });
    }

    async fn status(&self) -> StackStatus {
        let plan = &self.launch.plan;
        let buses = plan.urls(ServiceName::EventBus);
        let transport = &*self.deps.transport;
        let token = self.launch.secrets.get(OPERATOR_TOKEN);
        let (services, subscribers) = tokio::join!(
            join_all(self.handles.iter().map(|h| self.service_status(h))),
            probe::subscriptions(transport, &buses, token)
        );
        let subscribers = subscribers.ok().map(|rows| {
            let row = |s: shared::bus::SubscriptionView| Subscriber {
                name: s.name,
                lag: s.lag,
                last_error: s.last_error,
            };
            rows.into_iter().map(row).collect()
        });
        let address = plan.url(ServiceName::Frontend.into());
        let database = self.database.as_ref().map(|pid| DatabaseStatus {
            pid: *pid.borrow(),
            log: engine::log(&self.launch.data_dir).display().to_string(),
        });
        StackStatus { pid: std::process::id(), address, services, subscribers, database }
    }

    async fn service_status(&self, handle: &Handle) -> ServiceStatus {
        let state = handle.state();
        let (process, pid, uptime_ms) = match state.phase {
            Phase::Stopped => (ProcessState::Stopped, None, None),
            Phase::BackingOff => (ProcessState::BackingOff, None, None),
            Phase::Failed => (ProcessState::Failed, None, None),
            Phase::Running { pid, since } => {
                (ProcessState::Running, Some(pid), Some(since.elapsed().as_millis() as u64))
            }
        };
        let not_ready = match process {
            ProcessState::Running => self.probe(handle.name).await.err(),
            _ => Some("is not running".to_owned()),
        };
        let last_error = match process {
            ProcessState::BackingOff | ProcessState::Failed => state.last_error,
            ProcessState::Running | ProcessState::Stopped => None,
        };
        let url = self.launch.plan.url(handle.name);
        let service = handle.name;
        ServiceStatus {
            service,
            process,
            pid,
            uptime_ms,
            restarts: state.restarts,
            not_ready,
            last_error,
            url,
        }
    }

    async fn probe(&self, name: ProcessName) -> Result<(), String> {
        probe::ready(&*self.deps.transport, &self.launch.plan.admin_url(name)).await
    }

    async fn answer(&self, request: Request) -> Answer {
        let Some((name, action)) = request.command() else { return Answer::Status(self.status().await) };
        let Some(handle) = self.handle(name) else { return Answer::Failed { message: self.no_such(name) } };
        let outcome = handle.command(action).await;
        // When the caller has its answer, the file must be up to date.
        self.write_file().await;
        match outcome {
            Ok(message) if action == Action::Kill => Answer::Done { message },
            Ok(message) => self.once_ready(handle, message).await,
            Err(message) => Answer::Failed { message },
        }
    }

    fn no_such(&self, name: ProcessName) -> String {
        let of_service = self.handles.iter().map(|h| h.name).filter(|other| other.service == name.service);
        let of_service: Vec<_> = of_service.map(|other| other.to_string()).collect();
        format!("there is no process {name} in this stack: name one of {}", of_service.join(", "))
    }

    /// Whoever starts a service wants to use it: the answer waits, for a while, until the service is ready.
    async fn once_ready(&self, handle: &Handle, started: String) -> Answer {
        let until = Instant::now() + PATIENCE;
        loop {
            let state = handle.state();
            if state.phase == Phase::Failed {
                let why = state.last_error.unwrap_or_default();
                return Answer::Failed { message: format!("{started}, but it failed: {why}") };
            }
            match self.probe(handle.name).await {
                Ok(()) => return Answer::Done { message: format!("{started}; it is ready") },
                Err(why) if Instant::now() >= until => {
                    return Answer::Failed { message: format!("{started}, but it is not ready: {why}") };
                }
                Err(_) => tokio::time::sleep(PROBE_EVERY).await,
            }
        }
    }

    /// Updates `stack.json`.
    async fn write_file(&self) {
        let _alone = self.writing.lock().await;
        if let Err(e) = state_file::write(&self.launch.data_dir, &self.file()) {
            self.output.say(&format!("cannot write {}: {e}", state_file::FILE_NAME));
        }
    }

    fn file(&self) -> StackFile {
        let plan = &self.launch.plan;
        let entry = |h: &Handle| {
            let pid = match h.state().phase {
                Phase::Running { pid, .. } => Some(pid),
                _ => None,
            };
            (h.name, ServiceEntry { url: plan.url(h.name), admin: plan.admin_url(h.name), pid })
        };
        StackFile {
            pid: std::process::id(),
            address: plan.url(ServiceName::Frontend.into()),
            ready: self.ready.load(Ordering::Acquire),
            services: self.handles.iter().map(entry).collect(),
            database: self.database.as_ref().and_then(|pid| *pid.borrow()),
        }
    }
}

/// Reports once that everything is ready; until then, from time to time, what is not.
async fn announce(stack: Arc<Stack>, mut waited_for: Vec<ProcessName>) {
    let has_site = waited_for.contains(&ServiceName::Frontend.into());
    let mut told = Instant::now();
    while let Some(&name) = waited_for.first() {
        match stack.probe(name).await {
            Ok(()) => {
                waited_for.remove(0);
            }
            Err(why) => {
                // Its supervisor has reported a failure, and nothing is being waited for.
                let failed = stack.handle(name).is_some_and(|h| h.state().phase == Phase::Failed);
                if told.elapsed() >= PATIENCE && !failed {
                    told = Instant::now();
                    stack.output.say(&format!("{name} is not ready yet: {why}"));
                }
                tokio::time::sleep(PROBE_EVERY).await;
            }
        }
    }
    stack.ready.store(true, Ordering::Release);
    stack.write_file().await;
    let place = if has_site {
        format!(" at {}", stack.launch.plan.url(ServiceName::Frontend.into()))
    } else {
        ", without its site".to_owned()
    };
    stack.output.plain(&format!("mini-blog is ready{place}"));
}

async fn tell_changes(mut handle: Handle, changed: Arc<Notify>) {
    while handle.changed().await {
        changed.notify_one();
    }
}

async fn tell_database(mut pid: watch::Receiver<Option<u32>>, changed: Arc<Notify>) {
    while pid.changed().await.is_ok() {
        changed.notify_one();
    }
}

/// Keeps `stack.json` up to date.
async fn keep_file(stack: Arc<Stack>) {
    loop {
        stack.write_file().await;
        stack.changed.notified().await;
    }
}

async fn take_requests(control: UnixListener, stack: Arc<Stack>) {
    loop {
        match control.accept().await {
            Ok((stream, _)) => {
                let stack = Arc::clone(&stack);
                tokio::spawn(control::serve(stream, async move |request| stack.answer(request).await));
            }
            Err(e) => {
                stack.output.say(&format!("the control socket: {e}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Ctrl-Z reaches the supervisor alone. If only the supervisor were suspended, nobody would read the services'
/// output: they would block as soon as their pipes are full. So the whole stack is suspended, and `fg` resumes all of it.
async fn follow_job_control(stack: Arc<Stack>, mut signals: JobControl) {
    loop {
        tokio::select! {
            biased;
            _ = signals.suspend.recv() => {
                stack.everywhere(Action::Suspend).await;
                // SIGSTOP, since our handler of SIGTSTP replaces its default action.
                if let Err(e) = kill_process(getpid(), Raw::STOP) {
                    stack.output.say(&format!("cannot suspend: {e}"));
                    stack.everywhere(Action::Resume).await;
                }
            }
            _ = signals.resume.recv() => stack.everywhere(Action::Resume).await,
        }
    }
}

struct JobControl {
    suspend: Signal,
    resume: Signal,
}

impl JobControl {
    fn new() -> io::Result<Self> {
        let of = |raw: Raw| signal(SignalKind::from_raw(raw.as_raw()));
        Ok(Self { suspend: of(Raw::TSTP)?, resume: of(Raw::CONT)? })
    }
}

/// The signals that stop the stack.
struct StopSignals([Signal; 3]);

impl StopSignals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
