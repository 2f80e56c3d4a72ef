//! `skaffold.yaml`, the Dockerfiles and the laptop's secrets, and what they share with the manifests.

use manifest_tests::costs::{Load, costs, table};
use manifest_tests::names::cluster_service;
use manifest_tests::object::{Cluster, Object, Workload, at, list, text};
use manifest_tests::policy::settings::DATABASE;
use manifest_tests::policy::{pods, postgres};
use manifest_tests::render;
use manifest_tests::repository::{lesson, read, skaffold};
use manifest_tests::tools::{python, root};
use serde_json::Value;
use shared::ServiceName;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::{fs, path::Path};

fn images_of(build: &Value) -> BTreeSet<String> {
    list(at(build, "/artifacts")).map(|artifact| text(at(artifact, "/image")).to_owned()).collect()
}

fn all_images() -> BTreeSet<String> {
    ServiceName::ALL.map(|service| format!("mini-blog/{service}")).into()
}

#[test]
fn skaffold_builds_the_images_that_the_manifests_run() {
    let Some(clusters) = render::all() else { return };
    for cluster in clusters {
        let images = cluster.workloads().flat_map(Workload::containers).map(|c| text(at(c, "/image")));
        let (prefix, tag) =
            if cluster.is_production() { ("registry.example.com/", ":0.1.0") } else { ("", "") };
        let bare: Option<BTreeSet<_>> =
            images.map(|image| image.strip_prefix(prefix)?.strip_suffix(tag).map(str::to_owned)).collect();
        assert_eq!(bare.as_ref(), Some(&all_images()), "{}", cluster.name);
    }
    let skaffold = skaffold();
    assert_eq!(images_of(&skaffold["build"]), all_images());
    for profile in list(&skaffold["profiles"]).filter(|profile| !at(profile, "/build").is_null()) {
        assert_eq!(images_of(&profile["build"]), all_images(), "{}", profile["name"]);
    }
}

#[test]
fn every_artifact_is_built_from_its_own_target_or_by_its_own_command() {
    let dockerfile = read("infra/docker/Dockerfile");
    let skaffold = skaffold();
    let builds = [&skaffold["build"], at(&skaffold, "/profiles/0/build")];
    let mut ways = BTreeMap::<&str, usize>::new();
    for artifact in builds.into_iter().flat_map(|build| list(at(build, "/artifacts"))) {
        let service = text(&artifact["image"]).trim_start_matches("mini-blog/");
        if let Some(docker) = artifact.get("docker") {
            assert_eq!(docker["dockerfile"], "infra/docker/Dockerfile");
            assert_eq!(docker["target"], service);
            let stages = dockerfile.matches(&format!("\nFROM runtime AS {service}\n")).count();
            let files = dockerfile.matches(&format!(" /images/{service}/root/ /\n")).count();
            assert_eq!((stages, files), (1, 1), "{service}: one stage, with its own files");
            *ways.entry("docker").or_default() += 1;
        } else {
            assert_eq!(
                at(artifact, "/custom/buildCommand"),
                &Value::from(format!("cargo xtask image {service}"))
            );
            *ways.entry("custom").or_default() += 1;
        }
    }
    assert_eq!(ways, BTreeMap::from([("custom", 6), ("docker", 6)]));
}

#[test]
fn skaffold_deploys_what_is_there() {
    let Some(dev) = render::one("dev") else { return };
    let skaffold = skaffold();
    let overlays = [&skaffold, at(&skaffold, "/profiles/1")];
    for part in overlays {
        let paths: Vec<_> = list(at(part, "/manifests/kustomize/paths")).map(text).collect();
        assert_eq!(paths.len(), 1);
        assert!(root().join(paths[0]).join("kustomization.yaml").is_file(), "{paths:?}");
        // A profile's manifests replace the others, and with them the hook.
        let hook = at(part, "/manifests/hooks/before/0/host/command");
        let script: Vec<_> = list(hook).map(text).collect();
        assert!(script.len() == 2 && root().join(script[1]).is_file(), "{script:?}");
    }
    for forward in list(&skaffold["portForward"]) {
        let service = dev.find("Service", text(&forward["resourceName"])).expect("a Service");
        assert_eq!(service.at("/metadata/namespace"), &forward["namespace"]);
        assert_eq!(service.at("/spec/ports/0/port"), &forward["port"]);
    }
    let script = text(at(&skaffold, "/verify/0/container/args/0"));
    let door = ServiceName::Frontend;
    let site =
        format!("http://{}.mini-blog.svc.cluster.local:{}", cluster_service(door), door.default_port());
    assert!(script.contains(&site), "it goes through the front door: {script}");
    let host = text(dev.find("Ingress", "ingress-srv").expect("an Ingress").at("/spec/rules/0/host"));
    assert!(script.contains(&format!("host=${{SITE_HOST:-{host}}}\n")), "the site refuses other hosts");
    let (requests, named) =
        (script.matches("curl ").count(), script.matches("--header \"Host: $host\"").count());
    assert_eq!(requests, named, "each request names the host: {script}");
}

