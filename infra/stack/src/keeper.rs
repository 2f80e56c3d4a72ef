//! Keeps one service running: starts it, starts it again when it dies, and does what it is ordered.

use crate::backoff::{failures_after, restart_delay};
use crate::labels::{Output, Speaker};
use crate::launch::Launch;
use crate::process::Process;
use shared::ServiceName;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a service may take to stop when asked to.
pub const STOP_LIMIT: Duration = Duration::from_secs(12);

/// What can be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Run it, if it is not running.
    Start,
    /// End it on the spot (SIGKILL), and leave it down.
    Kill,
    /// Stop it (SIGTERM) and run it again.
    Restart,
    /// Stop it (SIGTERM) by that time, and leave it down.
    Stop(Instant),
}

/// Where a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Down, and left so.
    Stopped,
    /// Running.
    Running {
        /// Its process.
        pid: u32,
        /// Since when.
        since: Instant,
    },
    /// Died, and waits to be started again.
    BackingOff,
}

/// What is known of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Where it stands.
    pub phase: Phase,
    /// How often it died and was started again.
    pub restarts: u32,
}

/// What came of an order: one sentence, good or bad.
pub type Outcome = Result<String, String>;

struct Order {
    verb: Verb,
    outcome: oneshot::Sender<Outcome>,
}

/// The way to a service's keeper.
#[derive(Debug, Clone)]
pub struct Handle {
    /// Which service.
    pub service: ServiceName,
    orders: mpsc::Sender<Order>,
    state: watch::Receiver<State>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Order({:?})", self.verb)
    }
}

impl Handle {
    /// Gives an order and waits until it is done.
    pub async fn order(&self, verb: Verb) -> Outcome {
        let gone = || format!("{} is no longer looked after: the stack is stopping", self.service);
        let (outcome, answer) = oneshot::channel();
        self.orders.send(Order { verb, outcome }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// What is known at this moment.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Waits for the next change.
    pub async fn changed(&mut self) -> bool {
        self.state.changed().await.is_ok()
    }
}

/// Looks after one service until its last handle is gone.
struct Keeper {
    service: ServiceName,
    launch: Arc<Launch>,
    output: Output,
    orders: mpsc::Receiver<Order>,
    state: watch::Sender<State>,
    now: CancellationToken,
    failures: u32,
}

/// What a keeper does next.
enum Step {
    Rest,
    Start(Option<oneshot::Sender<Outcome>>),
    BackOff,
    End,
}

/// Begins to look after a service. `now` ends whatever a stop waits for.
pub fn keep(
    service: ServiceName,
    launch: Arc<Launch>,
    output: Output,
    start: bool,
    now: CancellationToken,
) -> Handle {
    let (orders, incoming) = mpsc::channel(16);
    let (state, watched) = watch::channel(State { phase: Phase::Stopped, restarts: 0 });
    let keeper = Keeper { service, launch, output, orders: incoming, state, now, failures: 0 };
    tokio::spawn(keeper.run(if start { Step::Start(None) } else { Step::Rest }));
    Handle { service, orders, state: watched }
}

impl Keeper {
    async fn run(mut self, mut step: Step) {
        loop {
            step = match step {
                Step::Rest => self.rest().await,
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
        self.output.line(Speaker::Service(self.service), text);
    }

    async fn rest(&mut self) -> Step {
        self.enter(Phase::Stopped);
        self.failures = 0;
        loop {
            let Some(order) = self.orders.recv().await else { return Step::End };
            match order.verb {
                Verb::Start | Verb::Restart => return Step::Start(Some(order.outcome)),
                Verb::Kill | Verb::Stop(_) => {
                    let _ = order.outcome.send(Ok(format!("{} was not running", self.service)));
                }
            }
        }
    }

    async fn back_off(&mut self) -> Step {
        self.enter(Phase::BackingOff);
        tokio::select! {
            () = tokio::time::sleep(restart_delay(self.failures)) => {
                self.state.send_modify(|state| state.restarts = state.restarts.saturating_add(1));
                Step::Start(None)
            }
            order = self.orders.recv() => match order {
                None => Step::End,
                Some(Order { verb: Verb::Start | Verb::Restart, outcome }) => Step::Start(Some(outcome)),
                Some(Order { verb: Verb::Kill | Verb::Stop(_), outcome }) => {
                    let sentence = "had died already, and is not started again";
                    let _ = outcome.send(Ok(format!("{} {sentence}", self.service)));
                    Step::Rest
                }
            },
        }
    }

    async fn start(&mut self, outcome: Option<oneshot::Sender<Outcome>>) -> Step {
        let process = match Process::start(&self.launch, self.service, &self.output) {
            Ok(process) => process,
            Err(e) => {
                self.failures = self.failures.saturating_add(1);
                let sentence = format!("{} cannot be started: {e}", self.service);
                self.say(&sentence);
                if let Some(outcome) = outcome {
                    let _ = outcome.send(Err(sentence));
                }
                return Step::BackOff;
            }
        };
        let since = Instant::now();
        self.enter(Phase::Running { pid: process.pid(), since });
        if let Some(outcome) = outcome {
            let _ = outcome.send(Ok(format!("{} is started (pid {})", self.service, process.pid())));
        }
        self.watch(process, since).await
    }

    async fn watch(&mut self, mut process: Process, since: Instant) -> Step {
        loop {
            let order = tokio::select! {
                ended = process.ended() => {
                    self.failures = failures_after(self.failures, since.elapsed());
                    let how = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
                    let wait = restart_delay(self.failures);
                    self.say(&format!("ended by itself ({how}); it is started again in {wait:?}"));
                    return Step::BackOff;
                }
                order = self.orders.recv() => order,
            };
            let Some(Order { verb, outcome }) = order else {
                self.stop(&mut process, Instant::now() + STOP_LIMIT).await.ok();
                return Step::End;
            };
            let (sentence, next) = match verb {
                Verb::Start => (Ok(format!("{} runs already (pid {})", self.service, process.pid())), None),
                Verb::Kill => (self.kill(&mut process).await, Some(Step::Rest)),
                Verb::Stop(deadline) => (self.stop(&mut process, deadline).await, Some(Step::Rest)),
                Verb::Restart => {
                    self.stop(&mut process, Instant::now() + STOP_LIMIT).await.ok();
                    return Step::Start(Some(outcome));
                }
            };
            if next.is_some() {
                // Whoever asked sees the new state at once.
                self.enter(Phase::Stopped);
            }
            let _ = outcome.send(sentence);
            if let Some(next) = next {
                return next;
            }
        }
    }

    async fn kill(&self, process: &mut Process) -> Outcome {
        let pid = process.pid();
        match process.kill().await {
            Ok(_) => {
                self.say("killed; it stays down until it is started");
                Ok(format!("{} is killed (pid {pid}); `mini-blog start {0}` brings it back", self.service))
            }
            Err(e) => Err(format!("{} (pid {pid}) cannot be killed: {e}", self.service)),
        }
    }

    async fn stop(&self, process: &mut Process, deadline: Instant) -> Outcome {
        match process.terminate(deadline, &self.now).await {
            Ok(true) => Ok(format!("{} has stopped", self.service)),
            Ok(false) => {
                let sentence = format!("{} did not stop in time and was killed", self.service);
                self.say(&sentence);
                Err(sentence)
            }
            Err(e) => Err(format!("{} cannot be stopped: {e}", self.service)),
        }
    }
}

#[cfg(test)]
mod tests;
