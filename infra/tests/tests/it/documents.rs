//! The documents name tests, files, headings and settings that exist.

use manifest_tests::policy::settings::program;
use manifest_tests::repository::{files, read};
use manifest_tests::tools::root;
use shared::ServiceName;
use std::collections::BTreeSet;
use std::path::Path;

/// The texts between backticks; fenced blocks have none.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split("```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2))
}

/// The part of a document under a heading.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let after = document.split_once(heading).unwrap_or_else(|| panic!("no heading {heading:?}")).1;
    after.split("\n## ").next().unwrap_or_default()
}

/// The names of all functions of the sources.
fn functions() -> BTreeSet<String> {
    let name = |line: &str| {
        let rest = line.trim_start().trim_start_matches("pub ").trim_start_matches("async ");
        let name = rest.strip_prefix("fn ")?.split(['(', '<']).next()?;
        Some(name.to_owned())
    };
    files("rs").iter().flat_map(|path| read(path).lines().filter_map(name).collect::<Vec<_>>()).collect()
}

fn unknown_tests(table: &str, functions: &BTreeSet<String>) -> Vec<String> {
    // One word is a module or a flag; the name of a test is a sentence.
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let names = rows.flat_map(quoted).filter(|name| name.contains('_'));
    names.filter(|name| !functions.contains(*name)).map(str::to_owned).collect()
}

#[test]
fn every_guarantee_names_tests_that_exist() {
    let architecture = read("docs/ARCHITECTURE.md");
    let table = section(&architecture, "## The guarantees, and the tests that prove them");
    let functions = functions();
    assert_eq!(unknown_tests(table, &functions), [""; 0]);
    assert_eq!(unknown_tests("| x | `no_such_test` (kit) |", &functions), ["no_such_test"]);
}

/// The paths in a document that begin in the root of the repository and lead nowhere.
fn missing_paths(document: &str, text: &str, folders: &BTreeSet<String>) -> Vec<String> {
    let is_path = |text: &&str| {
        text.split_once('/').is_some_and(|(first, _)| folders.contains(first))
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
    };
    let beside = root().join(document).parent().map(Path::to_owned).unwrap_or_default();
    let exists = |path: &str| root().join(path).exists() || beside.join(path).exists();
    // `NAME` stands for any name.
    let named = quoted(text).filter(is_path).filter(|path| !path.contains("NAME"));
    named.filter(|path| !exists(path)).map(str::to_owned).collect()
}

#[test]
fn every_path_in_the_documents_exists() {
    let folders: BTreeSet<_> =
        files("").iter().filter_map(|path| Some(path.split_once('/')?.0.to_owned())).collect();
    for document in files("md") {
        assert_eq!(missing_paths(&document, &read(&document), &folders), [""; 0], "{document}");
    }
    let wrong = "`docs/GLOSSARY.md`, `docs/NOTHING.md`, `or/else`";
    assert_eq!(missing_paths("README.md", wrong, &folders), ["docs/NOTHING.md"]);
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let title = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        title.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    headings.map(anchor).collect()
}

/// The links of a document to files and headings that do not exist.
fn dead_links(document: &str, text: &str) -> Vec<String> {
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let inside = links.filter(|link| !link.contains("://"));
    let dead = inside.filter(|link| {
        let (file, anchor) =
            link.split_once('#').map_or((*link, None), |(file, anchor)| (file, Some(anchor)));
        let target = root().join(document).with_file_name(file);
        let target = if file.is_empty() { root().join(document) } else { target };
        let headings = || std::fs::read_to_string(&target).map(|text| anchors(&text)).unwrap_or_default();
        !target.exists() || anchor.is_some_and(|anchor| !headings().contains(anchor))
    });
    dead.map(str::to_owned).collect()
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    for document in files("md") {
        assert_eq!(dead_links(&document, &read(&document)), [""; 0], "{document}");
    }
    let wrong =
        "[a](NOTHING.md) [b](GLOSSARY.md#tests) [c](GLOSSARY.md#nothing) [d](#tests) [e](https://x.example)";
    assert_eq!(dead_links("docs/GLOSSARY.md", wrong), ["NOTHING.md", "GLOSSARY.md#nothing"]);
}

#[test]
fn the_readme_lists_every_setting() {
    let readme = read("README.md");
    let listed: BTreeSet<_> = quoted(section(&readme, "## Configuration")).collect();
    for service in ServiceName::ALL {
        for arg in program(service).get_arguments().filter(|arg| !arg.is_hide_set()) {
            let Some(variable) = arg.get_env().and_then(|name| name.to_str()) else { continue };
            assert!(listed.contains(variable), "README.md does not list {variable} of {service}");
            let flag = format!("--{}", arg.get_long().expect("a flag"));
            // One row stands for the secrets of all services.
            let known = listed.iter().any(|name| name.split(' ').next() == Some(flag.as_str()));
            assert!(known || variable.ends_with("_SECRET"), "README.md does not list {flag} of {service}");
        }
    }
}
