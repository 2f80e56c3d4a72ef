//! The real program: started, broken and stopped as a person would.

use mini_blog::state_file::{self, StackFile};
use rustix::process::Signal;
use shared::ServiceName;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::time::Instant;
use tempfile::TempDir;
use test_support::processes::{self, runs, send};
use test_support::{LIMIT, eventually_blocking};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mini-blog");

/// A running `mini-blog up`, ended with the test.
struct Up {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    data: PathBuf,
}

impl Up {
    /// The services on free ports; the site has tests of its own.
    fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    fn start_with(data: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_as(data, &[], environment)
    }

    fn start_as(data: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["up", "--ports", "free", "--without", "frontend", "--data-dir"])
            .arg(data)
            .args(flags)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Self { child, lines, seen: Vec::new(), data: data.to_owned() }
    }

    fn ready(data: &Path) -> Self {
        let mut up = Self::start(data);
        up.wait_for_line("mini-blog is ready");
        up
    }

    fn wait_for_line(&mut self, text: &str) {
        let until = Instant::now() + LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return,
                Ok(line) => self.seen.push(line),
                Err(e) => panic!("no line with {text:?} ({e}); there were\n{}", self.seen.join("\n")),
            }
        }
    }

    fn file(&self) -> StackFile {
        state_file::read(&self.data).expect("stack.json exists while the stack runs")
    }

    fn pid(&self, service: ServiceName) -> Option<u32> {
        self.file().services.get(&service.into()).and_then(|s| s.pid)
    }

    fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    fn exit_code(&mut self) -> Option<i32> {
        eventually_blocking("it ends", || self.child.try_wait().unwrap()).code()
    }

    fn services(&self) -> Vec<u32> {
        self.file().services.values().filter_map(|s| s.pid).collect()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    eventually_blocking(what, || is_so().then_some(()));
}

fn mini_blog(data: &Path, args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).arg("--data-dir").arg(data).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8(output.stderr.clone()).unwrap()
}

