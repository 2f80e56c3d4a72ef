//! Whether cargo-leptos makes the same site: `cargo leptos watch` is for work on the frontend, and what it shows must be
//! what readers get.

use crate::shell::{Shell, run};
use crate::site;
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Where cargo-leptos makes its site.
const SITE: &str = "target/leptos-site";

/// Builds the site with cargo-leptos, and fails where it is not the one that was built before.
pub fn makes_the_same(shell: &Shell) -> Result<()> {
    let mut build = shell.command("cargo-leptos");
    build.args(["leptos", "build", "--release", "--precompress", "--frontend-only"]);
    run("build the site with cargo-leptos", build.env("LEPTOS_SITE_ROOT", SITE))?;
    compare(&site::folder(shell), &shell.root().join(SITE))
}

/// Fails where a page could notice which of the two sites it is served with.
fn compare(ours: &Path, theirs: &Path) -> Result<()> {
    let (ours, theirs) = (files(ours, ours)?, files(theirs, theirs)?);
    // Types for TypeScript, which no page loads, and the hashes, which only we put into the site.
    let matters = |name: &&String| !name.contains(".d.") && *name != "hash.txt";
    let names = |site: &BTreeMap<String, Vec<u8>>| site.keys().filter(matters).cloned().collect::<Vec<_>>();
    ensure!(names(&ours) == names(&theirs), "other files: {:?} and {:?}", names(&ours), names(&theirs));
    for (name, content) in ours.iter().filter(|(name, _)| matters(name)) {
        let other = &theirs[name];
        let same = match name.rsplit('.').next() {
            // Those of other content differ, too.
            Some("br" | "gz") => true,
            // Each is made smaller by another program, which renames what only the script itself uses.
            Some("js") => interface(content) == interface(other),
            Some("css") => rules(content) == rules(other),
            _ => content == other,
        };
        ensure!(same, "{name} is not the same");
    }
    Ok(())
}

/// All files of a site by their names without hashes.
fn files(root: &Path, folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            all.append(&mut files(root, &path)?);
        } else {
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            let parts = name.split('.').filter(|part| part.len() < 16 || part.contains('/'));
            all.insert(parts.collect::<Vec<_>>().join("."), fs::read(&path)?);
        }
    }
    Ok(all)
}

/// The names that no program may change: what a script exports for the page, and the functions that it gives to the
/// WebAssembly, whose names end with a hash.
fn interface(script: &[u8]) -> BTreeSet<String> {
    let script = String::from_utf8_lossy(script);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let given = script.split(|c| !is_name(c)).filter(|word| {
        let hash = word.strip_prefix("__wb").and_then(|name| name.rsplit_once('_'));
        hash.is_some_and(|(_, hash)| hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit()))
    });
    exports(&script).into_iter().chain(given.map(ToOwned::to_owned)).collect()
}

fn exports(script: &str) -> Vec<String> {
    let exports = script.split("export").skip(1).filter_map(|rest| {
        let rest = rest.trim_start();
        match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().map(|list| {
                let names = list.split(',').filter_map(|part| part.rsplit(" as ").next());
                names.map(|name| name.trim().to_owned()).collect::<Vec<_>>()
            }),
            None => ["function ", "class "]
                .iter()
                .find_map(|kind| rest.strip_prefix(kind))
                .and_then(|rest| rest.split(['(', '{', ' ']).next())
                .map(|name| vec![name.to_owned()]),
        }
    });
    exports.flatten().filter(|name| !name.is_empty()).collect()
}

/// The selectors of a style sheet, without what a browser's prefix adds.
fn rules(style: &[u8]) -> Vec<String> {
    let style = String::from_utf8_lossy(style);
    style
        .split('{')
        .map(|part| part.rsplit(['}', ';']).next().unwrap_or_default().trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the files of a site, and returns its folder.
    fn site(files: [(&str, &str); 4]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("pkg")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn only_what_a_page_could_notice_makes_two_sites_differ() {
        let ours = [
            ("hash.txt", "js: 0123456789abcdef"),
            (
                "pkg/n.0123456789abcdef.js",
                "export class C { }\nexport function b() { return { __wbg_get_0123456789abcdef: function() {} }; }\nexport { a, init as default };",
            ),
            ("pkg/n.fedcba9876543210.wasm", "code"),
            ("pkg/n.aaaabbbbccccdddd.css", ".a{color:red}.b{color:red}"),
        ];
        let theirs = [
            ("pkg/n.d.MYnSs0A2I4Hnh7nI3QJjnA.ts", "types"),
            (
                "pkg/n.MYnSs0A2I4Hnh7nI3QJjnA.js",
                "let w={__wbg_get_0123456789abcdef(){}};export{c as C,x as b,y as a,z as default};",
            ),
            ("pkg/n.cXc7P1Uay2KBsb-XouYXXg.wasm", "code"),
            ("pkg/n.S3tSm1yvmysHCCV9CGP9TA.css", ".a{-moz-color:red;color:red}.b{color:red}"),
        ];
        let compare = |theirs| super::compare(site(ours).path(), site(theirs).path());
        compare(theirs).unwrap();
        for (at, other) in [
            (1, "let w={__wbg_get_0123456789abcdef(){}};export{c as C,x as b,z as default};"),
            (1, "let w={__wbg_set_0123456789abcdef(){}};export{c as C,x as b,y as a,z as default};"),
            (2, "other"),
            (3, ".a{color:red}"),
        ] {
            let mut theirs = theirs;
            theirs[at].1 = other;
            let error = compare(theirs).unwrap_err().to_string();
            assert!(error.contains("is not the same"), "{error}");
        }
        let mut theirs = theirs;
        theirs[2].0 = "pkg/m.cXc7P1Uay2KBsb-XouYXXg.wasm";
        assert!(compare(theirs).is_err());
    }
}
