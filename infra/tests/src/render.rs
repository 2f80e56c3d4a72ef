//! The manifests, rendered in every way in which they can be combined.

use crate::object::Cluster;
use crate::tools::{renderer, root, skip};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{fs, thread};
use tempfile::TempDir;

/// All overlays, each with its components.
pub const OVERLAYS: [(&str, &[&str]); 4] = [
    ("dev", &["traefik"]),
    ("dev-gateway", &["gateway-api", "traefik"]),
    ("production", &["hpa", "monitoring", "network-policy", "traefik"]),
    (SCALE, &["hpa", "monitoring", "network-policy", "postgres", "query-replicas", "traefik"]),
];
/// Components that can be combined freely.
pub const COMPONENTS: [&str; 6] =
    ["gateway-api", "hpa", "monitoring", "network-policy", "nodeport", "traefik"];
/// Components that change Deployments and come after all others: with the base alone, and in an overlay.
pub const LAST_COMPONENTS: [&str; 2] = ["postgres", "query-replicas"];
/// The overlay with several pods of every service.
pub const SCALE: &str = "scale";
/// The overlay with the example of backups, and with a cluster that is made from one.
pub const EXAMPLES: [&str; 2] = ["scale+backup", "scale+restore"];
/// All components at once, from which broken copies are made.
pub const ALL: &str = "base+gateway-api+hpa+monitoring+network-policy+nodeport+traefik";

const NO_RENDERER: &str = "kustomize 5, or kubectl 1.27 or newer, which contains it";

/// Every overlay, and the base with every set of components; rendered once. `None` without a renderer.
pub fn all() -> Option<&'static [Cluster]> {
    static RENDERED: OnceLock<Option<Vec<Cluster>>> = OnceLock::new();
    let rendered = RENDERED.get_or_init(|| Some(render_all(renderer()?))).as_deref();
    if rendered.is_none() {
        skip(NO_RENDERER);
    }
    rendered
}

/// The rendering of this name.
pub fn one(name: &str) -> Option<&'static Cluster> {
    Some(
        all()?
            .iter()
            .find(|cluster| cluster.name == name)
            .unwrap_or_else(|| panic!("{name} is not rendered")),
    )
}

/// One overlay alone, with secrets of its own. `None` without a renderer.
pub fn overlay(name: &str) -> Option<Cluster> {
    let Some(renderer) = renderer() else {
        skip(NO_RENDERER);
        return None;
    };
    let copy = copy_with_secrets();
    let (name, components) = OVERLAYS.into_iter().find(|(known, _)| *known == name)?;
    let folder = copy.path().join("overlays").join(name);
    Some(render(renderer, &Way { name: name.to_owned(), components: components.to_vec(), folder }))
}

/// A copy of the manifests, since the overlay `dev` needs secrets, and those in the working copy must stay.
fn copy_with_secrets() -> TempDir {
    let copy = tempfile::tempdir().expect("a folder of our own");
    copy_folder(&root().join("infra/k8s"), copy.path());
    let made = Command::new("sh").arg(copy.path().join("overlays/dev/secrets.sh")).output();
    assert!(made.is_ok_and(|made| made.status.success()), "the laptop's secrets are made");
    copy
}

fn render_all(renderer: &[&str]) -> Vec<Cluster> {
    let source = root().join("infra/k8s");
    assert_eq!(
        folders(&source.join("overlays")),
        OVERLAYS.map(|(name, _)| name),
        "the overlays in the folder"
    );
    let mut components = [&COMPONENTS[..], &LAST_COMPONENTS].concat();
    components.sort_unstable();
    assert_eq!(folders(&source.join("components")), components, "the components in the folder");
    let copy = copy_with_secrets();

    let overlays = OVERLAYS.map(|(name, components)| Way {
        name: name.to_owned(),
        components: components.to_vec(),
        folder: copy.path().join("overlays").join(name),
    });
    let sets = (0..1 << COMPONENTS.len()).map(|set: usize| {
        let chosen = COMPONENTS.into_iter().enumerate().filter(|(bit, _)| set & 1 << bit != 0);
        combination(copy.path(), chosen.map(|(_, component)| component).collect())
    });
    let last = LAST_COMPONENTS.map(|component| combination(copy.path(), vec![component]));
    let examples = EXAMPLES.map(|name| example(copy.path(), name));
    let ways: Vec<_> = overlays.into_iter().chain(sets).chain(last).chain(examples).collect();
    let at_once = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = ways
            .chunks(ways.len().div_ceil(at_once))
            .map(|part| scope.spawn(|| part.iter().map(|way| render(renderer, way)).collect::<Vec<_>>()))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("everything renders")).collect()
    })
}

/// One combination.
struct Way {
    name: String,
    components: Vec<&'static str>,
    folder: PathBuf,
}

/// Writes the kustomization of the base with a set of components.
fn combination(copy: &Path, components: Vec<&'static str>) -> Way {
    let name = [&["base"], &components[..]].concat().join("+");
    let listed: Vec<_> = components.iter().map(|component| format!("../../components/{component}")).collect();
    let folder =
        written(copy, &name, &format!("resources: [../../base]\ncomponents: [{}]", listed.join(", ")));
    Way { name, components, folder }
}

/// Writes the kustomization of the overlay `scale` with the example of backups, with or without its patch for a restore.
fn example(copy: &Path, name: &str) -> Way {
    const FOLDER: &str = "examples/postgres-backup";
    let mut text = format!("resources: [../../overlays/{SCALE}]\ncomponents: [../../{FOLDER}]");
    if name.ends_with("restore") {
        text += "\npatches: [{path: restore.yaml, target: {kind: Cluster}}]";
    }
    let folder = written(copy, name, &text);
    // kustomize reads no file outside its folder.
    fs::copy(copy.join(FOLDER).join("restore.yaml"), folder.join("restore.yaml")).expect("a copy");
    let (_, components) = OVERLAYS.into_iter().find(|(known, _)| *known == SCALE).expect("it is listed");
    Way { name: name.to_owned(), components: components.to_vec(), folder }
}

fn written(copy: &Path, name: &str, text: &str) -> PathBuf {
    let folder = copy.join("tests").join(name);
    fs::create_dir_all(&folder)
        .and_then(|()| {
            fs::write(folder.join("kustomization.yaml"), format!("namespace: mini-blog\n{text}\n"))
        })
        .expect("it is written");
    folder
}

fn render(renderer: &[&str], way: &Way) -> Cluster {
    let Way { name, components, folder } = way;
    let output = Command::new(renderer[0]).args(&renderer[1..]).arg(folder).output().expect("it ran before");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} does not render: {said}");
    // kustomize warns of deprecated fields there.
    assert!(said.trim().is_empty(), "{name} renders with a warning: {said}");
    Cluster::parse(name, components.clone(), &String::from_utf8_lossy(&output.stdout))
}

fn folders(at: &Path) -> Vec<String> {
    let entries = fs::read_dir(at).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else if entry.file_name() != "secrets.env" {
            fs::copy(from, to).expect("a copy");
        }
    }
}
