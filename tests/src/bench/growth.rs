//! What a large blog costs: the same figures on a stack with many posts and comments and on one with few, in turns.

use super::creates;
use super::figures::{Better, Row, latency_rows, percentiles};
use super::machine::{need_disk, need_memory};
use super::run::{Bench, head_of, until_caught_up};
use super::visible;
use super::wrk::Load;
use crate::http::Server;
use crate::stack::{Setup, Stack, said};
use shared::ServiceName::{self, Frontend, Posts, Query};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Ten thousand events, about: a comment has three.
const FEW: [u64; 2] = [200, 3_000];
/// Ten million.
const MANY: [u64; 2] = [200_000, 3_000_000];
const DISK_MIB: u64 = 24 * 1024;
const MEMORY_MIB: u64 = 2 * 1024;

const CONNECTIONS: usize = 64;
/// How many posts are read in turns, as far apart in the list as they can be.
const READ_POSTS: u64 = 200;
/// Between two comments, where nothing else is to happen.
const IDLE: Duration = Duration::from_millis(40);
/// The most posts that the list returns at once.
const PAGE: u64 = 100;

/// A stack, the number of its events, and some of its posts.
struct Filled {
    stack: Stack,
    events: u64,
    posts: Vec<String>,
}

pub async fn rows(bench: &Bench) -> Vec<Row> {
    match measure(bench).await {
        Ok(rows) => rows,
        Err(why) => vec![Row::skipped("growth", "", Better::Higher, why)],
    }
}

async fn measure(bench: &Bench) -> Result<Vec<Row>, String> {
    need_memory(MEMORY_MIB)?;
    need_disk(bench.folder(), DISK_MIB)?;
    let (mut few, mut many) = (Filled::start(FEW).await?, Filled::start(MANY).await?);
    let turns = Turns { bench, few: &few, many: &many, what: format!("the same on {} events", few.events) };
    let mut rows = vec![bytes_per_event(&many)?];
    let home = |_: &str| "/".to_owned();
    let page = |post: &str| format!("/p/{post}");
    let list = |_: &str| "/posts?limit=20".to_owned();
    let thread = |post: &str| format!("/query/posts/{post}");
    rows.push(turns.reads("home page", Frontend, home).await?);
    rows.push(turns.reads("pages of 200 posts", Frontend, page).await?);
    rows.push(turns.reads("GET /posts?limit=20, direct", Query, list).await?);
    rows.push(turns.reads("GET /query/posts/:id of 200 posts, direct", Query, thread).await?);
    rows.extend(turns.visible().await?);
    rows.push(turns.creates().await?);
    let what = turns.what.clone();
    let (mut figures, mut ceilings) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        figures.push(many.start_again().await);
        ceilings.push(few.start_again().await);
    }
    let row = Row::new("growth: start to first answer, all stored", "ms", Better::Lower, figures);
    rows.push(row.with_ceiling(&what, ceilings));
    Ok(rows)
}

impl Filled {
    async fn start([posts, comments]: [u64; 2]) -> Result<Self, String> {
        eprintln!("bench: growth: {posts} posts and {comments} comments");
        let stack = Setup::new().with_env("RUST_LOG", "warn").start().await;
        let (n, m) = (posts.to_string(), comments.to_string());
        let seeded = stack.cli(&["seed", "--posts", &n, "--comments", &m]).await;
        if !seeded.status.success() {
            return Err(format!("nothing is stored: {}", said(&seeded).trim()));
        }
        eprintln!("bench: growth: {}", said(&seeded).lines().last().unwrap_or_default());
        until_caught_up(&stack).await?;
        let events = head_of(&stack).await?;
        let posts = every(stack.at(Query), posts / READ_POSTS).await?;
        Ok(Self { stack, events, posts })
    }

    /// From the start of all processes to the home page, in milliseconds.
    async fn start_again(&mut self) -> f64 {
        self.stack.interrupt().await;
        let begun = Instant::now();
        self.stack.up().await;
        self.stack.front_door().get("/").send().await.expect(200);
        begun.elapsed().as_secs_f64() * 1e3
    }
}

