//! Which program is tested.

use std::path::{Path, PathBuf};

/// Names the program where it is not one that cargo built here.
const VARIABLE: &str = "MINI_BLOG_BIN";

/// The root of the repository: the stack runs there, so that it finds the site that was built there.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the repository")
}

/// The program `mini-blog`: the one that `MINI_BLOG_BIN` names, else the release build, else the debug build.
pub fn path() -> PathBuf {
    if let Some(named) = std::env::var_os(VARIABLE) {
        let named = root().join(named);
        assert!(named.is_file(), "{VARIABLE} names {}, which is no file", named.display());
        return named;
    }
    let target = root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    let built = ["release", "debug"].map(|profile| target.join(profile).join("mini-blog"));
    built.iter().find(|path| path.is_file()).cloned().unwrap_or_else(|| {
        let [release, debug] = built.each_ref().map(|path| path.display());
        panic!(
            "the program is not built: there is neither {release} nor {debug}; \
             run `cargo xtask build`, or name it in {VARIABLE}"
        )
    })
}