#[test]
fn the_dockerfiles_are_without_fault() {
    let Some(hadolint) = python("hadolint") else { return };
    let lint = |file: &Path| {
        let output = Command::new(&hadolint).arg("--no-color").arg(file).output().expect("it was found");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for file in ["infra/docker/Dockerfile", "infra/docker/fast.Dockerfile"] {
        let (well, said) = lint(&root().join(file));
        assert!(well, "{file}\n{said}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let broken = folder.path().join("Dockerfile");
    fs::write(&broken, "FROM debian\nENTRYPOINT /service\n").expect("a file");
    let (well, said) = lint(&broken);
    assert!(!well && said.contains("DL3006") && said.contains("DL3025"), "{said}");
}

#[test]
fn images_run_as_nobody_and_without_a_shell() {
    for file in ["infra/docker/Dockerfile", "infra/docker/fast.Dockerfile"] {
        let text = read(file);
        assert!(text.contains("\nUSER 65532:65532\n"), "{file}: the user of the manifests, by number");
        assert!(text.contains("\nENTRYPOINT [\"/service\"]\n"), "{file}: the signals' way to the service");
    }
    let dockerfile = read("infra/docker/Dockerfile");
    let bases = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    let foreign: Vec<_> = bases.filter(|base| !base.starts_with("runtime ")).collect();
    assert_eq!(foreign, ["${RUST_IMAGE} AS build", "${RUNTIME_IMAGE} AS runtime"], "bases are arguments");
    for line in dockerfile.lines().filter_map(|line| line.strip_prefix("ARG ")?.split_once("_IMAGE=")) {
        let (_, tag) = line.1.rsplit_once(':').unwrap_or_default();
        assert!(!tag.is_empty() && tag != "latest", "{}: which one?", line.1);
    }
    let version = concat!("\nARG VERSION=", env!("CARGO_PKG_VERSION"), "\n");
    assert!(dockerfile.contains(version), "the images bear another version than the programs");
    assert!(read("infra/docker/Dockerfile.dockerignore").lines().any(|line| line == "**/secrets.env"));
}

#[test]
fn the_lone_pod_of_the_lesson_is_as_careful_as_the_others() {
    let lesson = lesson();
    for policy in [
        pods::hardened,
        pods::scheduled_anywhere,
        pods::resolve_services,
        pods::told_by_variables,
        pods::images_may_be_there_already,
        pods::probed,
        pods::limited,
        pods::given_time_to_stop,
    ] {
        assert_eq!(policy(&lesson), [""; 0]);
    }
    let Some(dev) = render::one("dev") else { return };
    let labels = lesson.objects[0].at("/metadata/labels");
    let taken =
        dev.of_kind("Service").any(|s| manifest_tests::object::selects(s.at("/spec/selector"), labels));
    assert!(!taken, "a Service would send readers to it");
}

/// The words of a text that end as the names of our objects do.
fn names_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words
        .filter(|word| ["-depl", "-srv", "-data", "-secrets"].iter().any(|end| word.ends_with(end)))
        .collect()
}

#[test]
fn the_documents_name_what_is_there() {
    let (Some(all), Some(dev), Some(scale)) =
        (render::one(render::ALL), render::one("dev"), render::one(render::SCALE))
    else {
        return;
    };
    let there: BTreeSet<_> =
        all.objects.iter().chain(&dev.objects).chain(&scale.objects).map(Object::name).collect();
    let mut named = BTreeSet::new();
    let documents = ["README.md", "infra/README.md", "docs/ARCHITECTURE.md"].map(|path| (path, read(path)));
    for (path, text) in &documents {
        for name in names_in(text) {
            assert!(there.contains(name), "{path} names {name}, and no object has that name");
            named.insert(name);
        }
    }
    for object in dev.objects.iter().filter(|o| ["Deployment", "Service", "Ingress"].contains(&o.kind())) {
        assert!(named.contains(object.name()), "no document explains {}", object.name());
    }
    let explained = &documents[1].1;
    for kind in ["StatefulSet", "Cluster"] {
        let object = scale.of_kind(kind).next().expect("one");
        assert!(
            explained.contains(&format!("`{}`", object.name())),
            "infra/README.md does not explain {kind}"
        );
    }
    for component in render::COMPONENTS.iter().chain(&render::LAST_COMPONENTS) {
        assert!(
            explained.contains(&format!("component `{component}`")),
            "infra/README.md does not explain {component}"
        );
    }
    let skaffold = skaffold();
    let profiles: Vec<_> = list(&skaffold["profiles"]).map(|profile| text(&profile["name"])).collect();
    let mentioned = explained
        .split("skaffold dev --profile ")
        .skip(1)
        .filter_map(|rest| rest.split(['`', '\n', ' ']).next());
    let mentioned: BTreeSet<_> = mentioned.collect();
    assert_eq!(mentioned, profiles.into_iter().collect());
}

fn make_secrets(folder: &Path) -> Output {
    Command::new("sh").arg(folder.join("secrets.sh")).output().expect("sh")
}

#[test]
fn the_laptops_secrets_are_made_once_for_their_owner_alone_and_are_all_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let (script, file) = (folder.path().join("secrets.sh"), folder.path().join("secrets.env"));
    fs::copy(root().join("infra/k8s/overlays/dev/secrets.sh"), script).expect("a copy");
    assert!(make_secrets(folder.path()).status.success());
    let made = fs::read_to_string(&file).expect("the file");
    assert_eq!(file.metadata().expect("a file").permissions().mode() & 0o777, 0o600);

    let pairs: BTreeMap<_, _> = made.lines().filter_map(|line| line.split_once('=')).collect();
    let peers = ServiceName::PEERS.map(kit::app::config::secret_env);
    let wanted: BTreeSet<_> = peers.iter().map(String::as_str).chain(["OPERATOR_TOKEN"]).collect();
    assert_eq!(pairs.keys().copied().collect::<BTreeSet<_>>(), wanted);
    assert_eq!(pairs.values().collect::<BTreeSet<_>>().len(), wanted.len(), "no two are the same");
    for secret in pairs.values() {
        assert!(
            kit::runtime::secret::Secret::new(*secret).is_ok() && secret.len() == 64,
            "256 random bits, as hexadecimal digits"
        );
    }
    assert!(make_secrets(folder.path()).status.success());
    assert_eq!(fs::read_to_string(&file).expect("the file"), made, "what is there is kept");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2, "nothing is left beside it");
}

