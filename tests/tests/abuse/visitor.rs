//! Somebody who only wants to read and to write.

use crate::limits::Limited;
use crate::start;
use std::ops::Deref;
use std::time::{Duration, Instant};
use system_tests::latency::Latency;
use system_tests::{Setup, Stack, http};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often the visitor comes at least while an attack is at its height.
const VISITS: usize = 20;
/// How long the visitor waits between two visits: less than its own limit of writes allows.
const PAUSE: Duration = Duration::from_millis(20);
/// Sets how many milliseconds an answer may take. `cargo xtask abuse` demands what the release program has to reach on a
/// quiet machine.
const BOUND_VARIABLE: &str = "VISITOR_WAITS_MS";
/// How long an answer may take where nothing else is said. On an idle machine it takes some milliseconds: what has to
/// wait for an attack to end, or for a timeout, takes many times as long as this.
const BOUND_MS: u64 = 3_000;

/// A stack with the limits of the manifests, which a visitor uses before, during and after an attack.
pub struct Site {
    stack: Stack,
    limited: Limited,
    visited: String,
}

/// The visitor, who comes again and again.
pub struct Visitor<'a> {
    site: &'a Site,
    /// How often it has come.
    visits: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Waits>,
}

#[derive(Default)]
struct Waits {
    pages: Vec<Duration>,
    writes: Vec<Duration>,
}

impl Deref for Site {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.stack
    }
}

impl Site {
    pub async fn start() -> Self {
        Self::with(Setup::new()).await
    }

    pub async fn with(setup: Setup) -> Self {
        let stack = start(setup).await;
        let visited = stack.public_blog().post("Visited").await;
        stack.public_blog().until_known(&visited).await;
        let limited = Limited::new(&stack);
        Self { stack, limited, visited }
    }

    /// The visitor comes from now on. It reads the page of a post and submits its form, each time over new connections.
    pub fn visitor(&self) -> Visitor<'_> {
        self.visitor_whose_writes_are_answered(303)
    }

    /// The same, where writes have this answer.
    pub fn visitor_whose_writes_are_answered(&self, status: u16) -> Visitor<'_> {
        let (counter, visits) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let (url, post) = (self.front_door().url.clone(), self.visited.clone());
        let task = tokio::spawn(async move {
            let mut waits = Waits::default();
            while !*stopped.borrow() {
                let door = http::Server::new(&http::client(), &url);
                let begun = Instant::now();
                door.get(&format!("/p/{post}")).header("accept", "text/html").send().await.expect(200);
                waits.pages.push(begun.elapsed());
                let comment = format!("visit {} {}", waits.writes.len(), "and some text ".repeat(100));
                let begun = Instant::now();
                let request = door.post(&format!("/p/{post}/comments")).header("origin", &url);
                request.form(&[("content", &comment)]).send().await.expect(status);
                waits.writes.push(begun.elapsed());
                counter.send_replace(waits.writes.len());
                tokio::time::sleep(PAUSE).await;
            }
            waits
        });
        Visitor { site: self, visits, stop, task }
    }
}

impl Visitor<'_> {
    /// Waits until the visitor has come some times more: the attack is at its height.
    pub async fn comes_again(&mut self) {
        let enough = *self.visits.borrow() + VISITS;
        // An error says that the task has ended, which its end explains.
        let _ = self.visits.wait_for(|visits| *visits >= enough).await;
    }

    /// The visitor leaves, after some more visits. Fails if one of its visits took too long, or if a process used more
    /// memory than it has; prints a row for the table of `docs/BENCHMARKS.md`.
    pub async fn leaves(mut self, attack: &str, clients: usize) {
        self.comes_again().await;
        self.stop.send_replace(true);
        let Waits { pages, writes } =
            self.task.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        let peak = self.site.limited.held(&self.site.stack);
        let worst = |waits: &[Duration]| waits.iter().max().copied().unwrap_or_default();
        let (page, write) = (worst(&pages), worst(&writes));
        let ms = |wait: Duration| format!("{:.1} ms", wait.as_secs_f64() * 1000.0);
        let median = |waits| ms(Latency::of(waits).p50);
        // The runner prints the name of the test first, in the same line.
        println!(
            "\n| {attack} | {clients} | {} | {} | {} | {} | {peak} |",
            median(pages),
            ms(page),
            median(writes),
            ms(write),
        );
        let bound =
            std::env::var(BOUND_VARIABLE).map_or(BOUND_MS, |text| text.parse().expect(BOUND_VARIABLE));
        assert!(page.max(write) < Duration::from_millis(bound), "more than {bound} ms");
    }
}
