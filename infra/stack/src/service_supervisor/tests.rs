//! Real processes: a shell script takes the place of the program.

use super::*;
use crate::labels::Writer;
use crate::plan::Plan;
use crate::secrets::Secrets;
use kit::runtime::deps::SystemIds;
use shared::ServiceName;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;
use test_support::processes::runs;

struct Bench {
    dir: TempDir,
    output: Output,
    _writer: Writer,
}

impl Bench {
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        let text = dir.path().join("text");
        std::fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o700)).unwrap();
        // Copied by another process: a file that this one has open for writing, even in a child that another test is just
        // forking, cannot be executed.
        assert!(std::process::Command::new("cp").arg(&text).arg(&program).status().unwrap().success());
        let (output, writer) = Output::to(std::io::sink(), false);
        Self { dir, output, _writer: writer }
    }

    /// How often the script has noted that it ran.
    fn runs(&self) -> usize {
        std::fs::read_to_string(self.dir.path().join("runs")).unwrap().lines().count()
    }

    fn keep(&self, start: bool) -> Handle {
        let launch = Launch {
            program: self.dir.path().join("program"),
            data_dir: self.dir.path().to_owned(),
            site_root: None,
            plan: Plan::course("127.0.0.1".parse().unwrap(), None, 1),
            secrets: Secrets::open(self.dir.path(), &SystemIds).unwrap().0,
            rate_limits: kit::http::RateLimits::On,
            databases: std::collections::BTreeMap::new(),
        };
        keep(
            ServiceName::Posts.into(),
            Arc::new(launch),
            self.output.clone(),
            start,
            CancellationToken::new(),
        )
    }
}

