//! `kit::app::service::main` as a process: exit codes, messages and signals.
//!
//! Each test starts this very binary again as the service.

#![allow(clippy::disallowed_methods, reason = "tests use the runtime, its clock and threads directly")]

use axum::Router;
use axum::routing::get;
use kit::app::StartError;
use kit::app::config::PeerConfig;
use kit::app::service::{Service, main};
use kit::http::operator_only;
use kit::store::Store;
use shared::ServiceName;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitCode, Output, Stdio};

const SECRET: &str = "0123456789abcdef";

/// Not a test: the service that the tests start, if the variable is set.
#[test]
fn the_service() {
    let Ok(args) = std::env::var("KIT_TEST_ARGS") else { return };
    let args = std::iter::once("posts").chain(args.split_whitespace()).map(Into::into);
    let code = main(ServiceName::Posts, args, async |config: PeerConfig, deps, lifecycle| {
        Store::open(&config.store.data_dir, "posts", &[])
            .map_err(|error| StartError::Store(Box::new(error)))?;
        if std::env::var_os("KIT_TEST_CRASH").is_some() {
            lifecycle.spawn("relay", async { panic!("on purpose") });
        }
        let stuck = async || {
            tracing::info!("stuck");
            std::future::pending::<()>().await;
        };
        let guarded = Router::new().route("/guarded/{id}", get(async || "ok"));
        let guarded = operator_only(guarded, config.store.operator_token.clone());
        let router = Router::new().route("/stuck", get(stuck)).merge(guarded);
        Ok(Service::new(ServiceName::Posts, &config, router, deps, lifecycle))
    });
    let number = (0..=2).find(|n| ExitCode::from(*n) == code).unwrap_or(255);
    std::process::exit(number.into());
}

fn service(args: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "the_service", "--nocapture", "--test-threads=1"])
        .env_clear()
        .env("KIT_TEST_ARGS", args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn finished(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// Starts it and waits until it listens; returns the address.
fn listening(command: &mut Command) -> (Child, String, BufReader<impl Read + use<>>) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let line = until(&mut lines, "\"listening\"");
    // The test runner begins the line.
    let json: serde_json::Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    (child, json["address"].as_str().unwrap().to_owned(), lines)
}

/// Reads on to the line with this text.
fn until(lines: &mut impl BufRead, text: &str) -> String {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended without the line {text}");
    }
    line
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn without_a_secret_it_says_so_in_one_line_and_exits_with_2() {
    for empty in [false, true] {
        let mut command = service("");
        if empty {
            command.env("POSTS_SECRET", "").env("OPERATOR_TOKEN", "");
        }
        let (code, _, stderr) = finished(&mut command);
        assert_eq!(code, Some(2), "{stderr}");
        assert_eq!(
            stderr,
            "posts: --secret is missing: set POSTS_SECRET (at least 16 bytes), or start with --insecure to run without\n"
        );
    }
    let (code, _, stderr) = finished(service("").env("INSECURE", "0"));
    assert_eq!(code, Some(2), "{stderr}");
    let (code, _, stderr) = finished(service("").env("POSTS_SECRET", SECRET));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("OPERATOR_TOKEN"), "{stderr}");
}

#[test]
fn a_weak_secret_and_wrong_usage_exit_with_2_and_the_secret_is_not_repeated() {
    let (code, stdout, stderr) = finished(service("").env("POSTS_SECRET", "tooshort-15byte"));
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("at least 16 bytes"), "{stderr}");
    assert!(!stderr.contains("tooshort") && !stdout.contains("tooshort"), "{stderr}");
    let (code, _, stderr) = finished(&mut service("--nonsense"));
    assert_eq!(code, Some(2), "{stderr}");
}

#[test]
fn help_lists_every_setting_and_no_secret() {
    let (code, stdout, _) =
        finished(service("--help").env("POSTS_SECRET", SECRET).env("OPERATOR_TOKEN", SECRET));
    assert_eq!(code, Some(0));
    for text in [
        "--listen",
        "127.0.0.1:4000",
        "LISTEN",
        "DATA_DIR",
        "EVENT_BUS_URL",
        "POSTS_SECRET",
        "INSECURE",
        "LOG_FORMAT",
    ] {
        assert!(stdout.contains(text), "{text} is not in {stdout}");
    }
    assert!(!stdout.contains(SECRET), "{stdout}");
}

