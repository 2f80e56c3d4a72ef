//! Keeps one service running: starts it, restarts it when it dies, carries out commands, and reports a service that
//! cannot start.

use crate::backoff::{AfterExit, after_exit, failures_after, restart_delay};
use crate::labels::{LineSource, Output};
use crate::launch::Launch;
use crate::process::Process;
use crate::process_name::ProcessName;
use rustix::process::Signal;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a service may take to stop after SIGTERM.
pub const STOP_LIMIT: Duration = Duration::from_secs(12);

/// What a service's supervisor can be commanded to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Run it, if it is not running.
    Start,
    /// SIGKILL; it stays down.
    Kill,
    /// SIGTERM, then run it again.
    Restart,
    /// SIGTERM, and SIGKILL after this time; it stays down.
    Stop(Instant),
    /// SIGSTOP: the process stands still until `Resume`.
    Suspend,
    /// SIGCONT.
    Resume,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not running, by command.
    Stopped,
    Running {
        pid: u32,
        since: Instant,
    },
    /// Died; will be restarted.
    BackingOff,
    /// Cannot start; not restarted until somebody starts it.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub phase: Phase,
    /// How often it died and was restarted.
    pub restarts: u32,
    /// What it wrote last to standard error before it last died.
    pub last_error: Option<String>,
}

/// The result of a command: one sentence, good or bad.
pub type Outcome = Result<String, String>;

struct Command {
    action: Action,
    outcome: oneshot::Sender<Outcome>,
}

/// Sends commands to a service's supervisor, and reads its state.
#[derive(Debug, Clone)]
pub struct Handle {
    pub name: ProcessName,
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<State>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Command({:?})", self.action)
    }
}

