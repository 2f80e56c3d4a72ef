//! Durable creates: each answer means that the post is on disk.

use super::figures::{Better, Row};
use super::raw_disk::{self, Rows};
use super::run::{Bench, until_caught_up};
use super::wrk::Load;
use crate::http::Server;
use crate::stack::Stack;
use shared::ServiceName::Posts;
use std::path::{Path, PathBuf};

const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];
const UNIT: &str = "posts/s";
/// An event of a post with such a title takes about as many bytes.
const EVENT_BYTES: usize = 620;

pub async fn rows(bench: &Bench, stack: &Stack) -> Vec<Row> {
    let script = match script(bench.folder()) {
        Ok(script) => script,
        Err(why) => return vec![Row::skipped("durable creates", UNIT, Better::Higher, why)],
    };
    let mut rows = Vec::new();
    for (place, server) in [("direct", stack.at(Posts)), ("front door", stack.front_door())] {
        for connections in CONNECTIONS {
            let s = if connections == 1 { "" } else { "s" };
            let name = format!("create, {connections} connection{s}, {place}");
            eprintln!("bench: {name}");
            rows.push(match row(bench, stack, &name, server, connections, &script).await {
                Ok(row) => row,
                Err(why) => Row::skipped(name, UNIT, Better::Higher, why),
            });
        }
    }
    rows
}

async fn row(
    bench: &Bench,
    stack: &Stack,
    name: &str,
    server: &Server,
    connections: usize,
    script: &Path,
) -> Result<Row, String> {
    let url = format!("{}/posts/create", server.url);
    let (mut figures, mut ceilings) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let load = Load { url: &url, connections, seconds: bench.seconds(), script: Some(script) };
        figures.push(load.run().await?);
        // What the other services still do with these posts must not count against the next measurement.
        until_caught_up(stack).await?;
        ceilings.push(ceiling(bench, connections).await?);
    }
    let what = if connections == 1 { "raw SQLite, 1 post a commit" } else { "raw SQLite, group commit" };
    Ok(Row::new(name, UNIT, Better::Higher, figures).with_ceiling(what, ceilings))
}

/// The same rows, as many in a commit as there are connections: one commit for all that wait.
async fn ceiling(bench: &Bench, connections: usize) -> Result<f64, String> {
    let (folder, limit) = (bench.folder().to_owned(), bench.raw_time());
    let commits = move || {
        let event = "x".repeat(EVENT_BYTES);
        raw_disk::commits(&folder, Rows::Post, &event, connections as u64, limit)
    };
    tokio::task::spawn_blocking(commits).await.map_err(|e| e.to_string())?
}

/// What wrk sends.
fn script(folder: &Path) -> Result<PathBuf, String> {
    let path = folder.join("create.lua");
    let text = r#"wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"title":"A title of the benchmark"}'
"#;
    std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}
