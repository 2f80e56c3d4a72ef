//! Rules about the sources of the services that no compiler and no lint checks.

use std::path::{Path, PathBuf};

/// Every source file of the services, with its text. Tests and the testkit may use the runtime as they like.
fn sources() -> Vec<(PathBuf, String)> {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut folders, mut found) = (Vec::new(), Vec::new());
    for service in std::fs::read_dir(services).unwrap() {
        let service = service.unwrap();
        if service.file_name() != "testkit" {
            folders.push(service.path().join("src"));
        }
    }
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
                found.push((path, code));
            }
        }
    }
    assert!(found.len() > 30, "the sources are where they were");
    found
}

#[test]
fn every_select_is_biased() {
    for (path, text) in sources() {
        for (at, _) in text.match_indices("select!") {
            let body = text[at + "select!".len()..].trim_start_matches([' ', '{', '\n']);
            assert!(body.starts_with("biased;"), "{}: {}", path.display(), &body[..body.len().min(80)]);
        }
    }
}

#[test]
fn the_runtime_is_used_through_one_module() {
    for (path, text) in sources() {
        if path.ends_with("kit/src/rt.rs") {
            continue;
        }
        for around in
            ["tokio::time::", "tokio::task::", "tokio::spawn", "std::time::Instant", "std::thread::spawn"]
        {
            assert!(!text.contains(around), "{} uses {around} instead of kit::rt", path.display());
        }
    }
}