#[test]
fn what_keeps_it_from_starting_is_named_and_exits_with_1() {
    let (code, _, stderr) = finished(service("--data-dir /dev/null/data").env("INSECURE", "true"));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.starts_with("posts: cannot open the store: cannot use /dev/null/data: "), "{stderr}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let data = dir();
    let args = format!("--insecure --data-dir {} --listen {address}", data.path().display());
    let (code, _, stderr) = finished(&mut service(&args));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.starts_with(&format!("posts: cannot listen on {address}: ")), "{stderr}");
}

#[test]
fn signals_stop_it_cleanly() {
    for signal in ["-TERM", "-INT"] {
        let data = dir();
        let args = format!("--data-dir {} --listen 127.0.0.1:0", data.path().display());
        let mut command = service(&args);
        command.env("POSTS_SECRET", SECRET).env("OPERATOR_TOKEN", SECRET);
        let (mut child, _, mut lines) = listening(&mut command);
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("\"stopped\"") && !rest.contains("insecure"), "{rest}");
    }
}

#[test]
fn log_lines_name_the_client_of_each_request_and_refusal() {
    let data = dir();
    let mut command = service(&format!(
        "--data-dir {} --listen 127.0.0.1:0 --site-url http://posts.com --trusted-proxies 1",
        data.path().display()
    ));
    command.env("POSTS_SECRET", SECRET).env("OPERATOR_TOKEN", SECRET);
    let (mut child, address, mut lines) = listening(&mut command);
    let mut logged = |request: &str, message: &str| -> serde_json::Value {
        if !request.is_empty() {
            let mut client = std::net::TcpStream::connect(&address).unwrap();
            write!(client, "GET {request}\r\nX-Forwarded-For: 203.0.113.66, 198.51.100.7\r\n\r\n").unwrap();
            client.read_exact(&mut [0; 12]).unwrap();
        }
        serde_json::from_str(&until(&mut lines, message)).unwrap()
    };

    let line = logged("/guarded/7?secret=words HTTP/1.1\r\nHost: posts.com", "\"request\"");
    assert_eq!((&line["client"], &line["path"]), (&"198.51.100.7".into(), &"/guarded/7".into()), "{line}");
    assert_eq!((&line["route"], &line["status"]), (&"/guarded/{id}".into(), &401.into()), "{line}");
    assert!(!line.to_string().contains("words"), "{line}");
    let event = logged("", "\"request refused\"");
    assert_eq!((&event["target"], &event["level"]), (&"security".into(), &"WARN".into()), "{event}");
    assert_eq!(event["event"], "operator_token_refused", "{event}");
    assert_eq!((&event["client"], &event["path"]), (&line["client"], &line["path"]), "{event}");

    let long = format!("/{} HTTP/1.1\r\nHost: rebound.example", "x".repeat(1000));
    let line = logged(&long, "\"request\"");
    assert_eq!((line["path"].as_str().unwrap().len(), &line["status"]), (200, &421.into()), "{line}");
    assert_eq!(logged("", "\"request refused\"")["event"], "host_refused");
    send(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let data = dir();
    let args = format!("--insecure --data-dir {} --listen 127.0.0.1:0", data.path().display());
    let (mut child, address, mut lines) = listening(&mut service(&args));
    let mut stuck = std::net::TcpStream::connect(&address).unwrap();
    stuck.write_all(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    until(&mut lines, "\"stuck\"");
    let begun = std::time::Instant::now();
    send(&child, "-TERM");
    until(&mut lines, "\"stopping\"");
    send(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[test]
fn a_crashed_background_task_ends_it_with_1_and_is_logged_once() {
    let data = dir();
    let args = format!("--insecure --data-dir {} --listen 127.0.0.1:0", data.path().display());
    let (code, stdout, stderr) = finished(service(&args).env("KIT_TEST_CRASH", "1"));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.ends_with("posts: the background task relay crashed\n"), "{stderr}");
    assert_eq!(stdout.matches("a background task crashed").count(), 1, "{stdout}");
    assert_eq!(stdout.matches("\"panicked\"").count(), 1, "{stdout}");
    assert!(stdout.contains("on purpose") && stdout.contains("tests/process.rs"), "{stdout}");
    assert!(stdout.contains("insecure"), "{stdout}");
}
