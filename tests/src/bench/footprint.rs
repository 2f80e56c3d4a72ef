//! Memory, the start, and the sizes of what is shipped.

use super::bare::Bare;
use super::figures::{Better, Row};
use super::machine::pss_mib;
use super::run::Bench;
use crate::program;
use crate::stack::{Setup, Stack};
use axum::body::Bytes;
use shared::ServiceName;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Starts a stack with an empty folder until the front door answers with the home page, again in each round; returns the last.
pub async fn start(bench: &Bench, setup: &Setup) -> (Row, Stack) {
    eprintln!("bench: start to first answer");
    let (mut figures, mut ceilings) = (Vec::new(), Vec::new());
    loop {
        let begun = Instant::now();
        let stack = setup.clone().start().await;
        stack.front_door().get("/").send().await.expect(200);
        figures.push(begun.elapsed().as_secs_f64() * 1e3);
        let page = [("text/html".to_owned(), Bytes::from_static(b"<p>"))];
        match Bare::start(bench.folder(), &page).await {
            Ok(bare) => ceilings.push(bare.started_in * 1e3),
            Err(why) => eprintln!("bench: {why}"),
        }
        if figures.len() >= bench.rounds() {
            let row = Row::new("start to first answer", "ms", Better::Lower, figures);
            return (row.with_ceiling("bare axum, one process", ceilings), stack);
        }
    }
}

/// A row for each process, and one for all of them.
pub fn memory(stack: &Stack, when: &str) -> Vec<Row> {
    let row = |name: &str, mib: Option<f64>| {
        let name = format!("memory {when}, {name}");
        match mib {
            Some(mib) => Row::new(name, "MiB", Better::Lower, vec![mib]),
            None => Row::skipped(name, "MiB", Better::Lower, "/proc shows no Pss of it"),
        }
    };
    let supervisor = stack.supervisor().map(|pid| ("mini-blog up".to_owned(), pid));
    let services = stack.pids().into_iter().map(|(service, pid)| (service.to_string(), pid));
    let found: Vec<_> = services.chain(supervisor).map(|(name, pid)| (name, pss_mib(pid))).collect();
    let sum = found.iter().map(|(_, mib)| *mib).sum::<Option<f64>>();
    let mut rows: Vec<_> = found.iter().map(|(name, mib)| row(name, *mib)).collect();
    rows.push(row(&format!("all {} processes", ServiceName::ALL.len() + 1), sum));
    rows
}

/// What a machine and what a reader downloads.
pub fn sizes() -> Vec<Row> {
    let program = program::path();
    let pkg = program.with_file_name("site").join("pkg");
    let mut rows = vec![size("size of the program mini-blog", &program)];
    for (name, ends) in [("wasm", ".wasm.br"), ("script", ".js.br"), ("style", ".css.br")] {
        let entries = fs::read_dir(&pkg).into_iter().flatten().filter_map(Result::ok).map(|e| e.path());
        let file = entries.into_iter().find(|path| path.to_string_lossy().ends_with(ends));
        let name = format!("size of the {name}, brotli");
        let missing = || format!("{} has no file {ends}", pkg.display());
        let row = file.map(|file| size(&name, &file));
        rows.push(row.unwrap_or_else(|| Row::skipped(name, "kB", Better::Lower, missing())));
    }
    rows
}

fn size(name: &str, file: &Path) -> Row {
    match fs::metadata(file) {
        Ok(found) => Row::new(name, "kB", Better::Lower, vec![found.len() as f64 / 1e3]),
        Err(e) => Row::skipped(name, "kB", Better::Lower, format!("{}: {e}", file.display())),
    }
}
