//! Reads: JSON at query and through the front door, and the pages.

use super::bare::Bare;
use super::figures::{Better, Row};
use super::run::Bench;
use super::wrk::Load;
use crate::http::Server;
use crate::stack::Stack;
use axum::body::Bytes;
use shared::ServiceName::Query;

/// Enough for both cores to be busy.
const CONNECTIONS: usize = 64;
const UNIT: &str = "req/s";
const CEILING: &str = "bare axum, same bytes";

/// What is read: the name of the row, the server, and the path.
fn targets(stack: &Stack, post: &str) -> Vec<(String, Server, String)> {
    let json =
        [("GET /posts", "/posts".to_owned()), ("GET /query/posts/:id", format!("/query/posts/{post}"))];
    let pages = [("page of all posts", "/".to_owned()), ("page of a post", format!("/p/{post}"))];
    let mut all = Vec::new();
    for (name, path) in json {
        all.push((format!("{name}, direct"), stack.at(Query).clone(), path.clone()));
        all.push((format!("{name}, front door"), stack.front_door().clone(), path));
    }
    all.extend(pages.map(|(name, path)| (name.to_owned(), stack.front_door().clone(), path)));
    all
}

pub async fn rows(bench: &Bench, stack: &Stack, post: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, server, path) in targets(stack, post) {
        eprintln!("bench: {name}");
        rows.push(match row(bench, &name, &server, &path).await {
            Ok(row) => row,
            Err(why) => Row::skipped(name, UNIT, Better::Higher, why),
        });
    }
    rows
}

/// Both halves of each round run one after the other, so that what else the machine does falls on both.
async fn row(bench: &Bench, name: &str, server: &Server, path: &str) -> Result<Row, String> {
    let answer = server.get(path).try_send().await?;
    if answer.status != 200 {
        return Err(format!("it answers {}", answer.status));
    }
    let (media, size) = (answer.header("content-type").to_owned(), answer.body.len());
    let bare = Bare::start(bench.folder(), &[(media, Bytes::clone(&answer.body))]).await?;
    let load = |url| Load { url, connections: CONNECTIONS, seconds: bench.seconds(), script: None };
    let (real, ceiling) = (format!("{}{path}", server.url), format!("{}/0", bare.url));
    let (mut figures, mut ceilings) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        figures.push(load(&real).run().await?);
        ceilings.push(load(&ceiling).run().await?);
    }
    let name = format!("{name} ({:.1} kB)", size as f64 / 1e3);
    Ok(Row::new(name, UNIT, Better::Higher, figures).with_ceiling(CEILING, ceilings))
}
