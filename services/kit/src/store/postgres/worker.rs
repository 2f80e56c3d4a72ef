//! A thread with one connection, which it makes again when it is lost, and the jobs that it does with it.

use super::queue::Queue;
use super::session::{ConnectError, Session};
use super::{Namespace, Program};
use crate::rt::{self, ThreadRuntime};
use crate::runtime::backoff::Backoff;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Between attempts to connect.
pub(super) const RECONNECT: Backoff =
    Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(2) };

/// What a worker does.
pub(super) trait Work: Send + 'static {
    /// Does it, and answers whoever waits for it.
    fn run(self, line: &mut Line);
    /// Answers that there is no connection.
    fn refuse(self, why: &str);
    /// Whether it is done later where there is no connection.
    fn stays(&self) -> bool {
        false
    }
}

/// The connection of one worker, where it has one.
pub(super) struct Line {
    runtime: Rc<ThreadRuntime>,
    program: Arc<Program>,
    session: Option<Session>,
}

impl Line {
    pub(super) fn namespace(&self) -> &Namespace {
        &self.program.namespace
    }

    pub(super) fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The connection; a new one where the last was lost.
    pub(super) fn session(&mut self) -> Result<&mut Session, ConnectError> {
        if !self.session.as_ref().is_some_and(Session::is_alive) {
            self.hang_up();
            let Program { location, name, .. } = &*self.program;
            let (session, _) = Session::connect(&self.runtime, location, name)?;
            self.session = Some(session);
        }
        // There is one now.
        self.session.as_mut().ok_or_else(|| ConnectError::Unreachable("the connection was lost".to_owned()))
    }

    fn hang_up(&mut self) {
        if let Some(session) = self.session.take() {
            self.runtime.block_on(session.abandon());
        }
    }

    /// Waits a moment, longer after each attempt.
    pub(super) fn wait(&self, backoff: Backoff, attempts: u32) {
        let delay = backoff.delay(attempts, self.program.random());
        // The timer belongs to the runtime, and is made within it.
        self.runtime.block_on(async { rt::sleep(delay).await });
    }
}

/// Works until the queue is closed and empty. Begins once the schema is there.
pub(super) fn run<J: Work>(queue: &Arc<Queue<J>>, program: Arc<Program>, mut is_open: watch::Receiver<bool>) {
    let runtime = match ThreadRuntime::new() {
        Ok(runtime) => Rc::new(runtime),
        Err(error) => return tracing::error!(%error, "a connection of the store cannot be set up"),
    };
    let opened = runtime.block_on(async {
        tokio::select! {
            biased;
            opened = is_open.wait_for(|is_open| *is_open) => opened.is_ok(),
            () = queue.until_closed() => false,
        }
    });
    if !opened {
        return refuse_all(queue, "the store has ended");
    }
    let mut line = Line { runtime: Rc::clone(&runtime), program, session: None };
    let mut attempts = 0;
    loop {
        if let Err(error) = line.session() {
            attempts += 1;
            let why = error.to_string();
            if attempts == 1 {
                tracing::warn!(why, "a connection to the database cannot be made; trying again");
            }
            refuse_all(queue, &why);
            if queue.is_closed() {
                return;
            }
            let delay = RECONNECT.delay(attempts, line.program.random());
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = queue.until_closed() => {}
                    // The session that coordinates has found the database again.
                    _ = is_open.changed() => {}
                    () = rt::sleep(delay) => {}
                }
            });
            continue;
        }
        attempts = 0;
        queue.connected();
        let goes_on = work(queue, &mut line, &runtime);
        queue.disconnected();
        if !goes_on {
            return;
        }
    }
}

/// Takes jobs for as long as there is a connection; returns whether there may be more.
fn work<J: Work>(queue: &Arc<Queue<J>>, line: &mut Line, runtime: &Rc<ThreadRuntime>) -> bool {
    while let Some(session) = line.session.as_ref().filter(|session| session.is_alive()) {
        let taken = runtime.block_on(async {
            tokio::select! {
                biased;
                () = session.closed() => None,
                taken = queue.take() => Some(taken),
            }
        });
        match taken {
            None => return true,
            Some(None) => return false,
            Some(Some(mut taken)) => {
                if let Some(job) = taken.job.take() {
                    job.run(line);
                }
            }
        }
    }
    true
}

pub(super) fn refuse_all<J: Work>(queue: &Queue<J>, why: &str) {
    for job in queue.failed(why, Work::stays) {
        job.refuse(why);
    }
}
