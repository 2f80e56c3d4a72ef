//! A real PostgreSQL server: how it is set up, how it ends, and how it comes back.

use servers::postgres::{Client, Postgres, Programs, Settings};
use servers::testing::{postgres_database, postgres_server};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use test_support::{eventually_blocking, processes};

/// Runs a statement as whom the URL names.
fn run(url: &str, sql: &str) -> Result<String, String> {
    let psql = Programs::find(Path::new("/nonexistent")).expect("a server runs").psql();
    Client::new(psql, url).run(sql).map_err(|e| e.to_string())
}

#[test]
fn what_is_acknowledged_is_on_disk_and_only_this_machine_connects() {
    // The thread that starts a server may end before it.
    let started = std::thread::spawn(|| postgres_server(&[("shared_buffers", "16MB")]));
    let Some(server) = started.join().unwrap() else { return };
    let value = |name: &str| run(&server.url("postgres"), &format!("SHOW {name}")).unwrap();
    for name in ["fsync", "synchronous_commit", "full_page_writes", "data_checksums"] {
        assert_eq!(value(name), "on", "{name}");
    }
    assert_eq!(value("listen_addresses"), "127.0.0.1");
    assert_eq!(value("unix_socket_directories"), "");
    assert_eq!(value("max_connections"), "200");
    assert_eq!(value("shared_buffers"), "16MB");
    assert_eq!(value("password_encryption"), "scram-sha-256");
    let sql = "SELECT datcollate, datctype, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'postgres'";
    assert_eq!(run(&server.url("postgres"), sql).unwrap(), "C\tC\tUTF8");
    let (url, port) = (server.url("postgres"), server.port());
    let stranger = format!("postgres://postgres:wrong@127.0.0.1:{port}/postgres");
    assert!(run(&stranger, "SELECT 1").unwrap_err().contains("password authentication failed"));
    assert!(!url.contains("wrong"));
}

#[test]
fn each_database_is_its_roles_alone() {
    let (Some(one), Some(other)) = (postgres_database("one"), postgres_database("one")) else { return };
    assert_ne!(one, other);
    run(&one, "CREATE TABLE t (n BIGINT); INSERT INTO t VALUES (1)").unwrap();
    assert!(run(&other, "SELECT n FROM t").unwrap_err().contains("does not exist"));
    let database = one.rsplit_once('/').unwrap().1;
    let intruder = format!("{}/{database}", other.rsplit_once('/').unwrap().0);
    assert!(run(&intruder, "SELECT 1").unwrap_err().contains("permission denied"));
}

#[test]
fn a_database_that_exists_keeps_its_rows_and_gets_the_new_password() {
    let Some(server) = postgres_server(&[]) else { return };
    let before = server.create_database("kept").unwrap();
    run(&before, "CREATE TABLE t (n BIGINT)").unwrap();
    let after = server.create_database("kept").unwrap();
    assert_ne!(before, after);
    run(&after, "SELECT * FROM t").unwrap();
    assert!(run(&before, "SELECT 1").unwrap_err().contains("password"));
}

#[test]
fn it_comes_back_on_its_port_with_what_was_committed() {
    let Some(mut server) = postgres_server(&[]) else { return };
    let (url, port) = (server.url("postgres"), server.port());
    run(&url, "CREATE TABLE t (n BIGINT); INSERT INTO t VALUES (1)").unwrap();
    let pid = server.pid().unwrap();
    server.kill();
    assert!(!processes::runs(pid) && server.pid().is_none());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    server.restart().unwrap();
    assert_eq!(run(&url, "INSERT INTO t VALUES (2); SELECT sum(n) FROM t").unwrap(), "3");
    assert!(server.stop());
    server.restart().unwrap();
    assert_eq!(server.port(), port);
    assert_eq!(run(&url, "SELECT sum(n) FROM t").unwrap(), "3");
    let log = fs::read_to_string(server.log()).unwrap();
    assert!(
        log.contains("database system was interrupted") && log.contains("database system is shut down"),
        "{log}"
    );
}

