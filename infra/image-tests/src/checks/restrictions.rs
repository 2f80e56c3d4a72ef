//! The restrictions of a container: its privileges, the files it can write, its ports, its memory.

use shared::ServiceName;
use shared::routes::NEVER_PUBLIC;
use std::fs;
use system_tests::containers::Container;
use system_tests::containers::deployment::Deployment;
use system_tests::containers::engine::said;
use system_tests::{LIMIT, eventually, holds, raw};

/// The kernel's lines in `/proc/PID/status` about a process without privileges or a way to gain any.
const UNPRIVILEGED: [(&str, &str); 7] = [
    ("Uid", "65532 65532 65532 65532"),
    ("Gid", "65532 65532 65532 65532"),
    ("CapEff", "0000000000000000"),
    ("CapPrm", "0000000000000000"),
    ("CapBnd", "0000000000000000"),
    ("NoNewPrivs", "1"),
    // System calls are filtered (seccomp).
    ("Seccomp", "2"),
];

/// Runs as user 65532, on a read-only root file system, within its memory limit, without a shell.
pub async fn hold(deployment: &Deployment) {
    for (service, container) in &deployment.manifests {
        let pid = process(deployment, *service).await;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        for (field, wanted) in UNPRIVILEGED {
            let found = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            let found = found.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "));
            assert_eq!(found.as_deref(), Some(wanted), "{field} of {service}");
        }
        assert_writable(*service, container, pid);
        for shell in ["sh", "/bin/sh", "bash", "/bin/busybox"] {
            let name = deployment.name(*service);
            let output = deployment.engine.output(&["exec", &name, shell, "-c", "exit 0"]).await;
            let said = said(&output);
            assert!(!output.status.success() && said.contains("no such file") || said.contains("not found"));
        }
        let inspected = deployment.inspect(&deployment.name(*service)).await;
        assert_eq!(inspected["State"]["OOMKilled"], false, "{service}");
        assert!(inspected["HostConfig"]["Memory"].as_u64() > Some(0), "{service} has a limit");
    }
}

/// The one process of a container, with its id on this machine.
async fn process(deployment: &Deployment, service: ServiceName) -> u64 {
    let state = deployment.state(&deployment.name(service)).await;
    state["Pid"].as_u64().filter(|pid| *pid > 0).unwrap_or_else(|| panic!("{service} does not run: {state}"))
}

/// Of the file systems on a disk, only the volumes can be written.
fn assert_writable(service: ServiceName, container: &Container, pid: u64) {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("its mounts");
    // 95 60 0:39 / /data rw,relatime …
    let mounts: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
    let may_write = |path: &str| {
        let mount = mounts.iter().rfind(|mount| mount.get(4) == Some(&path));
        let mount = mount.unwrap_or_else(|| panic!("nothing is mounted at {path} of {service}"));
        mount[5].split(',').any(|option| option == "rw")
    };
    assert!(!may_write("/"), "the root file system of {service} can be written to");
    for (claim, path) in &container.volumes {
        assert!(may_write(path), "{claim} of {service} cannot be written to");
    }
}

/// Only the website has a public port, and no private route answers there.
pub async fn leave_one_public_port(deployment: &Deployment) {
    for service in ServiceName::ALL {
        let published = deployment.engine.run(&["port", &deployment.name(service)]).await;
        let is_public = published.starts_with("3000/tcp -> 127.0.0.1:") && published.lines().count() == 1;
        assert_eq!(is_public, service == ServiceName::Frontend, "{service} publishes {published:?}");
        assert!(is_public || published.is_empty(), "{service} publishes {published:?}");
    }
    let front_door = deployment.front_door();
    for private in NEVER_PUBLIC {
        for path in
            [format!("/{private}"), format!("/posts/../{private}"), format!("/posts/%2e%2e/{private}")]
        {
            let answer = raw::get(front_door.authority(), &path).await;
            assert!(matches!(raw::status(&answer), 400 | 404), "{path}: {answer}");
        }
    }
    // The bus itself has them: the list holds routes that exist.
    let bus = deployment.service(ServiceName::EventBus);
    bus.get("/events").send().await.expect(401);
    let token = &deployment.manifests[&ServiceName::EventBus].environment["OPERATOR_TOKEN"];
    bus.get("/events").token(token).send().await.expect(200);
    bus.get("/events").token("the-operators-token-of-yesterday").send().await.expect(401);
}

/// The memory of a container while nothing happens, as the engine prints it.
pub async fn memory(deployment: &Deployment, service: ServiceName) -> String {
    let name = deployment.name(service);
    // The engine measures once a second; before the first time there is no value.
    eventually(LIMIT, "the engine has counted", async || {
        let usage =
            deployment.engine.run(&["stats", "--no-stream", "--format", "{{.MemUsage}}", &name]).await;
        let held = usage.split('/').next().unwrap_or_default().trim().to_owned();
        holds(held, |held| held.starts_with(|c: char| c.is_ascii_digit()) && held != "0B")
    })
    .await
}