#[test]
fn git_holds_no_secret() {
    let ignored = Command::new("git")
        .args(["check-ignore", "--quiet", "infra/k8s/overlays/dev/secrets.env"])
        .current_dir(root())
        .status();
    // 128: not a git working copy.
    assert!(
        matches!(ignored.map(|status| status.code()), Ok(Some(0 | 128))),
        "secrets.env could be committed"
    );
    for (path, text) in manifests(&root().join("infra/k8s")) {
        for word in ["kind: Secret\n", "stringData:", "literals:"] {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

/// The Secrets, with their values, that the script prints.
fn printed_secrets() -> Cluster {
    let script = root().join("infra/k8s/components/postgres/secrets.sh");
    let output = Command::new("sh").arg(script).output().expect("sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Cluster::parse("the script", vec![], &String::from_utf8_lossy(&output.stdout))
}

#[test]
fn the_secrets_of_several_machines_are_all_there_and_lead_to_the_database() {
    let Some(scale) = render::one(render::SCALE) else { return };
    let secrets = printed_secrets();
    let found: BTreeSet<_> = secrets
        .objects
        .iter()
        .flat_map(|secret| {
            let keys = secret.at("/stringData").as_object().expect("values").keys();
            keys.map(|key| (secret.name().to_owned(), key.clone()))
        })
        .collect();
    let mut needed = BTreeSet::new();
    let mut need = |secret: &Value, key: &str| needed.insert((text(secret).to_owned(), key.to_owned()));
    for workload in scale.workloads() {
        for variable in workload.variables() {
            if let Some(from) = variable.get("valueFrom").and_then(|from| from.get("secretKeyRef")) {
                need(at(from, "/name"), text(at(from, "/key")));
            }
        }
        let sources = list(at(workload.pod(), "/volumes")).flat_map(|v| list(at(v, "/projected/sources")));
        for secret in sources.map(|source| at(source, "/secret")) {
            // The operator makes this one.
            if text(at(secret, "/name")) != "postgres-ca" {
                need(at(secret, "/name"), text(at(secret, "/items/0/key")));
            }
        }
    }
    for role in scale.of_kind("DatabaseRole") {
        for key in ["username", "password"] {
            need(role.at("/spec/passwordSecret/name"), key);
        }
    }
    assert_eq!(found, needed, "what is made, and what is needed");

    let mut values = BTreeSet::new();
    let again = printed_secrets();
    for object in secrets.objects.iter().chain(&again.objects) {
        assert_eq!(object.at("/metadata/namespace"), "mini-blog");
        for (key, value) in object.at("/stringData").as_object().expect("values") {
            if !["username", "url"].contains(&key.as_str()) {
                assert!(text(value).len() == 64 && values.insert(text(value).to_owned()), "{key}: random");
            }
        }
    }
    for service in postgres::USERS {
        let secret = secrets.find("Secret", &format!("postgres-{service}")).expect("a Secret");
        assert_eq!(secret.at("/type"), "kubernetes.io/basic-auth");
        assert_eq!(secret.at("/metadata/labels/cnpg.io~1reload"), "true");
        assert_eq!(secret.at("/stringData/username"), service.as_str());
        let workload =
            scale.find("Deployment", &format!("{service}-depl")).map(Workload).expect("a workload");
        let file = workload.setting(DATABASE).expect("the setting");
        let folder = file.strip_suffix("/url").expect("the key of the Secret");
        let password = text(secret.at("/stringData/password"));
        let (host, port) = (format!("{}-rw", postgres::NAME), postgres::PORT);
        let url = format!(
            "postgres://{service}:{password}@{host}:{port}/{service}?sslmode=verify-full&sslrootcert={folder}/ca.crt"
        );
        assert_eq!(text(secret.at("/stringData/url")), url);
    }
}

#[test]
fn the_documents_say_what_several_machines_cost() {
    let (Some(production), Some(scale)) = (render::one("production"), render::one(render::SCALE)) else {
        return;
    };
    let columns = [costs(production, Load::Least), costs(scale, Load::Least), costs(scale, Load::Most)];
    let document = read("infra/README.md");
    for row in table(&columns) {
        assert!(document.contains(&row), "infra/README.md does not have this row: {row}");
    }
    // A pod more is noticed, and so is a larger claim.
    for (kind, name, pointer, value) in [
        ("Deployment", "moderation-depl", "/spec/replicas", 3.into()),
        ("Cluster", "postgres", "/spec/walStorage/size", Value::from("6Gi")),
        ("HorizontalPodAutoscaler", "query", "/spec/maxReplicas", 7.into()),
    ] {
        let more = costs(&scale.with(kind, name, pointer, value), Load::Most);
        assert_ne!(more, columns[2], "{pointer} of {name}");
    }
}

fn manifests(folder: &Path) -> Vec<(std::path::PathBuf, String)> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let of = |path: std::path::PathBuf| match path.extension().and_then(|e| e.to_str()) {
        _ if path.is_dir() => manifests(&path),
        Some("yaml") => vec![(path.clone(), fs::read_to_string(&path).expect("a text"))],
        _ => vec![],
    };
    entries.flat_map(of).collect()
}

#[test]
fn cluster_names_are_the_courses() {
    let names =
        ["event-bus-srv", "posts-clusterip-srv", "comments-srv", "moderation-srv", "query-srv", "client-srv"];
    assert_eq!(ServiceName::ALL.map(cluster_service), names);
}
