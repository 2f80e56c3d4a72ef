use super::*;
use crate::log::conformance::{Engine, conformance, event};
use serde_json::{Value, json};
use servers::nats::Nats;
use servers::testing::{nats_cluster, nats_program, nats_server};
use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A server of its own, and the stream of its tests.
struct JetStream {
    server: Nats,
}

impl JetStream {
    fn start() -> Option<Self> {
        Some(Self { server: nats_server()? })
    }

    fn location(&self) -> EventLogLocation {
        EventLogLocation::Url(self.server.url().parse().unwrap())
    }

    async fn client(&self) -> Client {
        let location = self.location();
        connection::connect(&location, &location.read().unwrap()).await.unwrap()
    }
}

impl Engine for JetStream {
    type Log = JetStreamLog;

    async fn empty(_: &str) -> Option<Self> {
        Self::start()
    }

    async fn open(&self) -> JetStreamLog {
        let log = JetStreamLog::open(self.location()).await.unwrap();
        rt::spawn(log.maintain(CancellationToken::new()));
        log
    }

    async fn another(&self, _: &JetStreamLog) -> JetStreamLog {
        self.open().await
    }

    async fn closed(&self) {}
}

conformance!(JetStream);

async fn append_ids(log: &JetStreamLog, ids: &[&str]) -> Vec<i64> {
    let events = ids.iter().map(|id| event(id)).collect();
    let sequences = log.append(events, Timestamp::from_unix_ms(1)).await.unwrap();
    sequences.into_iter().map(Sequence::get).collect()
}

async fn places(log: &JetStreamLog, after: i64) -> Vec<i64> {
    let events = log.read(Sequence::new(after), usize::MAX, usize::MAX).await.unwrap();
    events.iter().map(|event| event.sequence.get()).collect()
}

fn is_damaged(read: &Result<Vec<Logged>, LogError>, what: &str) -> bool {
    matches!(read, Err(LogError::Damaged { what: found, .. }) if found.contains(what))
}

/// Appends until `end`, again where it is not known whether an event was stored; returns the places that were
/// acknowledged.
async fn publish(log: JetStreamLog, by: usize, end: CancellationToken) -> HashMap<String, i64> {
    let mut places = HashMap::new();
    for n in 0.. {
        let ids = [format!("{by}-{n}-a"), format!("{by}-{n}-b")];
        let sequences = loop {
            let events = ids.iter().map(|id| event(id)).collect();
            match log.append(events, Timestamp::from_unix_ms(n)).await {
                Ok(sequences) => break sequences,
                Err(LogError::Unavailable(_)) => {}
                Err(error) => panic!("{error}"),
            }
        };
        places.extend(ids.into_iter().zip(sequences.into_iter().map(Sequence::get)));
        if end.is_cancelled() {
            break;
        }
    }
    places
}

/// Appends from several tasks while `trouble` happens; then everything that was acknowledged is in its place, once, and
/// known.
async fn nothing_is_lost(log: &JetStreamLog, trouble: impl AsyncFnOnce()) {
    let end = CancellationToken::new();
    let tasks: Vec<_> = (0..8).map(|by| rt::spawn(publish(log.clone(), by, end.clone()))).collect();
    grown(log, 100).await;
    trouble().await;
    grown(log, 100).await;
    end.cancel();
    let mut acknowledged = HashMap::new();
    for task in tasks {
        acknowledged.extend(task.await.unwrap());
    }
    let mut found = HashMap::new();
    let mut after = Sequence::START;
    while after < *log.head().borrow() {
        for event in log.read(after, 1_000, usize::MAX).await.unwrap() {
            assert_eq!(event.sequence, after.next());
            after = event.sequence;
            let envelope: Envelope = serde_json::from_str(&event.json).unwrap();
            assert_eq!(found.insert(envelope.id.unwrap(), event.sequence.get()), None, "once");
        }
    }
    assert_eq!(found, acknowledged, "each task ends with an event that was acknowledged");
    for (id, place) in acknowledged.iter().take(300) {
        assert_eq!(append_ids(log, &[id]).await, [*place], "known");
    }
}