#[test]
fn a_paused_one_answers_when_it_is_resumed() {
    let Some(server) = postgres_server(&[]) else { return };
    let url = server.url("postgres");
    let mut waiting = Command::new(Programs::find(Path::new("/nonexistent")).unwrap().psql())
        .args(["--no-psqlrc", &url, "--command", "SELECT pg_sleep(0.5), 'done'"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    eventually_blocking("the statement runs", || run(&url, sleeping).unwrap() == "1");
    server.pause();
    let mut children =
        fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.pid().unwrap())).unwrap();
    children.push_str(&server.pid().unwrap().to_string());
    // One that has just ended is not collected while the server is stopped.
    let stands_still = |pid: &str| matches!(processes::state(pid.parse().unwrap()), Some('T' | 'Z'));
    eventually_blocking("all of its processes stand still", || children.split_whitespace().all(stands_still));
    server.resume();
    let mut printed = String::new();
    waiting.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(waiting.wait().unwrap().success() && printed.contains("done"), "{printed}");
}

#[test]
fn a_synchronous_standby_has_what_was_acknowledged() {
    let Some(mut primary) = postgres_server(&[]) else { return };
    let standby = primary.start_standby(Settings::temporary(), "standby").unwrap();
    primary.configure("synchronous_standby_names", "standby").unwrap();
    let state = "SELECT sync_state FROM pg_stat_replication";
    eventually_blocking("it is synchronous", || run(&primary.url("postgres"), state).unwrap() == "sync");
    run(&primary.url("postgres"), "CREATE TABLE t (n BIGINT); INSERT INTO t VALUES (1)").unwrap();
    let refused = run(&standby.url("postgres"), "INSERT INTO t VALUES (2)").unwrap_err();
    assert!(refused.contains("read-only"), "{refused}");
    primary.kill();
    standby.promote().unwrap();
    assert_eq!(run(&standby.url("postgres"), "INSERT INTO t VALUES (2); SELECT sum(n) FROM t").unwrap(), "3");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    if postgres_database("only to see whether a server can run").is_none() {
        return;
    }
    let error = Postgres::start(Settings::temporary().port(port)).unwrap_err().to_string();
    assert!(error.contains("Address already in use"), "{error}");
}

/// Set in the process that this test starts and kills.
const PARENT: &str = "SERVERS_TEST_PARENT";

#[test]
fn it_ends_cleanly_with_its_parent_even_if_that_is_killed() {
    if let Some(folder) = env::var_os(PARENT) {
        let folder = PathBuf::from(folder);
        let kept = Postgres::start(Settings::new(folder.join("kept"))).unwrap();
        let scratch = Postgres::start(Settings::new(folder.join("scratch")).scratch()).unwrap();
        // A paused one must end, too.
        scratch.pause();
        println!("\npids {} {}", kept.pid().unwrap(), scratch.pid().unwrap());
        loop {
            std::thread::sleep(Duration::from_secs(60));
        }
    }
    if postgres_database("only to see whether a server can run").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    servers::Account::for_postgres().unwrap().admit(folder.path()).unwrap();
    let mut parent = Command::new(env::current_exe().unwrap())
        .args(["--exact", "it_ends_cleanly_with_its_parent_even_if_that_is_killed", "--nocapture"])
        .env(PARENT, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let pids =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("pids ").map(str::to_owned)).unwrap();
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| processes::runs(*pid)));
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually_blocking("both servers have ended", || pids.iter().all(|pid| !processes::runs(*pid)));
    eventually_blocking("the temporary one is removed", || !folder.path().join("scratch").exists());
    let log = fs::read_to_string(folder.path().join("kept/postgres.log")).unwrap();
    assert!(log.trim_end().ends_with("database system is shut down"), "{log}");
    // The next one finds the same files and password.
    let again = Postgres::start(Settings::new(folder.path().join("kept"))).unwrap();
    run(&again.url("postgres"), "SELECT 1").unwrap();
}

#[test]
fn the_next_one_waits_for_the_end_of_the_one_before() {
    if postgres_database("only to see whether a server can run").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    servers::Account::for_postgres().unwrap().admit(folder.path()).unwrap();
    let settings = Settings::new(folder.path().join("postgres"));
    let mut before = Postgres::start(settings.clone()).unwrap();
    let next = std::thread::spawn(|| Postgres::start(settings).map(|server| server.pid()));
    let refused = "\"postmaster.pid\" already exists";
    eventually_blocking("the second is refused once", || {
        fs::read_to_string(before.log()).unwrap().contains(refused)
    });
    assert!(before.stop());
    assert!(next.join().unwrap().unwrap().is_some());
}
