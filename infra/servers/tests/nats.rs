//! A real NATS server, and a cluster of them.

use servers::nats::Nats;
use servers::testing::{nats_cluster, nats_server};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use test_support::processes;

/// What the server says to everybody who connects.
fn info(server: &Nats) -> String {
    let mut line = String::new();
    let stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn jetstream_runs_and_comes_back_on_its_port() {
    let Some(mut server) = nats_server() else { return };
    let (pid, port) = (server.pid().unwrap(), server.port());
    let said = info(&server);
    for expected in ["\"max_payload\":4194304", "\"auth_required\":true", "\"jetstream\":true"] {
        assert!(said.contains(expected), "{said}");
    }
    server.kill();
    assert!(!processes::runs(pid));
    server.restart().unwrap();
    assert!(server.stop());
    server.restart().unwrap();
    assert_eq!(server.port(), port);
    let folder = server.log().parent().unwrap().to_owned();
    drop(server);
    assert!(!folder.exists());
}

#[test]
fn a_cluster_answers_without_one_of_its_nodes() {
    let Some(mut nodes) = nats_cluster(3) else { return };
    nodes[0].kill();
    // It answers only with a leader, which a majority elects.
    nodes[1].restart().unwrap();
    nodes[0].restart().unwrap();
}
