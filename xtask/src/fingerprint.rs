//! Whether the site must be built again: a number that changes with what it is built from, or with what was built.

use anyhow::{Context, Result};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The number of these files and folders, by their names and content. A missing one counts as empty.
pub fn of(root: &Path, parts: &[&str]) -> Result<u64> {
    let mut files = Vec::new();
    for part in parts {
        collect(&root.join(part), &mut files)?;
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        let content = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        file.strip_prefix(root).unwrap_or(&file).hash(&mut hasher);
        content.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
    } else if path.is_dir() {
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in entries {
            collect(&entry?.path(), files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_changes_with_every_name_and_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let (root, parts) = (dir.path(), ["src", "lock", "missing"]);
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
        std::fs::create_dir_all(root.join("src/deep")).unwrap();
        write("lock", "1");
        write("src/a", "x");
        write("src/deep/b", "y");
        let first = of(root, &parts).unwrap();
        assert_eq!(of(root, &parts).unwrap(), first);
        write("other", "not a part");
        write("src/a", "x");
        assert_eq!(of(root, &parts).unwrap(), first);
        write("src/deep/b", "z");
        let second = of(root, &parts).unwrap();
        assert_ne!(first, second);
        std::fs::rename(root.join("src/a"), root.join("src/c")).unwrap();
        assert_ne!(of(root, &parts).unwrap(), second);
    }
}