/// The row of a service in `mini-blog status`.
fn row(data: &Path, service: &str) -> String {
    let text = said(&mini_blog(data, &["status"]));
    text.lines()
        .find(|l| l.starts_with(service))
        .unwrap_or_else(|| panic!("no {service} in\n{text}"))
        .to_owned()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_whole_day_of_a_stack() {
    let dir = folder();
    let data = dir.path().join("data");
    let mut up = Up::ready(&data);
    let secrets = data.join("secrets.env");
    let text = std::fs::read_to_string(&secrets).unwrap();
    assert_eq!(std::fs::metadata(&secrets).unwrap().permissions().mode() & 0o777, 0o600);
    let value = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).unwrap()[1..].to_owned();
    assert!(up.seen.iter().all(|line| !line.contains(&value("POSTS_SECRET"))), "no secret is ever printed");

    let file = up.file();
    assert!(file.ready && file.services[&ServiceName::Frontend.into()].pid.is_none());
    assert_eq!(file.pid, up.child.id());
    let environment = |service| {
        let bytes = std::fs::read(format!("/proc/{}/environ", up.pid(service).unwrap())).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    assert!(environment(ServiceName::Posts).contains(&value("POSTS_SECRET")));
    assert!(
        !environment(ServiceName::Posts).contains(&value("QUERY_SECRET")),
        "each knows its own secret alone"
    );

    assert!(row(&data, "comments").contains("running"));
    assert!(row(&data, "frontend").contains("stopped"));
    eventually("the status lists the subscribers", || {
        let status = said(&mini_blog(&data, &["status"]));
        status.contains("SUBSCRIBER") && status.lines().filter(|l| l.starts_with("query")).count() == 2
    });

    // A second one is refused, and the first one does not notice.
    let second = mini_blog(&data, &["up", "--ports", "free", "--without", "frontend"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(said(&second).contains("a stack is already running on"), "{}", said(&second));

    let first_pid = up.pid(ServiceName::Comments).unwrap();
    let killed = mini_blog(&data, &["kill", "comments"]);
    assert!(killed.status.success() && said(&killed).contains("killed comments"), "{}", said(&killed));
    assert!(!runs(first_pid));
    assert!(row(&data, "comments").contains("stopped"));

    let started = mini_blog(&data, &["start", "comments"]);
    assert!(started.status.success() && said(&started).contains("ready"), "{}", said(&started));
    assert!(row(&data, "comments").contains("running"));

    let before = up.pid(ServiceName::Query).unwrap();
    let restarted = mini_blog(&data, &["restart", "query"]);
    assert!(restarted.status.success(), "{}", said(&restarted));
    assert!(!runs(before));

    let services = up.services();
    assert_eq!(services.len(), 5);
    up.signal(Signal::INT);
    assert_eq!(up.exit_code(), Some(0));
    assert!(services.iter().all(|&pid| !runs(pid)), "nothing is left running");
    assert!(!data.join("stack.json").exists() && !data.join("control.sock").exists());
    assert_eq!(std::fs::read_to_string(&secrets).unwrap(), text);
}

#[test]
fn what_dies_comes_back_by_itself() {
    let dir = folder();
    let up = Up::ready(dir.path());
    let first = up.pid(ServiceName::Posts).unwrap();
    send(first, Signal::KILL);
    eventually("posts is another process", || up.pid(ServiceName::Posts).is_some_and(|pid| pid != first));
    eventually("posts is ready and has one restart", || {
        let row = row(dir.path(), "posts");
        let cells: Vec<_> = row.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
        cells[1] == "running" && cells[4] == "1" && cells[5] == "yes"
    });
}

#[test]
fn services_do_not_outlive_a_supervisor_that_was_killed() {
    for suspended in [false, true] {
        let dir = folder();
        let mut up = Up::ready(dir.path());
        let services = up.services();
        assert!(services.iter().all(|&pid| runs(pid)));
        if suspended {
            up.signal(Signal::TSTP);
            eventually("the supervisor stands still", || processes::state(up.child.id()) == Some('T'));
        }
        up.signal(Signal::KILL);
        up.exit_code();
        eventually("all services have ended", || services.iter().all(|&pid| !runs(pid)));
    }
}

#[test]
fn a_stack_starts_again_at_once_where_the_last_one_was_killed() {
    let dir = folder();
    let mut up = Up::ready(dir.path());
    up.signal(Signal::KILL);
    up.exit_code();
    let mut again = Up::ready(dir.path());
    again.signal(Signal::TERM);
    assert_eq!(again.exit_code(), Some(0));
}

#[test]
fn ctrl_z_suspends_the_whole_stack_and_fg_resumes_it() {
    let dir = folder();
    let mut up = Up::ready(dir.path());
    let services = up.services();
    assert_eq!(services.len(), 5);
    let stands_still = |pid| processes::state(pid) == Some('T');

    up.signal(Signal::TSTP);
    eventually("the supervisor stands still", || stands_still(up.child.id()));
    eventually("so do the services, and no pipe fills", || services.iter().all(|&pid| stands_still(pid)));

    up.signal(Signal::CONT);
    eventually("every service runs", || services.iter().all(|&pid| runs(pid) && !stands_still(pid)));
    assert!(row(dir.path(), "posts").contains("running"));
    assert_eq!(up.services(), services, "the same processes");

    // A stop reaches a stack that is suspended as soon as it is resumed.
    up.signal(Signal::TSTP);
    eventually("the supervisor stands still again", || stands_still(up.child.id()));
    up.signal(Signal::TERM);
    up.signal(Signal::CONT);
    assert_eq!(up.exit_code(), Some(0), "nothing had to be killed");
}

#[test]
fn a_service_that_cannot_start_is_reported_and_the_others_go_on() {
    let dir = folder();
    let mut up = Up::start_with(dir.path(), &[("RULES", "/no/such/rules.json")]);
    up.wait_for_line("mini-blog start moderation");
    let status = said(&mini_blog(dir.path(), &["status"]));
    assert!(status.contains("moderation has failed: moderation: cannot use the rules"), "{status}");
    assert!(row(dir.path(), "moderation").contains("failed"), "{status}");
    eventually("the others are ready", || {
        ["posts", "comments", "query", "event-bus"].iter().all(|s| row(dir.path(), s).contains("yes"))
    });
    let started = mini_blog(dir.path(), &["start", "moderation"]);
    assert_eq!(started.status.code(), Some(1), "{}", said(&started));
    assert!(said(&started).contains("/no/such/rules.json"), "{}", said(&started));
}

#[test]
fn without_a_stack_commands_say_so() {
    let dir = folder();
    for args in [&["status"][..], &["kill", "posts"], &["start", "posts"], &["restart", "posts"]] {
        let output = mini_blog(dir.path(), args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(said(&output).contains("no stack is running on"), "{}", said(&output));
    }
    assert_eq!(mini_blog(dir.path(), &["kill", "bus"]).status.code(), Some(2));
}

#[test]
fn a_service_alone_takes_its_own_flags_and_refuses_to_run_without_secrets() {
    for service in ServiceName::ALL {
        let help = Command::new(PROGRAM).args([service.as_str(), "--help"]).output().unwrap();
        assert!(help.status.success());
        assert!(said(&help).contains("--listen") && said(&help).contains("LOG_FORMAT"), "{}", said(&help));
    }
    let dir = folder();
    let posts = mini_blog(dir.path(), &["posts"]);
    assert_eq!(posts.status.code(), Some(2));
    assert!(said(&posts).contains("POSTS_SECRET"), "{}", said(&posts));
}

/// Sends a request to a process of the stack; returns the status and the body.
fn send_to(url: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let answer = test_support::raw::Answer::parse(&answer);
    (answer.status, answer.body)
}

#[test]
fn two_processes_of_each_service_share_a_database_and_one_may_die() {
    if servers::testing::postgres_database("only to see whether a server can run").is_none() {
        return;
    }
    let dir = folder();
    servers::Account::for_postgres().unwrap().admit(dir.path()).unwrap();
    let data = dir.path().join("data");
    let flags = ["--engine", "postgres", "--replicas", "2"];
    let mut up = Up::start_as(&data, &flags, &[]);
    up.wait_for_line("mini-blog is ready");
    let url = |up: &Up, name: &str| up.file().services[&name.parse().unwrap()].url.clone();

    let (status, post) = send_to(&url(&up, "posts/1"), "POST", "/posts/create", r#"{"title": "shared"}"#);
    assert_eq!(status, 201, "{post}");
    let id = post.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let comments = format!("/posts/{id}/comments");
    let comment =
        |url: &str, text: &str| send_to(url, "POST", &comments, &format!(r#"{{"content": "{text}"}}"#)).0;
    let seen = |up: &Up, texts: &[&str]| {
        for query in ["query/1", "query/2"] {
            eventually(&format!("{query} has {texts:?}"), || {
                let (_, body) = send_to(&url(up, query), "GET", &format!("/query/posts/{id}"), "");
                texts.iter().all(|text| body.contains(text)) && !body.contains("pending")
            });
        }
    };
    let second = url(&up, "comments/2");
    eventually("the post is known to comments", || comment(&second, "first") == 201);
    seen(&up, &["first"]);

    let kill = |name: &str| {
        let killed = mini_blog(&data, &["kill", name]);
        assert!(said(&killed).contains(&format!("killed {name}")), "{}", said(&killed));
        assert!(row(&data, name).contains("stopped"));
    };
    let start = |name: &str| {
        let started = mini_blog(&data, &["start", name]);
        assert!(started.status.success(), "{}", said(&started));
    };
    let texts: Vec<_> = (10..30).map(|number| format!("text {number}")).collect();
    std::thread::scope(|scope| {
        // The next comment is sent when the last one has been received here: some before each death, and some after.
        let (written, writes) = sync_channel(0);
        let (texts, second) = (&texts, &second);
        scope.spawn(move || texts.iter().try_for_each(|text| written.send(comment(second, text))));
        for name in ["comments/1", "event-bus/1"] {
            assert_eq!(writes.recv(), Ok(201));
            kill(name);
        }
        assert!(writes.iter().all(|status| status == 201));
    });
    let texts: Vec<_> = texts.iter().map(String::as_str).chain(["first"]).collect();
    seen(&up, &texts);
    assert!(row(&data, "comments/2").contains("running"));
    let ambiguous = said(&mini_blog(&data, &["kill", "comments"]));
    assert!(ambiguous.contains("comments/1, comments/2"), "{ambiguous}");
    assert!(said(&mini_blog(&data, &["dead-letters"])).contains("No dead letters."));

    // Whichever bus delivered, the other one takes over.
    for name in ["comments/1", "event-bus/1"] {
        start(name);
    }
    kill("event-bus/2");
    assert_eq!(comment(&url(&up, "comments/1"), "second"), 201);
    seen(&up, &["second"]);
    eventually("the status lists the subscribers, with nothing left to apply", || {
        let status = said(&mini_blog(&data, &["status"]));
        let subscribers = status.lines().skip_while(|line| !line.starts_with("SUBSCRIBER")).skip(1);
        let lags: Vec<_> = subscribers.map_while(|line| line.split_whitespace().nth(1)).collect();
        lags == ["0"; 5]
    });
    let seeded = mini_blog(&data, &["seed", "--posts", "2", "--comments", "5"]);
    // A post and 22 comments, each with a verdict and what comes of it, and what was seeded.
    let events = 1 + 3 * 22 + 2 + 3 * 5;
    assert!(said(&seeded).contains(&format!("the log has {events} events")), "{}", said(&seeded));

    // Killed as a whole, it comes back with everything.
    let database = up.file().database.unwrap();
    let all: Vec<_> = up.services().into_iter().chain([database]).collect();
    assert_eq!(all.len(), 10, "two of each but the site, without the bus that was killed, and the server");
    drop(up);
    eventually("nothing is left running", || all.iter().all(|&pid| !runs(pid)));
    let log = std::fs::read_to_string(data.join("postgres/postgres.log")).unwrap();
    assert!(log.trim_end().ends_with("database system is shut down"), "{log}");
    let mut up = Up::start_as(&data, &flags, &[]);
    up.wait_for_line("mini-blog is ready");
    seen(&up, &texts);
    let database = up.file().database.unwrap();
    up.signal(Signal::INT);
    assert_eq!(up.exit_code(), Some(0));
    assert!(!runs(database), "the server is stopped");

    let other = said(&mini_blog(&data, &["up", "--ports", "free", "--without", "frontend"]));
    assert!(other.contains("start with --engine postgres"), "{other}");
}

#[test]
fn replicas_need_a_database_that_they_can_share() {
    let dir = folder();
    let refused =
        mini_blog(dir.path(), &["up", "--ports", "free", "--without", "frontend", "--replicas", "2"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("--replicas 2 needs --engine postgres"), "{}", said(&refused));
}
