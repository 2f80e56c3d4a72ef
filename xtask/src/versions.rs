//! Which version of a tool is wanted, and which one is installed.

use anyhow::{Context, Result};
use std::path::Path;

/// The version of a package in the lock file: tools that must match a library follow it.
pub fn locked(root: &Path, package: &str) -> Result<String> {
    let file = root.join("Cargo.lock");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    in_lock_file(&text, package).with_context(|| format!("{} does not have {package}", file.display()))
}

fn in_lock_file(text: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = text.lines().skip_while(|line| *line != name).skip(1);
    let version = lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')?;
    Some(version.to_owned())
}

/// The version in what a program prints for `--version`: the first word that begins with a digit.
pub fn printed(text: &str) -> Option<&str> {
    text.lines().next()?.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "\
[[package]]
name = \"wasm-bindgen-futures\"
version = \"0.4.80\"

[[package]]
name = \"wasm-bindgen\"
version = \"0.2.130\"
source = \"registry\"
dependencies = [
 \"cfg-if\",
]
";

    #[test]
    fn the_lock_file_is_read_by_the_whole_name() {
        assert_eq!(in_lock_file(LOCK, "wasm-bindgen").as_deref(), Some("0.2.130"));
        assert_eq!(in_lock_file(LOCK, "wasm"), None);
        assert_eq!(in_lock_file("name = \"wasm-bindgen\"", "wasm-bindgen"), None);
    }

    #[test]
    fn the_real_lock_file_has_the_version_that_the_manifest_pins() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let locked = locked(root, "wasm-bindgen").unwrap();
        assert!(manifest.contains(&format!("wasm-bindgen = \"={locked}\"")), "{locked}");
        assert!(super::locked(root, "no-such-package").is_err());
    }

    #[test]
    fn versions_are_found_in_what_programs_print() {
        assert_eq!(printed("cargo-leptos 0.3.9"), Some("0.3.9"));
        assert_eq!(printed("wasm-opt version 132 (version_132)"), Some("132"));
        assert_eq!(printed("wasm-bindgen 0.2.130 (abc)\nmore 9"), Some("0.2.130"));
        assert_eq!(printed(""), None);
    }
}
