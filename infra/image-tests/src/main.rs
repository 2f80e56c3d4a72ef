//! Builds the images and runs them as the manifests say: everything that a cluster would be told, as far as a
//! container engine understands it. `cargo xtask test-images` runs it.
//!
//! - [`engine`]: what runs containers; [`manifest`]: what the manifests say about each.
//! - [`images`]: packed, and looked into; [`another`]: containers with something wrong.
//! - [`checks`]: what is tried of the images themselves; [`report`]: the table of what was measured.
//! - [`suite`]: the tests of the system, which start containers of the images for themselves.
//!
//! It is a program and not a test of cargo's, since `cargo test` must not need a container engine.

mod another;
mod checks;
mod engine;
mod images;
mod manifest;
mod report;
mod suite;

use checks::{bad_input, contents, starts, stops, volumes, walls};
use clap::Parser;
use engine::Running;
use manifest_tests::{render, tools};
use report::Row;
use shared::ServiceName;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use system_tests::containers::Images;
use system_tests::containers::deployment::{Deployment, Storage, last_words};
use system_tests::containers::engine::Engine;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};

/// The overlay whose images are built here.
const OVERLAY: &str = "dev";
/// The exit code where something does not hold.
const FAILED: u8 = 1;
/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// The images are built, run as the manifests say, and tried.
#[derive(Debug, Parser)]
#[command(name = "image-tests")]
struct Cli {
    /// Only the tests of the system whose name contains this, and nothing else
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // Heard from the beginning, so that there is no moment at which something would be left behind.
    let stop = match [SignalKind::interrupt(), SignalKind::terminate()].map(signal) {
        [Ok(interrupt), Ok(terminate)] => [interrupt, terminate],
        [Err(e), _] | [_, Err(e)] => {
            eprintln!("signals cannot be heard: {e}");
            return ExitCode::FAILURE;
        }
    };
    let running = match Running::find() {
        Ok(running) => running,
        Err(why) => {
            println!("skipped: no container engine can be used because {why}");
            return ExitCode::SUCCESS;
        }
    };
    let Some(cluster) = render::overlay(OVERLAY) else {
        println!("skipped: the manifests cannot be rendered");
        return ExitCode::SUCCESS;
    };
    let run = running.engine.run.clone();
    let images = Images { containers: manifest::containers(&cluster, &run), run };
    // It goes only after the containers, which write into it.
    let folder = tempfile::Builder::new().prefix("mini-blog-images-").tempdir().expect("a folder");
    let tests = Tests { images, filter: cli.filter, folder: folder.path().to_owned() };
    let ended = LocalSet::new().run_until(to_its_end(running, tests, stop)).await;
    match ended {
        FAILED => {
            // What failing tests have left stays; where there is nothing, neither does the folder.
            let _ = std::fs::remove_dir(folder.keep());
        }
        INTERRUPTED => eprintln!("interrupted"),
        _ => {}
    }
    ExitCode::from(ended)
}

/// What is tried.
struct Tests {
    images: Images,
    /// Only the tests of the system whose name contains this.
    filter: Option<String>,
    /// Where these keep their data.
    folder: PathBuf,
}

/// Runs everything until its end or a signal; gives back the exit code. Nothing is left behind.
async fn to_its_end(running: Running, tests: Tests, [mut interrupt, mut terminate]: [Signal; 2]) -> u8 {
    let engine = running.engine.clone();
    // What panics there ends that task alone, so that everything is cleaned up.
    let mut run = spawn_local(async move {
        let Tests { images, filter, folder } = tests;
        pack(&engine, &images).await;
        if filter.is_none() {
            try_images(&engine, &images).await;
        }
        let suite = suite::holds(&images, engine.host.as_deref(), filter.as_deref(), &folder);
        step("the tests of the system", suite).await;
    });
    tokio::select! {
        ended = &mut run => return if ended.is_ok() { 0 } else { FAILED },
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    run.abort();
    // It has to have let go of everything before that can be taken away.
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

/// What is tried of the images themselves, on one deployment, in order: a start takes longer than most of it.
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
    step("nobody, on a root that is read-only, without a shell", walls::hold(&deployment)).await;
    step("one door, and nothing private behind it", walls::have_one_door(&deployment)).await;
    step("wrong settings are named in one line", bad_input::is_named_in_one_line(&deployment)).await;
    step("a missing bus", bad_input::is_survived_where_only_the_bus_is_missing(&deployment)).await;
    step("posts and comments", volumes::are_filled(&deployment)).await;
    let mut memory = BTreeMap::new();
    for service in ServiceName::ALL {
        memory.insert(service, walls::memory(&deployment, service).await);
    }
    step("made anew on the same volumes", volumes::outlive_the_containers(&deployment)).await;
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

/// What the containers said last is shown where something does not hold.
struct LastWords<'a>(&'a Deployment);

impl Drop for LastWords<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", last_words(&self.0.all_logs()));
        }
    }
}

/// Says what is tried, and how long it took.
async fn step<T>(what: &str, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    println!("==> {what}");
    let result = work.await;
    println!("    held ({:.1} s)", begun.elapsed().as_secs_f64());
    result
}