/// Waits until so many more events are stored.
async fn grown(log: &JetStreamLog, more: i64) {
    let mut head = log.head();
    let to = head.borrow().get() + more;
    let reached = head.wait_for(|head| head.get() >= to);
    rt::timeout(Duration::from_secs(60), reached).await.expect("the log grows").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_loses_nothing_that_was_acknowledged() {
    let Some(mut engine) = JetStream::start() else { return };
    let log = engine.open().await;
    nothing_is_lost(&log, async || {
        for _ in 0..3 {
            engine.server.kill();
            engine.server.restart().unwrap();
            grown(&log, 20).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_damage() {
    let Some(engine) = JetStream::start() else { return };
    let location = engine.location();
    let url = location.read().unwrap();
    let client = engine.client().await;
    // As an administrator may make it: such a stream is refused at a start.
    let config = json!({"name": "ev", "subjects": ["ev.*.*"], "allow_atomic": true});
    let info: Info = api::call(&client, "STREAM.CREATE.ev".to_owned(), &config).await.unwrap();
    let log = JetStreamLog::new(client.clone(), url, &info);
    assert_eq!(append_ids(&log, &["a", "b", "c", "d"]).await, [1, 2, 3, 4]);
    assert_eq!(places(&log, 0).await, [1, 2, 3, 4]);
    let _: Value = api::call(&client, "STREAM.MSG.DELETE.ev".to_owned(), &json!({"seq": 2})).await.unwrap();
    assert_eq!(places(&log, 0).await, [1], "up to the hole");
    for limit in [1, 9] {
        let read = log.read(Sequence::new(1), limit, usize::MAX).await;
        assert!(
            is_damaged(&read, "the event 000000000000000000002 is missing")
                || is_damaged(&read, "2 is missing"),
            "{read:?}"
        );
    }
    assert_eq!(places(&log, 2).await, [3, 4]);
    let _: Value = api::call(&client, "STREAM.MSG.DELETE.ev".to_owned(), &json!({"seq": 4})).await.unwrap();
    let read = log.read(Sequence::new(3), 9, usize::MAX).await;
    assert!(is_damaged(&read, "4 is missing"), "the last one: {read:?}");

    let found = stream::info(&client, &log.shared.url).await.unwrap();
    log.shared.looked(Sequence::new(4), &found);
    let refused = log.append(vec![event("e")], Timestamp::default()).await;
    assert!(matches!(refused, Err(LogError::Damaged { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_not_appended_so_is_damage() {
    let Some(engine) = JetStream::start() else { return };
    let log = engine.open().await;
    append_ids(&log, &["a"]).await;
    let client = engine.client().await;
    let stored = api::message(&client, "ev", &api::Wanted::Seq(1)).await.unwrap().unwrap();
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in [("Recorded-At", "1"), ("Checksum", "1")] {
        headers.insert(name, value);
    }
    let payload = stored.payload;
    let _: Value = api::request(&client, "ev.forged.1".to_owned(), Some(headers), payload).await.unwrap();
    grown_to(&log, 2).await;
    assert_eq!(places(&log, 0).await, [1]);
    for limit in [1, 9] {
        let read = log.read(Sequence::new(1), limit, usize::MAX).await;
        assert!(is_damaged(&read, "its checksum is wrong"), "{read:?}");
    }
}

async fn grown_to(log: &JetStreamLog, to: i64) {
    let mut head = log.head();
    let reached = head.wait_for(|head| head.get() >= to);
    rt::timeout(Duration::from_secs(20), reached).await.expect("the log grows").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_made_anew_is_not_appended_to() {
    let Some(engine) = JetStream::start() else { return };
    let log = engine.open().await;
    append_ids(&log, &["a", "b"]).await;
    let client = engine.client().await;
    let deleted: Value = api::call(&client, "STREAM.DELETE.ev".to_owned(), &json!({})).await.unwrap();
    assert_eq!(deleted["success"], true);
    let other = JetStreamLog::open(engine.location()).await.unwrap();
    append_ids(&other, &["x", "y", "z"]).await;
    let look = stream::info(&client, &log.shared.url).await.unwrap();
    log.shared.looked(Sequence::new(2), &look);
    let refused = log.append(vec![event("c")], Timestamp::default()).await;
    assert!(matches!(refused, Err(LogError::Damaged { .. })), "{refused:?}");
    assert_eq!(*log.head().borrow(), Sequence::new(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_gives_a_place_again_is_appended_to_no_more() {
    let Some(engine) = JetStream::start() else { return };
    let log = engine.open().await;
    append_ids(&log, &["a", "b"]).await;
    // As if the server had lost what follows the second one.
    log.shared.advance(Sequence::new(5));
    let refused = log.append(vec![event("c")], Timestamp::default()).await;
    assert!(matches!(refused, Err(LogError::Unavailable(_))), "{refused:?}");
    assert_eq!(log.read_recent(Sequence::new(2), 9, usize::MAX), None);
    let look = stream::info(&log.shared.client, &log.shared.url).await.unwrap();
    log.shared.looked(Sequence::new(3), &look);
    let refused = log.append(vec![event("d")], Timestamp::default()).await;
    assert!(matches!(refused, Err(LogError::Damaged { .. })), "whatever a look finds: {refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_of_a_stream_are_named_and_not_changed() {
    let Some(engine) = JetStream::start() else { return };
    let client = engine.client().await;
    let sound = json!({
        "name": "ev", "discard": "new", "deny_delete": true, "deny_purge": true,
        "allow_atomic": true,
    });
    let wrong = [
        ("subjects", json!(["subjects.>"])),
        ("retention", json!("interest")),
        ("storage", json!("memory")),
        ("discard", json!("old")),
        ("max_msgs", json!(5)),
        ("max_bytes", json!(5_000)),
        ("max_age", json!(60_000_000_000_u64)),
        ("max_msgs_per_subject", json!(1)),
        ("max_msg_size", json!(1_000)),
        ("deny_delete", json!(false)),
        ("deny_purge", json!(false)),
        ("allow_atomic", json!(false)),
    ];
    let open = async |stream: &str| {
        let url = format!("{}/{stream}", engine.server.url()).parse().unwrap();
        JetStreamLog::open(EventLogLocation::Url(url)).await
    };
    for (setting, value) in wrong {
        let mut config = sound.clone();
        config["name"] = json!(setting);
        config["subjects"] = json!([format!("{setting}.*.*")]);
        config[setting] = value;
        let created = api::call(&client, format!("STREAM.CREATE.{setting}"), &config).await;
        let created: Value = created.unwrap_or_else(|e| panic!("{setting}: {e}"));
        let error = open(setting).await.unwrap_err().to_string();
        let named = format!("the stream {setting} has {setting} ");
        assert!(error.contains(&named) && !error.contains('\n'), "{setting}: {error}");
        let now: Value = api::call(&client, format!("STREAM.INFO.{setting}"), &json!({})).await.unwrap();
        assert_eq!(now["config"], created["config"], "{setting}");
    }
    let mut config = sound;
    config["subjects"] = json!(["ev.*.*"]);
    let _: Value = api::call(&client, "STREAM.CREATE.ev".to_owned(), &config).await.unwrap();
    open("ev").await.unwrap();
    let error = open("ev?replicas=3").await.unwrap_err().to_string();
    assert!(error.contains("has num_replicas 1, and must have 3"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_waited_for_and_a_wrong_password_is_named() {
    let Some(mut engine) = JetStream::start() else { return };
    engine.server.stop();
    let opening = rt::spawn(JetStreamLog::open(engine.location()));
    engine.server.restart().unwrap();
    let log = opening.await.unwrap().unwrap();
    assert_eq!(append_ids(&log, &["a"]).await, [1]);

    let port = engine.server.port();
    for wrong in [format!("nats://mini-blog:hidden@127.0.0.1:{port}"), format!("nats://127.0.0.1:{port}")] {
        let error =
            JetStreamLog::open(EventLogLocation::Url(wrong.parse().unwrap())).await.unwrap_err().to_string();
        assert!(error.contains("refuses the user") && !error.contains("hidden"), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("url");
    std::fs::write(&file, engine.server.url()).unwrap();
    let log = JetStreamLog::open(EventLogLocation::File(file)).await.unwrap();
    assert_eq!(append_ids(&log, &["a", "b"]).await, [1, 2]);
}

/// A server with settings that the others do not have; ends with the test.
struct Configured {
    child: Child,
    url: String,
}

impl Configured {
    async fn start(dir: &Path, settings: &str) -> Option<Self> {
        let program = nats_program()?;
        let ports = dir.join("ports");
        std::fs::create_dir_all(&ports).unwrap();
        let config = dir.join("nats.conf");
        std::fs::write(&config, format!("listen: \"127.0.0.1:-1\"\nports_file_dir: {ports:?}\n{settings}\n"))
            .unwrap();
        let mut command = Command::new(program);
        command.arg("--config").arg(&config).current_dir(dir);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let written = ports.join(format!("nats-server_{}.ports", child.id()));
        let listening = loop {
            let text = std::fs::read_to_string(&written).unwrap_or_default();
            if let Ok(ports) = serde_json::from_str::<Value>(&text) {
                break ports;
            }
            assert!(child.try_wait().unwrap().is_none(), "the server has ended");
            rt::sleep(Duration::from_millis(10)).await;
        };
        let url = listening["nats"][0].as_str().unwrap().to_owned();
        Some(Self { child, url })
    }

    async fn open(&self) -> Result<JetStreamLog, OpenError> {
        JetStreamLog::open(EventLogLocation::Url(self.url.parse().unwrap())).await
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_of_the_server_are_named() {
    let may_ask = "accounts {
        SYS { users: [{user: s, password: s}], exports: [{service: \"$SYS.REQ.SERVER.PING.VARZ\", response_type: stream}] }
        BUS { jetstream: enabled, users: [{user: b, password: b}]
              imports: [{service: {account: SYS, subject: \"$SYS.REQ.SERVER.PING.VARZ\"}}] }
        NONE { users: [{user: n, password: n}] }
    }
    system_account: SYS
    no_auth_user: ";
    let cases = [
        ("max_payload: 4MB", "", Some("JetStream is off")),
        ("max_payload: 1MB", "jetstream { store_dir: data, sync_interval: always }", Some("max_payload")),
        ("b\nmax_payload: 4MB", "jetstream { store_dir: data }", Some("set sync_interval: always")),
        (
            "n\nmax_payload: 4MB",
            "jetstream { store_dir: data, sync_interval: always }",
            Some("JetStream is off"),
        ),
        ("b\nmax_payload: 4MB", "jetstream { store_dir: data, sync_interval: always }", None),
    ];
    for (settings, jetstream, named) in cases {
        let dir = tempfile::tempdir().unwrap();
        let accounts = if settings.contains('\n') { may_ask } else { "" };
        let started = Configured::start(dir.path(), &format!("{accounts}{settings}\n{jetstream}")).await;
        let Some(server) = started else {
            return;
        };
        match (server.open().await, named) {
            (Ok(_), None) => {}
            (Err(error), Some(named)) => assert!(error.to_string().contains(named), "{error}"),
            (opened, named) => panic!("{settings} {jetstream}: {named:?}, {opened:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_server_stores_as_a_whole_is_refused() {
    let Some(engine) = JetStream::start() else { return };
    let log = engine.open().await;
    let ids = |count: usize| (0..count).map(|n| event(&n.to_string())).collect::<Vec<_>>();
    let refused = log.append(ids(append::MOST + 1), Timestamp::default()).await;
    assert!(matches!(refused, Err(LogError::TooLarge(_))), "{refused:?}");
    let mut large = event("large");
    large.subject = Some("x".repeat(log.shared.client.max_payload()));
    let refused = log.append(vec![large], Timestamp::default()).await;
    assert!(matches!(refused, Err(LogError::TooLarge(_))), "{refused:?}");
    assert_eq!(*log.head().borrow(), Sequence::START);
    assert_eq!(log.append(ids(append::MOST), Timestamp::default()).await.unwrap().len(), append::MOST);
}

/// The log with three replicas on three servers.
async fn three(nodes: &[Nats]) -> JetStreamLog {
    let others: Vec<_> = nodes[1..].iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    let url = format!("{},{}/ev?replicas=3", nodes[0].url(), others.join(",")).parse().unwrap();
    let log = JetStreamLog::open(EventLogLocation::Url(url)).await.unwrap();
    rt::spawn(log.maintain(CancellationToken::new()));
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_node_is_killed() {
    let Some(mut nodes) = nats_cluster(3) else { return };
    let log = three(&nodes).await;
    nothing_is_lost(&log, async || {
        for node in &mut nodes {
            node.kill();
            grown(&log, 20).await;
            node.restart().unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_is_killed() {
    let Some(mut nodes) = nats_cluster(3) else { return };
    let log = three(&nodes).await;
    nothing_is_lost(&log, async || {
        for node in &mut nodes[1..] {
            node.kill();
        }
        for node in &mut nodes[1..] {
            node.restart_without_waiting().unwrap();
        }
        grown(&log, 20).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_paused() {
    let Some(nodes) = nats_cluster(3) else { return };
    let log = three(&nodes).await;
    nothing_is_lost(&log, async || {
        for node in &nodes {
            node.pause();
            grown(&log, 20).await;
            node.resume();
        }
    })
    .await;
}
