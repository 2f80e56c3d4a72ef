//! The copy of the sources in which bugs are planted.

use super::Planted;
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the copy stands, with a target folder of its own that stays from run to run.
const FOLDER: &str = "target/planted-bugs";

/// A copy of the workspace as it is now, locked by one run.
#[derive(Debug)]
pub struct Tree {
    folder: PathBuf,
    _lock: File,
}

impl Tree {
    /// Brings the copy up to date. What has not changed keeps its time, so that cargo compiles little again; what an
    /// earlier run left planted is undone.
    pub fn take(root: &Path) -> Result<Self> {
        let folder = root.join(FOLDER);
        fs::create_dir_all(folder.join("logs"))
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let lock = File::create(folder.join("lock")).context("cannot lock the copy")?;
        lock.try_lock().with_context(|| format!("another run uses {}", folder.display()))?;
        let this = Self { folder, _lock: lock };
        let files = files_of(root)?;
        for file in &files {
            let text = fs::read(root.join(file)).with_context(|| format!("cannot read {file}"))?;
            let copy = this.root().join(file);
            if fs::read(&copy).ok().as_ref() != Some(&text) {
                write(&copy, &text)?;
            }
        }
        this.remove_others(&this.root(), &files)?;
        Ok(this)
    }

    /// The folder of the copied workspace.
    pub fn root(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// Where it is built.
    pub fn target_dir(&self) -> PathBuf {
        self.folder.join("target")
    }

    /// Where the output goes of what runs under this name.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.txt"))
    }

    /// Changes the copy. Returns the files as they were.
    pub fn plant(&self, planted: &Planted) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let edited = planted.edited(&self.root())?;
        let mut before = BTreeMap::new();
        for (file, text) in edited {
            let path = self.root().join(&file);
            before.insert(path.clone(), fs::read(&path).with_context(|| format!("cannot read {file}"))?);
            write(&path, text.as_bytes())?;
        }
        Ok(before)
    }

    /// Takes a planted bug out again.
    pub fn undo(before: BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
        before.iter().try_for_each(|(path, text)| write(path, text))
    }

    fn remove_others(&self, folder: &Path, files: &BTreeSet<String>) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                self.remove_others(&path, files)?;
                continue;
            }
            let name = path.strip_prefix(self.root()).unwrap_or(&path).to_string_lossy().into_owned();
            if !files.contains(&name) {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// What git knows of, and what it would know of after `git add`.
fn files_of(root: &Path) -> Result<BTreeSet<String>> {
    let mut list = Command::new("git");
    list.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = list.output().context("cannot run git")?;
    ensure!(output.status.success(), "git cannot list the files of {}", root.display());
    let names = String::from_utf8(output.stdout).context("a file's name is no text")?;
    // One that was removed and is still in the index is no longer a file.
    let files = names.split('\0').filter(|name| root.join(name).is_file());
    Ok(files.map(str::to_owned).collect())
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    let folder = path.parent().with_context(|| format!("{} is no file", path.display()))?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_what_the_workspace_is_and_keeps_the_time_of_what_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let git = |args: &[&str]| {
            assert!(Command::new("git").current_dir(root).args(args).status().unwrap().success());
        };
        git(&["init", "--quiet"]);
        for (file, text) in
            [("a", "1"), ("src/b", "2"), ("gone", "3"), ("ignored", "4"), (".gitignore", "/target\n/ignored")]
        {
            write(&root.join(file), text.as_bytes()).unwrap();
        }
        git(&["add", "--all"]);
        write(&root.join("new"), b"5").unwrap();
        fs::remove_file(root.join("gone")).unwrap();

        let tree = Tree::take(root).unwrap();
        let copy = |file: &str| fs::read_to_string(tree.root().join(file)).ok();
        assert_eq!(
            (copy("a"), copy("src/b"), copy("new")),
            (Some("1".into()), Some("2".into()), Some("5".into()))
        );
        assert_eq!((copy("gone"), copy("ignored")), (None, None));
        assert!(Tree::take(root).is_err(), "one run at a time");

        let time = |file: &str| fs::metadata(tree.root().join(file)).unwrap().modified().unwrap();
        let (a, b) = (time("a"), time("src/b"));
        write(&tree.root().join("src/b"), b"planted").unwrap();
        write(&tree.root().join("left-behind"), b"").unwrap();
        let folder = tree.root();
        drop(tree);
        Tree::take(root).unwrap();
        let time = |file: &str| fs::metadata(folder.join(file)).unwrap().modified().unwrap();
        assert_eq!(time("a"), a);
        assert!(time("src/b") > b);
        assert_eq!(fs::read_to_string(folder.join("src/b")).unwrap(), "2");
        assert!(!folder.join("left-behind").exists());
    }
}
