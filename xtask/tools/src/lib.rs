//! Where tools are installed: the rule that `cargo xtask` and the tests of the manifests share.

use std::env;
use std::path::{Path, PathBuf};

/// The folder of the tools that are installed for mini-blog alone. It is outside `target`, so that `cargo clean` and a
/// second checkout keep them: `MINI_BLOG_TOOLS`, or one in the user's cache. Where there is no home either, it is in
/// `target` of the workspace whose `root` this is.
pub fn tools_dir(root: &Path) -> PathBuf {
    let cache = || folder_of("XDG_CACHE_HOME").or_else(|| Some(env::home_dir()?.join(".cache")));
    let tools = folder_of("MINI_BLOG_TOOLS").or_else(|| Some(cache()?.join("mini-blog/tools")));
    tools.unwrap_or_else(|| root.join("target/tools"))
}

/// The folder that an environment variable names, if it is set and not empty.
pub fn folder_of(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}
