//! Writers that never stop writing, whatever fault there is.

use super::ledger::{Ledger, Outcome, Rule, What, Write};
use super::plan::SERVICES;
use super::world::World;
use crate::http::{Answer, Request};
use fastrand::Rng;
use serde_json::{Value, json};
use shared::ServiceName::{Comments, EventBus, Posts};
use std::sync::Arc;
use std::time::Duration;
use test_support::{eventually, holds};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How many writers there are.
const WRITERS: u64 = 12;
/// How long a writer waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause before a request is repeated.
const AGAIN: Duration = Duration::from_millis(250);
/// How long repeated requests may take to be answered once everything runs again.
const LAST_ANSWERS: Duration = Duration::from_secs(60);

/// The running writers.
#[derive(Debug)]
pub struct Writers {
    over: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Writers {
    /// Starts all writers, with this many writes a second together, fewer where answers are slow.
    pub fn start(world: &Arc<World>, ledger: &Arc<Ledger>, seed: u64, per_second: u64) -> Self {
        let (over, told) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS {
            let writer = Writer {
                number,
                world: Arc::clone(world),
                ledger: Arc::clone(ledger),
                dice: Rng::with_seed(seed.wrapping_add(number)),
                over: told.clone(),
            };
            tasks.spawn(writer.write_on(Duration::from_millis(1_000 * WRITERS / per_second.max(1))));
        }
        Self { over, tasks }
    }

    /// Stops new writes and waits for repeated requests; an error says that they were not answered.
    pub async fn end(mut self) -> Result<(), String> {
        self.over.send_replace(true);
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.map_err(|e| format!("a writer has failed: {e}"))?;
            }
            Ok(())
        };
        timeout(LAST_ANSWERS, all).await.unwrap_or_else(|_| {
            Err(format!("writers still repeat their requests after {LAST_ANSWERS:?}, unanswered"))
        })
    }
}

/// How many requests each service receives at once, so that it fills its pools.
const CROWD: usize = 400;
/// How long the first post may take to reach the log.
const FIRST_POST: Duration = Duration::from_secs(30);

/// Makes each service fill its pools, such as the readers of its store: writes a first post, then sends many requests
/// at once.
pub async fn fill_pools(world: &World, ledger: &Ledger) {
    let (what, text) = (What::Post, "The first post".to_owned());
    let answer = world.at(Posts).post("/posts/create").json(&json!({ "title": text })).send().await;
    let outcome = judge(&what, &answer);
    ledger.attempt();
    ledger.enter(Write { what, text, keyed: false, outcome });
    // An empty log opens no reader.
    eventually(FIRST_POST, "the first post is in the log", async || {
        let log = world.operator_get(EventBus, "/events").try_send().await?;
        holds(log, |log| log.body.len() > 2)
    })
    .await;
    let mut crowd = JoinSet::new();
    for service in SERVICES {
        let path = if service == EventBus { "/events" } else { "/dead-letters" };
        for _ in 0..CROWD {
            crowd.spawn(world.operator_get(service, path).send());
        }
    }
    for answer in crowd.join_all().await {
        assert_eq!(answer.status, 200, "{answer}");
    }
}

struct Writer {
    number: u64,
    world: Arc<World>,
    ledger: Arc<Ledger>,
    dice: Rng,
    over: watch::Receiver<bool>,
}

impl Writer {
    async fn write_on(mut self, every: Duration) {
        // The writers do not start at the same moment.
        sleep(every.mul_f64(self.dice.f64())).await;
        for n in 0_u64.. {
            if *self.over.borrow() {
                return;
            }
            let began = Instant::now();
            self.write(n).await;
            sleep(every.saturating_sub(began.elapsed())).await;
        }
    }

    async fn write(&mut self, n: u64) {
        let post = self.ledger.recent_post(self.dice.u64(..));
        let what = match post {
            Some(post) if self.dice.u8(..100) < 75 => What::Comment(post),
            _ => What::Post,
        };
        let mut text = format!("{n} of writer {}", self.number);
        // Every fourth comment breaks the moderation rule; titles are not moderated.
        text.push_str(if self.dice.u8(..4) == 0 { " about an Orange" } else { " about a pear" });
        let keyed = self.dice.bool();
        let key = keyed.then(|| format!("key-{}-{n}-{:x}", self.number, self.dice.u64(..)));
        let mut outcome = self.attempt(&what, &text, key.as_deref()).await;
        if !keyed && outcome == Outcome::Unknown && self.dice.bool() {
            // A second try without a key may create it twice, so it counts as a write of its own.
            self.enter(&what, &text, keyed, outcome);
            sleep(AGAIN).await;
            outcome = self.attempt(&what, &text, None).await;
        }
        while keyed && !matches!(outcome, Outcome::Acknowledged(_)) {
            sleep(AGAIN).await;
            outcome = self.attempt(&what, &text, key.as_deref()).await;
        }
        if keyed && self.dice.u8(..5) == 0 {
            let again = self.attempt(&what, &text, key.as_deref()).await;
            if matches!(again, Outcome::Acknowledged(_) | Outcome::Refused(_)) && again != outcome {
                let complaint = format!("{text:?} was answered {outcome:?} first and {again:?} later");
                self.ledger.complain(Rule::FirstAnswer, complaint);
            }
        }
        self.enter(&what, &text, keyed, outcome);
    }

    fn enter(&self, what: &What, text: &str, keyed: bool, outcome: Outcome) {
        self.ledger.enter(Write { what: what.clone(), text: text.to_owned(), keyed, outcome });
    }

    async fn attempt(&self, what: &What, text: &str, key: Option<&str>) -> Outcome {
        let request = match what {
            What::Post => self.world.front(Posts).post("/posts/create").json(&json!({ "title": text })),
            What::Comment(post) => {
                let path = format!("/posts/{post}/comments");
                self.world.front(Comments).post(&path).json(&json!({ "content": text }))
            }
        };
        let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        self.ledger.attempt();
        match ask(&self.ledger, request, PATIENCE).await {
            Some(answer) => judge(what, &answer),
            None => Outcome::Unknown,
        }
    }
}

/// Sends a request and checks the rules that every answer must follow; returns nothing if there was no answer.
pub(super) async fn ask(ledger: &Ledger, request: Request, patience: Duration) -> Option<Answer> {
    let answer = request.try_send_within(patience).await.ok()?;
    if answer.status == 500 {
        ledger.complain(Rule::ErrorAnswers, format!("answered 500: {answer}"));
    }
    ledger.unavailable(answer.status == 503);
    if answer.status == 503 && answer.header("retry-after").is_empty() {
        ledger.complain(Rule::ErrorAnswers, format!("503 without Retry-After: {answer}"));
    }
    Some(answer)
}

fn judge(what: &What, answer: &Answer) -> Outcome {
    // An incomplete answer or an error on the way says nothing about the write.
    let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else { return Outcome::Unknown };
    match answer.status {
        201 => {
            let made = match what {
                What::Post => &body,
                What::Comment(_) => body.as_array().and_then(|all| all.last()).unwrap_or(&Value::Null),
            };
            made["id"].as_str().map_or(Outcome::Unknown, |id| Outcome::Acknowledged(id.to_owned()))
        }
        408 | 429 => Outcome::Unknown,
        status @ 400..500 => Outcome::Refused(status),
        _ => Outcome::Unknown,
    }
}
