//! Builds the images and runs them as the manifests say, as far as a container engine supports it. `cargo xtask
//! test-images` runs it.
//!
//! - [`engine`]: the container engine; [`manifest`]: the flags of each container, from the manifests.
//! - [`images`]: packs images and lists their files; [`another`]: containers with something wrong.
//! - [`checks`]: checks of the images themselves; [`report`]: the table of measurements.
//! - [`suite`]: the system tests, which start their own containers.
//!
//! It is a program instead of a test, since `cargo test` must not need a container engine.

mod another;
mod checks;
mod engine;
mod images;
mod manifest;
mod report;
mod suite;

use checks::{bad_input, contents, restrictions, starts, stops, volumes};
use clap::Parser;
use engine::Running;
use futures_util::future::join_all;
use manifest_tests::{render, tools};
use report::Row;
use shared::ServiceName;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use suite::Suite;
use system_tests::containers::Images;
use system_tests::containers::deployment::{Deployment, Storage, last_log_lines};
use system_tests::containers::engine::Engine;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};

/// The overlay whose images are built here.
const OVERLAY: &str = "dev";
/// The exit code of a failed check.
const FAILED: u8 = 1;
/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Builds the images, runs them as the manifests say, and tests them.
#[derive(Debug, Parser)]
#[command(name = "image-tests")]
struct Cli {
    /// Run only the system tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// The built programs of the system tests
    #[arg(value_name = "FILES")]
    programs: Vec<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // From the beginning, so that a signal never leaves anything behind.
    let stop = match [SignalKind::interrupt(), SignalKind::terminate()].map(signal) {
        [Ok(interrupt), Ok(terminate)] => [interrupt, terminate],
        [Err(e), _] | [_, Err(e)] => {
            eprintln!("cannot listen for signals: {e}");
            return ExitCode::FAILURE;
        }
    };
    let running = match Running::find() {
        Ok(running) => running,
        Err(why) => {
            println!("SKIPPED containers: no container engine: {why}");
            return ExitCode::SUCCESS;
        }
    };
    let Some(cluster) = render::overlay(OVERLAY) else {
        println!("SKIPPED containers: the manifests cannot be rendered");
        return ExitCode::SUCCESS;
    };
    let run = running.engine.run.clone();
    let images = Images { containers: manifest::containers(&cluster, &run), run };
    // Deleted only after the containers, which write into it.
    let folder = tempfile::Builder::new().prefix("mini-blog-images-").tempdir().expect("a folder");
    let tests = Tests { images, cli, folder: folder.path().to_owned() };
    let ended = LocalSet::new().run_until(to_its_end(running, tests, stop)).await;
    match ended {
        FAILED => {
            // Keeps the data of failed tests; removes the folder only if it is empty.
            let _ = std::fs::remove_dir(folder.keep());
        }
        INTERRUPTED => eprintln!("interrupted"),
        _ => {}
    }
    ExitCode::from(ended)
}

struct Tests {
    images: Images,
    cli: Cli,
    /// For the data of the system tests.
    folder: PathBuf,
}

/// Runs everything until its end or a signal; returns the exit code. Nothing is left behind.
async fn to_its_end(running: Running, tests: Tests, [mut interrupt, mut terminate]: [Signal; 2]) -> u8 {
    let engine = running.engine.clone();
    // A panic ends only that task, so that everything is cleaned up.
    let mut run = spawn_local(async move {
        let Tests { images, cli: Cli { filter, programs }, folder } = tests;
        pack(&engine, &images).await;
        if filter.is_none() {
            try_images(&engine, &images).await;
        }
        let suite = Suite {
            images: &images,
            host: engine.host.as_deref(),
            programs: &programs,
            filter: filter.as_deref(),
            folder: &folder,
        };
        step("the system tests", suite.holds()).await;
    });
    tokio::select! {
        ended = &mut run => return if ended.is_ok() { 0 } else { FAILED },
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    run.abort();
    // The clean-up needs the task to have ended.
    drop(run.await);
    INTERRUPTED
}

async fn pack(engine: &Engine, images: &Images) {
    let root = tools::root();
    step("the images' files are built", images::lay_out(root)).await;
    for (service, container) in &images.containers {
        step(&format!("{service}: packed"), images::pack(engine, root, *service, &container.image)).await;
    }
}

/// The checks of the images themselves, in order on one deployment: a start takes longer than most of them.
async fn try_images(engine: &Engine, images: &Images) {
    let containers = images.containers.clone();
    let deployment = Deployment::prepare(engine.clone(), &images.run, containers, Storage::Volumes).await;
    let words = LastWords(&deployment);
    let mut sizes = BTreeMap::new();
    for service in ServiceName::ALL {
        let looked_into = contents::are_the_program_and_nothing_else(&deployment, tools::root(), service);
        let size = step(&format!("{service}: one program and nothing else"), looked_into).await;
        sizes.insert(service, size);
    }
    let starts = step("all six start and become ready", starts::are_measured(&deployment)).await;
    step("unprivileged, on a read-only root, without a shell", restrictions::hold(&deployment)).await;
    step("one public port, and nothing private behind it", restrictions::leave_one_public_port(&deployment))
        .await;
    step("wrong settings are reported in one line", bad_input::is_named_in_one_line(&deployment)).await;
    step("a missing bus", bad_input::is_survived_where_only_the_bus_is_missing(&deployment)).await;
    step("posts and comments", volumes::are_filled(&deployment)).await;
    // Each measurement takes its time.
    let memory = ServiceName::ALL.map(|service| restrictions::memory(&deployment, service));
    let memory: BTreeMap<_, _> = ServiceName::ALL.into_iter().zip(join_all(memory).await).collect();
    step("replaced on the same volumes", volumes::outlive_the_containers(&deployment)).await;
    let stops = step("SIGTERM with open streams", stops::are_clean_and_in_time(&deployment)).await;
    let rows: Vec<_> = ServiceName::ALL
        .into_iter()
        .map(|service| Row {
            service,
            bytes: sizes[&service],
            start: starts[&service].0,
            own_start_ms: starts[&service].1,
            memory: memory[&service].clone(),
            stop: stops[&service],
        })
        .collect();
    println!("\n{}", report::table(&rows));
    drop(words);
    deployment.end();
}

/// Prints the last log lines of the containers if a check fails.
struct LastWords<'a>(&'a Deployment);

impl Drop for LastWords<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", last_log_lines(&self.0.all_logs()));
        }
    }
}

/// Prints what is checked, and how long it took.
async fn step<T>(what: &str, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    println!("==> {what}");
    let result = work.await;
    println!("    ok ({:.1} s)", begun.elapsed().as_secs_f64());
    result
}
