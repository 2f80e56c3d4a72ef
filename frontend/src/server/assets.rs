//! The files of the built site: finding their names, and serving them.

use super::config::Config;
use crate::pages::Assets;
use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderValue, header};
use std::path::{Path, PathBuf};
use tower_http::services::ServeDir;

/// The folder of the site with the built files.
const PKG: &str = "pkg";
/// The name of the built files, without hash and extension.
const NAME: &str = "mini-blog";
/// Names the hashes, unless the settings name another file.
const HASH_FILE: &str = "hash.txt";

/// For files with a hash of their content in the name.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Other files may change: the browser asks each time.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

#[derive(Debug)]
pub(super) struct SiteFiles {
    pkg: PathBuf,
    hash_files: Vec<PathBuf>,
    /// Looked up once; `None` under `cargo leptos watch`.
    found: Option<Assets>,
}

impl SiteFiles {
    pub(super) fn new(config: &Config) -> Self {
        let root = &config.site_root;
        let beside_program = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(HASH_FILE)));
        let hash_files = match &config.hash_file {
            Some(file) => vec![file.clone()],
            None => beside_program.into_iter().chain([root.join(HASH_FILE)]).collect(),
        };
        let mut site = Self { pkg: root.join(PKG), hash_files, found: None };
        let found = site.find();
        if found.css.is_none() || found.script.is_none() {
            tracing::warn!(
                site_root = %root.display(),
                "the built site is missing or incomplete: pages have no style or script; build it with `cargo xtask build` and set LEPTOS_SITE_ROOT to target/release/site"
            );
        }
        site.found = (!config.watch).then_some(found);
        site
    }

    pub(super) fn assets(&self) -> Assets {
        self.found.clone().unwrap_or_else(|| self.find())
    }

    fn find(&self) -> Assets {
        let hashes = self.hash_files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
        let hashes: Vec<String> = hashes.collect();
        let path = |ending: &str| {
            let hashed = hashes.iter().filter_map(|text| hash_of(text, ending));
            // `cargo leptos watch` hashes its first build only: a name without a hash is newer.
            let mut names = [format!("{NAME}.{ending}")]
                .into_iter()
                .chain(hashed.map(|h| format!("{NAME}.{h}.{ending}")));
            let name = names.find(|name| self.pkg.join(name).is_file()).or_else(|| self.newest(ending));
            name.map(|name| format!("/{PKG}/{name}"))
        };
        Assets { css: path("css"), script: path("js").zip(path("wasm")) }
    }

    /// The newest hashed file, for a site that was built separately from this program.
    fn newest(&self, ending: &str) -> Option<String> {
        let names = std::fs::read_dir(&self.pkg).ok()?.filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let hash = name.strip_prefix(NAME)?.strip_prefix('.')?.strip_suffix(ending)?.strip_suffix('.')?;
            is_hash(hash).then_some((entry.metadata().ok()?.modified().ok()?, name))
        });
        names.max().map(|(_, name)| name)
    }
}

/// A line of the hash file is `js: HASH`.
fn hash_of<'a>(text: &'a str, ending: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut hashes = lines.filter(|(name, _)| name.trim() == ending).map(|(_, hash)| hash.trim());
    // It becomes part of a path and of a script, so it is checked.
    hashes.next().filter(|hash| is_hash(hash))
}

fn is_hash(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Serves the files of the site, and everything else with `otherwise`.
pub(super) fn files(root: &Path, otherwise: Router) -> ServeDir<Router> {
    ServeDir::new(root)
        .append_index_html_on_directories(false)
        .precompressed_br()
        .precompressed_gzip()
        .call_fallback_on_method_not_allowed(true)
        .fallback(otherwise)
}

/// A middleware that says how long a file may be cached.
pub(super) async fn cache(request: Request, next: Next) -> Response {
    let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let mut response = next.run(request).await;
    if response.headers().contains_key(header::LAST_MODIFIED) {
        let control = if has_hash(&name) { IMMUTABLE } else { NO_CACHE };
        response.headers_mut().insert(header::CACHE_CONTROL, control);
    }
    response
}

/// Whether this is `NAME.HASH.ENDING`.
fn has_hash(name: &str) -> bool {
    let mut parts = name.split('.');
    let hash = parts.nth(1).filter(|hash| hash.len() >= 16);
    parts.next().is_some() && hash.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(files: &[&str], hashes: Option<&str>) -> Assets {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(PKG)).unwrap();
        for file in files {
            std::fs::write(root.path().join(PKG).join(file), "").unwrap();
        }
        if let Some(text) = hashes {
            std::fs::write(root.path().join(HASH_FILE), text).unwrap();
        }
        let hash_files = vec![root.path().join(HASH_FILE)];
        SiteFiles { pkg: root.path().join(PKG), hash_files, found: None }.find()
    }

    #[test]
    fn the_hash_file_names_the_files() {
        let files = ["mini-blog.J.js", "mini-blog.W-_1.wasm", "mini-blog.C.css"];
        let found = site(&files, Some("js: J\nwasm: W-_1\ncss: C\n"));
        let script = ("/pkg/mini-blog.J.js".to_owned(), "/pkg/mini-blog.W-_1.wasm".to_owned());
        assert_eq!(found, Assets { css: Some("/pkg/mini-blog.C.css".into()), script: Some(script) });
    }

    #[test]
    fn without_hashes_the_plain_names_are_taken_and_the_newer_ones_win() {
        let plain = ["mini-blog.js", "mini-blog.wasm", "mini-blog.css"];
        assert_eq!(site(&plain, None).css.as_deref(), Some("/pkg/mini-blog.css"));
        let both = ["mini-blog.js", "mini-blog.wasm", "mini-blog.css", "mini-blog.C.css"];
        assert_eq!(site(&both, Some("css: C")).css.as_deref(), Some("/pkg/mini-blog.css"));
    }

    #[test]
    fn a_site_without_its_hash_file_is_found_as_well() {
        let files =
            ["mini-blog.J.js", "mini-blog.d.J.ts", "mini-blog.W.wasm", "mini-blog.W.wasm.br", "other.C.css"];
        for hashes in [None, Some("js: OLD\nwasm: OLD\ncss: OLD")] {
            let script = ("/pkg/mini-blog.J.js".to_owned(), "/pkg/mini-blog.W.wasm".to_owned());
            assert_eq!(site(&files, hashes), Assets { css: None, script: Some(script) });
        }
    }

    #[test]
    fn a_page_never_names_a_file_that_is_not_there() {
        assert_eq!(site(&[], Some("js: J\nwasm: W\ncss: C")), Assets::default());
        assert_eq!(
            site(&["mini-blog.js"], None).script,
            None,
            "a script without its WebAssembly is of no use"
        );
        assert_eq!(site(&["mini-blog.js"], Some("js: ../../etc/passwd")).css, None);
        assert_eq!(hash_of("js: a\"b", "js"), None);
    }

    #[test]
    fn hashed_names_are_told_from_others() {
        assert!(has_hash("mini-blog.kGPPNdDv28txtVOiExLaIQ.wasm"));
        for plain in ["mini-blog.wasm", "favicon.svg", "mini-blog.d.ts", "robots.txt", ""] {
            assert!(!has_hash(plain), "{plain}");
        }
    }
}
