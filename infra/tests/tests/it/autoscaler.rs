//! What the real kubectl would change in a cluster when the component `hpa` is added. Its three-way comparison happens
//! on the client, so that a server that stores one Deployment is enough.

use manifest_tests::object::Cluster;
use manifest_tests::render;
use manifest_tests::tools::{root, skip};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::{fs, io, thread};

const RECORD: &str = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";

/// The Deployment of the website, and every change that was sent to it.
#[derive(Default)]
struct Stored {
    deployment: Value,
    patches: Vec<Value>,
}

/// Serves what kubectl needs of the Kubernetes API, until the test ends.
fn serve(stored: Arc<Mutex<Stored>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // kubectl reports a request that failed.
            let _ = answer(stream, &stored);
        }
    });
    format!("http://{address}")
}

fn answer(stream: TcpStream, stored: &Mutex<Stored>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let found = respond(method, path.split('?').next().unwrap_or_default(), body, stored);
    let (status, body) = found.map_or(
        ("404 Not Found", json!({"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404})),
        |body| ("200 OK", body),
    );
    let body = body.to_string();
    write!(
        reader.get_mut(),
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn respond(method: &str, path: &str, body: Value, stored: &Mutex<Stored>) -> Option<Value> {
    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/mini-blog/deployments";
    let mut stored = stored.lock().expect("no test has failed here");
    let version = json!({"groupVersion": "apps/v1", "version": "v1"});
    match (method, path) {
        ("GET", "/api") => Some(json!({"kind": "APIVersions", "versions": ["v1"]})),
        ("GET", "/apis") => Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [
            {"name": "apps", "versions": [version], "preferredVersion": version}]})),
        ("GET", "/api/v1") => Some(json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": []})),
        ("GET", "/apis/apps/v1") => {
            Some(json!({"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [
            {"name": "deployments", "singularName": "deployment", "namespaced": true, "kind": "Deployment",
             "verbs": ["create", "get", "patch"]}]}))
        }
        ("POST", DEPLOYMENTS) => {
            stored.deployment = body;
            Some(stored.deployment.clone())
        }
        _ if path.strip_prefix(DEPLOYMENTS) != Some("/client-depl") => None,
        ("PATCH", _) => {
            // The record is all that the next comparison needs of a change.
            if let (Some(old), Some(new)) = (stored.deployment.pointer_mut(RECORD), body.pointer(RECORD)) {
                *old = new.clone();
            }
            stored.patches.push(body);
            Some(stored.deployment.clone())
        }
        ("GET", _) => (!stored.deployment.is_null()).then(|| stored.deployment.clone()),
        _ => None,
    }
}

/// Runs a program that finds the cluster through this folder.
fn run(program: &str, args: &[&str], folder: &Path) {
    let output = Command::new(program)
        .args(args)
        .env("KUBECONFIG", folder.join("config"))
        .env("HOME", folder)
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn apply(cluster: &Cluster, folder: &Path) {
    let file = folder.join("deployment.json");
    let deployment = cluster.find("Deployment", "client-depl").expect("the website");
    fs::write(&file, deployment.0.to_string()).expect("a file");
    run(
        "kubectl",
        &["apply", "--validate=false", "--filename", file.to_str().expect("a plain path")],
        folder,
    );
}

#[test]
fn after_the_hand_over_adding_the_autoscaler_leaves_the_number_of_pods() {
    let (Some(without), Some(with)) = (render::one("base"), render::one("base+hpa")) else { return };
    if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
        return skip("kubectl");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let stored = Arc::new(Mutex::new(Stored::default()));
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": serve(Arc::clone(&stored))}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "users": [{"name": "test", "user": {}}]});
    fs::write(folder.path().join("config"), config.to_string()).expect("a file");
    // The number of pods in the last change; null deletes the field, and the cluster falls back to one pod.
    let number = || {
        let patches = std::mem::take(&mut stored.lock().expect("no test has failed here").patches);
        patches.iter().find_map(|patch| patch.pointer("/spec/replicas").cloned())
    };

    apply(without, folder.path());
    apply(with, folder.path());
    assert_eq!(number(), Some(Value::Null), "without the hand-over");

    apply(without, folder.path());
    number();
    let script = root().join("infra/k8s/components/hpa/hand-over.sh");
    run("sh", &[script.to_str().expect("a plain path")], folder.path());
    apply(with, folder.path());
    assert_eq!(number(), None, "after the hand-over");
}
