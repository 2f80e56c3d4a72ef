//! Which program is tested.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Names the program. `cargo xtask` builds one before the tests run, and names that.
const VARIABLE: &str = "MINI_BLOG_BIN";

/// The root of the repository: the stack runs there, so that it finds the site that was built there.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the repository")
}

/// The program `mini-blog`: the one that `MINI_BLOG_BIN` names, else the release or the debug build, whichever was
/// built last.
pub fn path() -> PathBuf {
    if let Some(named) = std::env::var_os(VARIABLE) {
        let named = root().join(named);
        assert!(named.is_file(), "{VARIABLE} names {}, which is no file", named.display());
        return named;
    }
    let target = root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    let built = ["release", "debug"].map(|profile| target.join(profile).join("mini-blog"));
    newest(&built).unwrap_or_else(|| {
        let [release, debug] = built.each_ref().map(|path| path.display());
        panic!(
            "the program is not built: neither {release} nor {debug} exists; \
             run `cargo xtask build`, or name it in {VARIABLE}"
        )
    })
}

/// The file that was written last, of those that exist.
fn newest(files: &[PathBuf]) -> Option<PathBuf> {
    let written = |file: &&PathBuf| -> Option<SystemTime> {
        let metadata = file.metadata().ok()?;
        metadata.is_file().then(|| metadata.modified().ok())?
    };
    files.iter().filter(|file| written(file).is_some()).max_by_key(written).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::Duration;

    #[test]
    fn the_program_that_was_built_last_is_tested_whatever_its_profile() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["release", "debug"].map(|name| folder.path().join(name));
        assert_eq!(newest(&files), None);
        let [release, debug] = &files;
        let older = File::create(release).unwrap();
        assert_eq!(newest(&files).as_ref(), Some(release));
        let newer = File::create(debug).unwrap();
        let built = newer.metadata().unwrap().modified().unwrap();
        older.set_modified(built - Duration::from_secs(3600)).unwrap();
        assert_eq!(newest(&files).as_ref(), Some(debug));
        older.set_modified(built + Duration::from_secs(3600)).unwrap();
        assert_eq!(newest(&files).as_ref(), Some(release));
    }
}