async fn until(handle: &Handle, what: impl Fn(&State) -> bool) -> State {
    for _ in 0..500 {
        if what(&handle.state()) {
            return handle.state();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 5 s: {:?}", handle.state());
}

/// For tests in which no time passes but that of the supervisor's own waits.
async fn until_changed(handle: &Handle, what: impl Fn(&State) -> bool) -> State {
    let mut handle = handle.clone();
    while !what(&handle.state()) {
        assert!(handle.state().restarts < 50, "it is restarted for ever");
        assert!(handle.changed().await, "the supervisor has ended");
    }
    handle.state()
}

fn pid(state: &State) -> Option<u32> {
    match state.phase {
        Phase::Running { pid, .. } => Some(pid),
        _ => None,
    }
}

#[tokio::test]
async fn what_dies_is_started_again() {
    let bench = Bench::new("exit 3");
    let handle = bench.keep(true);
    let state = until(&handle, |s| s.restarts >= 2).await;
    assert!(state.restarts >= 2);
}

#[tokio::test]
async fn what_is_killed_by_somebody_else_comes_back_as_another_process() {
    let bench = Bench::new("exec cat");
    let handle = bench.keep(true);
    let first = pid(&until(&handle, |s| pid(s).is_some()).await).unwrap();
    let raw = rustix::process::Pid::from_raw(first.cast_signed()).unwrap();
    rustix::process::kill_process(raw, rustix::process::Signal::KILL).unwrap();
    let state = until(&handle, |s| pid(s).is_some_and(|p| p != first)).await;
    assert_eq!(state.restarts, 1);
}

#[tokio::test]
async fn what_was_killed_on_order_stays_down_until_it_is_started() {
    let bench = Bench::new("exec cat");
    let handle = bench.keep(true);
    let first = pid(&until(&handle, |s| pid(s).is_some()).await).unwrap();
    assert!(handle.command(Action::Kill).await.unwrap().starts_with("killed "));
    assert_eq!(handle.state().phase, Phase::Stopped);
    assert!(!runs(first));
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(handle.state().phase, Phase::Stopped);
    assert!(handle.command(Action::Kill).await.unwrap().contains("was not running"));

    assert!(handle.command(Action::Start).await.unwrap().starts_with("started "));
    let second = pid(&handle.state()).unwrap();
    assert_ne!(first, second);
    assert!(handle.command(Action::Start).await.unwrap().contains("is already running"));
    assert_eq!(pid(&handle.state()), Some(second));
    assert_eq!(handle.state().restarts, 0, "what was ordered is not counted");
}

#[tokio::test]
async fn a_restart_lets_it_stop_by_itself_first() {
    let bench = Bench::new(
        "trap 'echo bye > \"$DATA_DIR/bye\"; exit 0' TERM\ntouch \"$DATA_DIR/up\"\nwhile :; do sleep 0.02; done",
    );
    let handle = bench.keep(true);
    let first = pid(&until(&handle, |s| pid(s).is_some()).await).unwrap();
    for _ in 0..500 {
        if bench.dir.path().join("up").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    handle.command(Action::Restart).await.unwrap();
    assert!(bench.dir.path().join("bye").exists());
    assert_ne!(pid(&handle.state()), Some(first));
    assert!(!runs(first));
}

#[tokio::test]
async fn wrong_settings_are_reported_at_once_and_not_tried_again() {
    let bench = Bench::new(
        "echo run >> \"$DATA_DIR/runs\"\necho 'posts: the first error' >&2\necho 'posts: RULES is wrong' >&2\n\
         echo 'a line of the log'\nexit 2",
    );
    let handle = bench.keep(true);
    let state = until(&handle, |s| s.phase == Phase::Failed).await;
    assert_eq!((state.restarts, state.last_error.as_deref()), (0, Some("posts: RULES is wrong")));
    assert_eq!(bench.runs(), 1);
    assert!(
        handle.command(Action::Start).await.unwrap().starts_with("started "),
        "by command it is tried again"
    );
    until(&handle, |s| s.phase == Phase::Failed).await;
    assert_eq!(bench.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_fails_at_every_start_is_reported_after_some_attempts() {
    let bench = Bench::new("echo run >> \"$DATA_DIR/runs\"\nexit 1");
    let handle = bench.keep(true);
    until_changed(&handle, |s| s.phase == Phase::Failed).await;
    assert_eq!(bench.runs(), crate::backoff::ATTEMPTS as usize);
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_a_moment_comes_up_by_itself() {
    let bench = Bench::new(
        "echo run >> \"$DATA_DIR/runs\"\n[ $(wc -l < \"$DATA_DIR/runs\") -gt 5 ] || exit 1\nexec cat",
    );
    let handle = bench.keep(true);
    let state = until_changed(&handle, |s| s.restarts == 5 && pid(s).is_some()).await;
    assert!(pid(&state).is_some_and(runs));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_restarted_while_the_stack_is_suspended() {
    let bench = Bench::new("echo run >> \"$DATA_DIR/runs\"\nexit 3");
    let handle = bench.keep(true);
    until_changed(&handle, |s| s.phase == Phase::BackingOff).await;
    handle.command(Action::Suspend).await.unwrap();
    let before = bench.runs();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.runs(), before);
    handle.command(Action::Resume).await.unwrap();
    until_changed(&handle, |s| s.restarts as usize >= before).await;
}

#[tokio::test]
async fn what_nobody_looks_after_any_more_is_stopped() {
    let bench = Bench::new("exec cat");
    let handle = bench.keep(true);
    let first = pid(&until(&handle, |s| pid(s).is_some()).await).unwrap();
    drop(handle);
    for _ in 0..500 {
        if !runs(first) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the service outlived its supervisor");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_said_and_tried_again() {
    let bench = Bench::new("");
    std::fs::remove_file(bench.dir.path().join("program")).unwrap();
    let handle = bench.keep(false);
    let said = handle.command(Action::Start).await.unwrap_err();
    assert!(said.starts_with("posts cannot be started"), "{said}");
    until(&handle, |s| s.restarts >= 1).await;
    assert!(handle.command(Action::Stop(Instant::now())).await.unwrap().contains("will not be restarted"));
    assert_eq!(until(&handle, |s| s.phase == Phase::Stopped).await.phase, Phase::Stopped);
}
