//! Builds the images and runs them as the manifests say: everything that a cluster would be told, as far as a
//! container engine understands it. `cargo xtask test-images` runs it.
//!
//! - [`engine`]: what runs containers; [`manifest`]: what the manifests say, as `docker run` is told it.
//! - [`images`]: packed, and looked into; [`deployment`]: the six containers, broken and made whole again.
//! - [`checks`]: what is tried; [`report`]: the table at the end.
//!
//! One run, one deployment, the checks in order: a start takes longer than most of them. It is a program and not a
//! test of cargo's, since `cargo test` must not need a container engine.

mod checks;
mod deployment;
mod engine;
mod images;
mod manifest;
mod report;

use checks::{bad_input, blog, browser, contents, faults, stops, walls};
use deployment::Deployment;
use engine::Engine;
use manifest_tests::{render, tools};
use report::Row;
use shared::ServiceName;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};

/// The overlay whose images are built here.
const OVERLAY: &str = "dev";
/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    // Heard from the beginning, so that there is no moment at which something would be left behind.
    let stop = match [SignalKind::interrupt(), SignalKind::terminate()].map(signal) {
        [Ok(interrupt), Ok(terminate)] => [interrupt, terminate],
        [Err(e), _] | [_, Err(e)] => {
            eprintln!("signals cannot be heard: {e}");
            return ExitCode::FAILURE;
        }
    };
    let engine = match Engine::find() {
        Ok(engine) => engine,
        Err(why) => {
            println!("skipped: no container engine can be started because {why}");
            return ExitCode::SUCCESS;
        }
    };
    let Some(cluster) = render::overlay(OVERLAY) else {
        println!("skipped: the manifests cannot be rendered");
        return ExitCode::SUCCESS;
    };
    let deployment = Deployment::prepare(engine, manifest::containers(&cluster)).await;
    let deployment = Rc::new(deployment);
    let ended = LocalSet::new().run_until(to_its_end(deployment.clone(), stop)).await;
    match ended {
        Ended::Held(rows) => {
            println!("\n{}", report::table(&rows));
            ExitCode::SUCCESS
        }
        Ended::Failed => {
            eprintln!("{}", deployment.last_words().await);
            ExitCode::FAILURE
        }
        Ended::Interrupted => {
            eprintln!("interrupted");
            ExitCode::from(INTERRUPTED)
        }
    }
}

/// How the checks came to their end.
enum Ended {
    Held(Vec<Row>),
    Failed,
    Interrupted,
}

async fn to_its_end(deployment: Rc<Deployment>, [mut interrupt, mut terminate]: [Signal; 2]) -> Ended {
    // What panics there ends that task alone, so that everything is cleaned up.
    let mut run = spawn_local(async move { run(&deployment).await });
    tokio::select! {
        ended = &mut run => return ended.map_or(Ended::Failed, Ended::Held),
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    run.abort();
    // It has to have let go of everything before that can be taken away.
    drop(run.await);
    Ended::Interrupted
}

async fn run(deployment: &Deployment) -> Vec<Row> {
    let root = tools::root();
    step("the images' files are built", images::lay_out(root)).await;
    let mut sizes = BTreeMap::new();
    for service in ServiceName::ALL {
        let image = deployment.image(service);
        step(&format!("{service}: packed"), images::pack(&deployment.engine, root, service, &image)).await;
        let looked_into = contents::are_the_program_and_nothing_else(deployment, root, service);
        let size = step(&format!("{service}: one program and nothing else"), looked_into).await;
        sizes.insert(service, size);
    }
    let starts = step("all six start and become ready", deployment.launch_all()).await;
    let mut own_starts = BTreeMap::new();
    for service in ServiceName::ALL {
        own_starts.insert(service, deployment.own_start(service).await);
    }
    step("nobody, on a root that is read-only, without a shell", walls::hold(deployment)).await;
    step("one door, and nothing private behind it", walls::have_one_door(deployment)).await;
    step("posts, comments and both verdicts", blog::takes_posts_and_comments(deployment)).await;
    step("plain forms", blog::takes_plain_forms(deployment)).await;
    step("a browser with script", browser::writes_with_script(deployment)).await;
    step("a browser without script", browser::writes_without_script(deployment)).await;
    step("wrong settings are named in one line", bad_input::is_named_in_one_line(deployment)).await;
    step("a missing bus", bad_input::is_survived_where_only_the_bus_is_missing(deployment)).await;
    let mut memory = BTreeMap::new();
    for service in ServiceName::ALL {
        memory.insert(service, walls::memory(deployment, service).await);
    }
    step("each killed under writes", faults::lose_nothing(deployment)).await;
    step("made anew on the same volumes", faults::leave_the_volumes(deployment)).await;
    let stops = step("SIGTERM with open streams", stops::are_clean_and_in_time(deployment)).await;
    ServiceName::ALL
        .into_iter()
        .map(|service| Row {
            service,
            bytes: sizes[&service],
            start: starts[&service],
            own_start_ms: own_starts[&service],
            memory: memory[&service].clone(),
            stop: stops[&service],
        })
        .collect()
}

/// Says what is tried, and how long it took.
async fn step<T>(what: &str, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    println!("==> {what}");
    let result = work.await;
    println!("    held ({:.1} s)", begun.elapsed().as_secs_f64());
    result
}
