//! The manifests, rendered in every way in which they can be combined.

use crate::object::Cluster;
use crate::tools::{renderer, root, skip};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{fs, thread};
use tempfile::TempDir;

/// All overlays, each with its components.
pub const OVERLAYS: [(&str, &[&str]); 3] = [
    ("dev", &["traefik"]),
    ("dev-gateway", &["gateway-api", "traefik"]),
    ("production", &["hpa", "monitoring", "network-policy", "traefik"]),
];
pub const COMPONENTS: [&str; 6] =
    ["gateway-api", "hpa", "monitoring", "network-policy", "nodeport", "traefik"];
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
    assert_eq!(folders(&source.join("components")), COMPONENTS, "the components in the folder");
    let copy = copy_with_secrets();

    let overlays = OVERLAYS.map(|(name, components)| Way {
        name: name.to_owned(),
        components: components.to_vec(),
        folder: copy.path().join("overlays").join(name),
    });
    let sets = (0..1 << COMPONENTS.len()).map(|set: usize| combination(copy.path(), set));
    let ways: Vec<_> = overlays.into_iter().chain(sets).collect();
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

/// Writes the kustomization of the base with a set of components, given as bits.
fn combination(copy: &Path, set: usize) -> Way {
    let chosen = COMPONENTS.into_iter().enumerate().filter(|(bit, _)| set & 1 << bit != 0);
    let components: Vec<_> = chosen.map(|(_, component)| component).collect();
    let name = [&["base"], &components[..]].concat().join("+");
    let listed: Vec<_> = components.iter().map(|component| format!("../../components/{component}")).collect();
    let folder = copy.join("tests").join(&name);
    let text = format!(
        "namespace: mini-blog
resources: [../../base]
components: [{}]
",
        listed.join(", ")
    );
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("kustomization.yaml"), text))
        .expect("it is written");
    Way { name, components, folder }
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
