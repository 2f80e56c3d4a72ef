//! The session beside the writers and readers: it opens the store, listens for the commits of other replicas and tells
//! them of this one's, and holds the locks of leaders.

use super::session::{ConnectError, Notifications, Session};
use super::worker::RECONNECT;
use super::{Program, lock_number, migrate};
use crate::rt::{self, Instant, ThreadRuntime};
use crate::store::Schema;
use crate::store::leadership::Leadership;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// The least time between two notifications: each takes a lock that all commits of the server share.
const NOTIFY_EVERY: Duration = Duration::from_millis(2);
/// How often the store is taken as changed although nobody has said so, and duties that another replica has are tried.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the session is checked.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// What handles of the store want.
pub(super) enum Order {
    Lead(&'static str, oneshot::Sender<Leadership>),
    /// With the number of the term.
    Resign(&'static str, u64),
}

/// A duty that this replica has, or would take.
struct Duty {
    name: &'static str,
    candidates: Vec<oneshot::Sender<Leadership>>,
    /// With the number of the term.
    held: Option<(u64, CancellationToken)>,
}

/// With the reason; without one, what comes waits again.
pub(super) type Refuse = Box<dyn Fn(Option<&str>) + Send>;

pub(super) struct Control {
    pub(super) program: Arc<Program>,
    pub(super) schema: Schema,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    /// How often this replica has taken a duty.
    pub(super) terms: u64,
    pub(super) resign: mpsc::UnboundedSender<Order>,
    /// Set once the schema is there.
    pub(super) is_open: watch::Sender<bool>,
    /// Why the database cannot be used at the moment.
    pub(super) unavailable: watch::Sender<Option<String>>,
    /// Refuses what waits for a connection that cannot be made, for this reason; without one, lets it wait again.
    pub(super) refuse: Refuse,
}

impl Control {
    /// Until the store is dropped. The first attempt is reported to `opened`.
    pub(super) fn run(mut self, opened: oneshot::Sender<Result<(), ConnectError>>) {
        let runtime = match ThreadRuntime::new() {
            Ok(runtime) => Rc::new(runtime),
            Err(error) => {
                let _ = opened.send(Err(ConnectError::Refused(error.to_string())));
                return;
            }
        };
        runtime.clone().block_on(async {
            let stop = self.program.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.keep_connected(&runtime, opened) => {}
            }
        });
    }

    async fn keep_connected(
        &mut self,
        runtime: &Rc<ThreadRuntime>,
        opened: oneshot::Sender<Result<(), ConnectError>>,
    ) {
        let mut opened = Some(opened);
        let mut duties = Vec::new();
        let mut attempts = 0;
        loop {
            match self.connect(runtime).await {
                Ok((session, notifications)) => {
                    attempts = 0;
                    (self.refuse)(None);
                    self.is_open.send_replace(true);
                    self.unavailable.send_replace(None);
                    if let Some(opened) = opened.take() {
                        let _ = opened.send(Ok(()));
                    }
                    // What was committed meanwhile by others was told to nobody.
                    self.program.commits.by_another();
                    let why = self.serve(&session, notifications, &mut duties).await;
                    tracing::warn!(why, "the session that coordinates replicas was lost");
                    for duty in &mut duties {
                        if let Some((_, lost)) = duty.held.take() {
                            lost.cancel();
                        }
                    }
                    session.abandon().await;
                }
                Err(error) => {
                    let why = error.to_string();
                    (self.refuse)(Some(&why));
                    self.unavailable.send_replace(Some(why.clone()));
                    if let Some(opened) = opened.take() {
                        let is_refused = matches!(error, ConnectError::Refused(_));
                        let _ = opened.send(if is_refused { Err(error) } else { Ok(()) });
                        if is_refused {
                            return;
                        }
                    }
                    if attempts == 0 {
                        tracing::warn!(why, "the database cannot be used; trying again");
                    }
                    attempts += 1;
                    rt::sleep(RECONNECT.delay(attempts, self.program.random())).await;
                }
            }
        }
    }

    async fn connect(&self, runtime: &Rc<ThreadRuntime>) -> Result<(Session, Notifications), ConnectError> {
        let Program { location, name, .. } = &*self.program;
        let (session, notifications) = Session::open(runtime, location, name).await?;
        let ready = async {
            self.refuse_a_pooler(&session, runtime).await?;
            migrate::prepare(&session, &self.program, &self.schema).await?;
            // A notification needs no disk, and must not wait for a standby that is away.
            let listen = format!("SET synchronous_commit = off; LISTEN \"{}\"", self.program.channel());
            let listening = session.shared.ask(session.client.batch_execute(&listen)).await;
            listening.map_err(|error| ConnectError::Unreachable(error.to_string()))
        };
        match ready.await {
            Ok(()) => Ok((session, notifications)),
            Err(error) => {
                session.abandon().await;
                Err(error)
            }
        }
    }

    /// A pooler that gives a session's connection to others between transactions breaks locks and notifications: with
    /// a transaction under way beside it, this session gets another process of the server, or that one gets this one's.
    async fn refuse_a_pooler(
        &self,
        session: &Session,
        runtime: &Rc<ThreadRuntime>,
    ) -> Result<(), ConnectError> {
        const PID: &str = "SELECT pg_backend_pid()";
        let Program { location, name, .. } = &*self.program;
        let before = migrate::text(session, PID).await?;
        let (other, _) = Session::open(runtime, location, name).await?;
        let pids = async {
            let beside = migrate::text(&other, &format!("BEGIN; {PID}")).await?;
            Ok((beside, migrate::text(session, PID).await?))
        };
        let pids = pids.await;
        other.abandon().await;
        let (beside, after) = pids?;
        if before == after && before != beside {
            return Ok(());
        }
        Err(ConnectError::Refused(format!(
            "{}: a pooler gives the connection to others between transactions: connect to the server itself, or let \
             the pooler keep a connection for each session",
            self.program.place()
        )))
    }

    /// Until the connection is lost; returns why.
    async fn serve(
        &mut self,
        session: &Session,
        mut notifications: Notifications,
        duties: &mut Vec<Duty>,
    ) -> String {
        let mut last_notified = Instant::now();
        let (mut look_at, mut check_at) = (Instant::now() + LOOK_EVERY, Instant::now() + CHECK_EVERY);
        if let Err(why) = self.campaign(session, duties).await {
            return why;
        }
        loop {
            let commits = Arc::clone(&self.program);
            tokio::select! {
                biased;
                () = session.closed() => return "the connection has ended".to_owned(),
                payload = notifications.recv() => {
                    if payload.is_some_and(|by| by != self.program.id) {
                        self.program.commits.by_another();
                    }
                }
                order = self.orders.recv() => {
                    if let Some(order) = order
                        && let Err(why) = self.follow(session, duties, order).await
                    {
                        return why;
                    }
                }
                () = rt::sleep(look_at.saturating_duration_since(Instant::now())) => {
                    look_at = Instant::now() + LOOK_EVERY;
                    self.program.commits.by_another();
                    let checked = if Instant::now() >= check_at {
                        check_at = Instant::now() + CHECK_EVERY;
                        session.shared.ask(session.client.batch_execute("SELECT")).await
                    } else {
                        Ok(())
                    };
                    if let Err(error) = checked {
                        return error.to_string();
                    }
                    if let Err(why) = self.campaign(session, duties).await {
                        return why;
                    }
                }
                () = commits.commits.untold() => {
                    let since = last_notified.elapsed();
                    rt::sleep(NOTIFY_EVERY.saturating_sub(since)).await;
                    last_notified = Instant::now();
                    let tell = format!("SELECT pg_notify('{}', '{}')", self.program.channel(), self.program.id);
                    if let Err(error) = session.shared.ask(session.client.batch_execute(&tell)).await {
                        return error.to_string();
                    }
                }
            }
        }
    }

    async fn follow(
        &mut self,
        session: &Session,
        duties: &mut Vec<Duty>,
        order: Order,
    ) -> Result<(), String> {
        match order {
            Order::Lead(name, candidate) => {
                match duties.iter_mut().find(|duty| duty.name == name) {
                    Some(duty) => duty.candidates.push(candidate),
                    None => duties.push(Duty { name, candidates: vec![candidate], held: None }),
                }
                self.campaign(session, duties).await
            }
            Order::Resign(name, term) => {
                let duty = duties.iter_mut().find(|duty| duty.name == name);
                let is_held = |held: &mut (u64, CancellationToken)| held.0 == term;
                if duty.and_then(|duty| duty.held.take_if(is_held)).is_none() {
                    return Ok(());
                }
                let number = lock_number(&self.program.namespace, "duty", name);
                let sql = format!("SELECT pg_advisory_unlock({number})");
                session.shared.ask(session.client.batch_execute(&sql)).await.map_err(|e| e.to_string())?;
                self.campaign(session, duties).await
            }
        }
    }

    /// Takes the duties that no replica has.
    async fn campaign(&mut self, session: &Session, duties: &mut [Duty]) -> Result<(), String> {
        for duty in duties {
            duty.candidates.retain(|candidate| !candidate.is_closed());
            if duty.held.is_some() || duty.candidates.is_empty() {
                continue;
            }
            let number = lock_number(&self.program.namespace, "duty", duty.name);
            let taken = migrate::text(session, &format!("SELECT pg_try_advisory_lock({number})")).await;
            if taken.map_err(|error| error.to_string())? != "t" {
                continue;
            }
            let lost = CancellationToken::new();
            self.terms += 1;
            let (resign, name, term) = (self.resign.clone(), duty.name, self.terms);
            let leadership = Leadership::new(lost.clone(), move || {
                // Where the store has ended, so has the session.
                let _ = resign.send(Order::Resign(name, term));
            });
            duty.held = Some((term, lost));
            tracing::info!(duty = duty.name, "this replica leads");
            if let Err(leadership) = duty.candidates.remove(0).send(leadership) {
                // It has left meanwhile: dropped, it resigns.
                drop(leadership);
            }
        }
        Ok(())
    }
}