impl Handle {
    /// Sends a command and waits for its result.
    pub async fn command(&self, action: Action) -> Outcome {
        let gone = || format!("{} is not supervised: the stack is stopping", self.name);
        let (outcome, answer) = oneshot::channel();
        self.commands.send(Command { action, outcome }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits for the next change of the state; false once the supervisor has ended.
    pub async fn changed(&mut self) -> bool {
        self.state.changed().await.is_ok()
    }
}

/// Supervises one service until its last handle is dropped.
struct ServiceSupervisor {
    name: ProcessName,
    launch: Arc<Launch>,
    output: Output,
    commands: mpsc::Receiver<Command>,
    state: watch::Sender<State>,
    now: CancellationToken,
    /// Early deaths in a row.
    failures: u32,
    /// No restart until `Resume`: the supervisor is about to stand still, and could not read the output.
    suspended: bool,
}

/// What a service supervisor does next.
enum Step {
    /// Wait for a command in this phase: `Stopped` or `Failed`.
    Rest(Phase),
    Start(Option<oneshot::Sender<Outcome>>),
    BackOff,
    End,
}

/// Supervises a service in a task of its own. `now` cuts short every wait for a stop.
pub fn keep(
    name: ProcessName,
    launch: Arc<Launch>,
    output: Output,
    start: bool,
    now: CancellationToken,
) -> Handle {
    let (commands, incoming) = mpsc::channel(16);
    let (state, watched) = watch::channel(State { phase: Phase::Stopped, restarts: 0, last_error: None });
    let supervisor = ServiceSupervisor {
        name,
        launch,
        output,
        commands: incoming,
        state,
        now,
        failures: 0,
        suspended: false,
    };
    tokio::spawn(supervisor.run(if start { Step::Start(None) } else { Step::Rest(Phase::Stopped) }));
    Handle { name, commands, state: watched }
}

impl ServiceSupervisor {
    async fn run(mut self, mut step: Step) {
        loop {
            step = match step {
                Step::Rest(phase) => self.rest(phase).await,
                Step::Start(outcome) => self.start(outcome).await,
                Step::BackOff => self.back_off().await,
                Step::End => return,
            }
        }
    }

    fn enter(&self, phase: Phase) {
        self.state.send_modify(|state| state.phase = phase);
    }

    fn say(&self, text: &str) {
        self.output.line(LineSource::Service(self.name), text);
    }

    async fn rest(&mut self, phase: Phase) -> Step {
        self.enter(phase);
        self.failures = 0;
        loop {
            let Some(command) = self.commands.recv().await else { return Step::End };
            match command.action {
                Action::Start | Action::Restart => return Step::Start(Some(command.outcome)),
                Action::Kill | Action::Stop(_) | Action::Suspend | Action::Resume => {
                    let _ = command.outcome.send(Ok(format!("{} was not running", self.name)));
                }
            }
        }
    }

    async fn back_off(&mut self) -> Step {
        self.enter(Phase::BackingOff);
        tokio::select! {
            () = tokio::time::sleep(restart_delay(self.failures)), if !self.suspended => {
                self.state.send_modify(|state| state.restarts = state.restarts.saturating_add(1));
                Step::Start(None)
            }
            command = self.commands.recv() => match command {
                None => Step::End,
                Some(Command { action: Action::Start | Action::Restart, outcome }) => Step::Start(Some(outcome)),
                Some(Command { action: Action::Kill | Action::Stop(_), outcome }) => {
                    let sentence = "had already died; it will not be restarted";
                    let _ = outcome.send(Ok(format!("{} {sentence}", self.name)));
                    Step::Rest(Phase::Stopped)
                }
                Some(Command { action: action @ (Action::Suspend | Action::Resume), outcome }) => {
                    self.suspended = action == Action::Suspend;
                    let _ = outcome.send(Ok(format!("{} was not running", self.name)));
                    Step::BackOff
                }
            },
        }
    }

    async fn start(&mut self, outcome: Option<oneshot::Sender<Outcome>>) -> Step {
        self.suspended = false;
        let process = match Process::start(&self.launch, self.name, &self.output) {
            Ok(process) => process,
            Err(e) => {
                self.failures = self.failures.saturating_add(1);
                let sentence = format!("{} cannot be started: {e}", self.name);
                self.say(&sentence);
                self.state.send_modify(|state| state.last_error = Some(sentence.clone()));
                if let Some(outcome) = outcome {
                    let _ = outcome.send(Err(sentence));
                }
                return Step::BackOff;
            }
        };
        let since = Instant::now();
        self.enter(Phase::Running { pid: process.pid(), since });
        if let Some(outcome) = outcome {
            let _ = outcome.send(Ok(format!("started {} (pid {})", self.name, process.pid())));
        }
        self.watch(process, since).await
    }

    async fn watch(&mut self, mut process: Process, since: Instant) -> Step {
        loop {
            let command = tokio::select! {
                ended = process.ended() => return self.after_exit(process, ended, since.elapsed()).await,
                command = self.commands.recv() => command,
            };
            let Some(Command { action, outcome }) = command else {
                self.stop(&mut process, Instant::now() + STOP_LIMIT).await.ok();
                return Step::End;
            };
            let (sentence, next) = match action {
                Action::Start => {
                    (Ok(format!("{} is already running (pid {})", self.name, process.pid())), None)
                }
                Action::Kill => (self.kill(&mut process).await, Some(Step::Rest(Phase::Stopped))),
                Action::Stop(deadline) => {
                    (self.stop(&mut process, deadline).await, Some(Step::Rest(Phase::Stopped)))
                }
                Action::Restart => {
                    self.stop(&mut process, Instant::now() + STOP_LIMIT).await.ok();
                    return Step::Start(Some(outcome));
                }
                Action::Suspend => (self.signal(&process, Signal::STOP), None),
                Action::Resume => (self.signal(&process, Signal::CONT), None),
            };
            if next.is_some() {
                // The caller must see the new state as soon as it has its answer.
                self.enter(Phase::Stopped);
            }
            let _ = outcome.send(sentence);
            if let Some(next) = next {
                return next;
            }
        }
    }

    /// Nobody asked for this exit.
    async fn after_exit(
        &mut self,
        process: Process,
        ended: io::Result<ExitStatus>,
        ran_for: Duration,
    ) -> Step {
        self.failures = failures_after(self.failures, ran_for);
        let code = ended.as_ref().ok().and_then(ExitStatus::code);
        let how = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
        let error = process.last_error().await;
        self.state.send_modify(|state| state.last_error = Some(error.unwrap_or_else(|| how.clone())));
        match after_exit(code, self.failures) {
            AfterExit::Restart(wait) => {
                self.say(&format!("exited unexpectedly ({how}); restarting in {wait:?}"));
                Step::BackOff
            }
            AfterExit::Fail => {
                self.say(&format!(
                    "failed ({how}) and is not restarted: fix the cause, then run `mini-blog start {}`",
                    self.name
                ));
                Step::Rest(Phase::Failed)
            }
        }
    }

    fn signal(&self, process: &Process, signal: Signal) -> Outcome {
        match process.signal(signal) {
            Ok(()) => Ok(format!("{} got {signal:?}", self.name)),
            Err(e) => Err(format!("{} cannot be sent {signal:?}: {e}", self.name)),
        }
    }

    async fn kill(&self, process: &mut Process) -> Outcome {
        let pid = process.pid();
        match process.kill().await {
            Ok(_) => {
                self.say("killed; not restarted until `mini-blog start`");
                Ok(format!("killed {} (pid {pid}); run `mini-blog start {0}` to start it again", self.name))
            }
            Err(e) => Err(format!("{} (pid {pid}) cannot be killed: {e}", self.name)),
        }
    }

    async fn stop(&self, process: &mut Process, deadline: Instant) -> Outcome {
        match process.terminate(deadline, &self.now).await {
            Ok(true) => Ok(format!("{} has stopped", self.name)),
            Ok(false) => {
                let sentence = format!("{} did not stop in time and was killed", self.name);
                self.say(&sentence);
                Err(sentence)
            }
            Err(e) => Err(format!("{} cannot be stopped: {e}", self.name)),
        }
    }
}

#[cfg(test)]
mod tests;
