//! Runs the hot paths, for a counter of instructions to watch. `cargo xtask instructions` runs it in callgrind.
//!
//! Each path runs a few times to warm up and then a fixed number of times. [`mark`] calls a function of the C library
//! that nothing else calls, where callgrind writes down what it has counted: before a path and after it. The standard
//! error then lists the paths in this order, with how often each has run.
//!
//! Everything is in this process: services get their requests without a socket, but the website asks query over TCP, as
//! it always does. The clock stands still, and ids count up. What remains from run to run are the seeds of hash maps and
//! the turns of threads: two percent at most.

mod inputs;
mod paths;
mod world;

use std::process::ExitCode;
use tokio::runtime::Builder;

/// How often each path runs before it counts: caches are full then, and what is made once is made.
const WARM_UP: usize = 2;

/// A place that callgrind notices: `--dump-before=getppid`.
fn mark() {
    let _ = std::os::unix::process::parent_id();
}

/// Runs a path between two marks, and names it.
async fn count(name: &str, runs: usize, mut path: impl AsyncFnMut()) {
    for _ in 0..WARM_UP {
        path().await;
    }
    mark();
    for _ in 0..runs {
        path().await;
    }
    mark();
    eprintln!("{runs} {name}");
}

fn main() -> ExitCode {
    // Log lines are part of what a request costs.
    kit::app::telemetry::init(Some(kit::app::config::LogFormat::Json));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(paths::count_all());
    ExitCode::SUCCESS
}
