//! Durable creates: each answer means that the post is on disk.

use super::figures::{Better, Row};
use super::raw_disk::{RawStore, Rows};
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
    let raw = RawStore::create(bench.folder(), Rows::Post, EVENT_BYTES)?;
    let (mut figures, mut ceilings) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let load = Load { url: &url, connections, seconds: bench.seconds(), script: Some(script) };
        figures.push(load.run().await?);
        // What the other services still do with these posts must not count against the next measurement.
        until_caught_up(stack).await?;
        // The same rows, as many in a commit as there are connections: one commit for all that wait.
        ceilings.push(raw.commits(connections as u64, bench.raw_time()).await?);
    }
    let what = if connections == 1 { "raw SQLite, 1 post a commit" } else { "raw SQLite, group commit" };
    Ok(Row::new(name, UNIT, Better::Higher, figures).with_ceiling(what, ceilings))
}

/// What wrk sends.
pub fn script(folder: &Path) -> Result<PathBuf, String> {
    let path = folder.join("create.lua");
    let text = r#"wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"title":"A title of the benchmark"}'
"#;
    std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}