/// Every so many-th post of the list.
async fn every(query: &Server, step: u64) -> Result<Vec<String>, String> {
    let (mut found, mut seen, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = query.get(&format!("/posts?limit={PAGE}{cursor}")).try_send().await?.json();
        for item in page["items"].as_array().ok_or("the list of posts has no items")? {
            if seen % step == 0 {
                found.push(item["id"].as_str().ok_or("a post has no id")?.to_owned());
            }
            seen += 1;
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(found),
        }
    }
}

fn bytes_per_event(filled: &Filled) -> Result<Row, String> {
    let mut bytes = 0;
    for service in ServiceName::PEERS.into_iter().chain([ServiceName::EventBus]) {
        let file = filled.stack.database(service);
        bytes += fs::metadata(&file).map_err(|e| format!("{}: {e}", file.display()))?.len();
    }
    let per_event = bytes as f64 / filled.events as f64;
    Ok(Row::new(
        format!("growth: disk per event, all stores, {} events", filled.events),
        "bytes",
        Better::Lower,
        vec![per_event],
    ))
}

/// Measures on both stacks, one after the other.
struct Turns<'a> {
    bench: &'a Bench,
    few: &'a Filled,
    many: &'a Filled,
    what: String,
}

impl Turns<'_> {
    async fn reads(&self, name: &str, at: ServiceName, path: impl Fn(&str) -> String) -> Result<Row, String> {
        let name = format!("growth: {name}");
        eprintln!("bench: {name}");
        let (mut figures, mut ceilings) = (Vec::new(), Vec::new());
        let scripts = [self.script("many", self.many, &path)?, self.script("few", self.few, &path)?];
        for _ in 0..self.bench.rounds() {
            for (filled, script, into) in
                [(self.many, &scripts[0], &mut figures), (self.few, &scripts[1], &mut ceilings)]
            {
                let url =
                    if at == Frontend { &filled.stack.front_door().url } else { &filled.stack.at(at).url };
                let load = Load {
                    url,
                    connections: CONNECTIONS,
                    seconds: self.bench.seconds(),
                    script: Some(script),
                };
                into.push(load.run().await?);
            }
        }
        Ok(Row::new(name, "req/s", Better::Higher, figures).with_ceiling(&self.what, ceilings))
    }

    /// Lets wrk read the posts one after the other.
    fn script(&self, name: &str, filled: &Filled, path: impl Fn(&str) -> String) -> Result<PathBuf, String> {
        let paths: Vec<_> = filled.posts.iter().map(|post| format!("{:?}", path(post))).collect();
        let text = format!(
            "local paths = {{{}}}\nlocal n = 0\nfunction request() n = n % #paths + 1 return wrk.format(\"GET\", paths[n]) end\n",
            paths.join(",")
        );
        let file = self.bench.folder().join(format!("{name}.lua"));
        fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(file)
    }

    async fn visible(&self) -> Result<Vec<Row>, String> {
        eprintln!("bench: growth: comment to visible");
        let (mut figures, mut ceilings) = (Vec::new(), Vec::new());
        for round in 0..self.bench.rounds() {
            for (filled, into) in [(self.many, &mut figures), (self.few, &mut ceilings)] {
                let count = (self.bench.latency_time().as_millis() / IDLE.as_millis()) as usize;
                let label = format!("growth {round}");
                let took =
                    visible::post_and_watch(&filled.stack, &filled.posts[0], &label, count, IDLE).await?;
                into.push(percentiles(took).ok_or("no comment was seen")?);
            }
        }
        Ok(latency_rows("growth: comment to visible, idle", &figures, Some((&self.what, &ceilings))))
    }

    async fn creates(&self) -> Result<Row, String> {
        eprintln!("bench: growth: creates");
        let script = creates::script(self.bench.folder())?;
        let (mut figures, mut ceilings) = (Vec::new(), Vec::new());
        for _ in 0..self.bench.rounds() {
            for (filled, into) in [(self.many, &mut figures), (self.few, &mut ceilings)] {
                let url = format!("{}/posts/create", filled.stack.at(Posts).url);
                let load = Load {
                    url: &url,
                    connections: CONNECTIONS,
                    seconds: self.bench.seconds(),
                    script: Some(&script),
                };
                into.push(load.run().await?);
                until_caught_up(&filled.stack).await?;
            }
        }
        let row = Row::new(
            format!("growth: create, {CONNECTIONS} connections, direct"),
            "posts/s",
            Better::Higher,
            figures,
        );
        Ok(row.with_ceiling(&self.what, ceilings))
    }
}
