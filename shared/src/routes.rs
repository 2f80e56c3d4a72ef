//! Which service serves which public path.
//!
//! The reverse proxy routes by this table, and a test compares the ingress manifests with it. It has only exact and
//! prefix matches, which every ingress controller supports: the longest path wins; of two paths of the same length the
//! exact one.

use crate::service::ServiceName;

/// How the path of a request is compared with the path of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathMatch {
    /// Equal.
    Exact,
    /// Equal or below, by whole segments.
    Prefix,
}

/// One row of [`PUBLIC_ROUTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicRoute {
    /// Without a trailing slash, except for the root.
    pub path: &'static str,
    /// Exact or prefix.
    pub path_match: PathMatch,
    /// Where matching requests are forwarded to.
    pub service: ServiceName,
    /// Whether an answer may last as long as the client stays: no total timeout, no buffering.
    pub stream: bool,
}

const fn route(path: &'static str, path_match: PathMatch, service: ServiceName) -> PublicRoute {
    PublicRoute { path, path_match, service, stream: false }
}

/// The course's host name of the site.
pub const HOST: &str = "posts.com";

/// In no particular order.
pub const PUBLIC_ROUTES: &[PublicRoute] = &[
    route("/posts/create", PathMatch::Exact, ServiceName::Posts),
    route("/posts", PathMatch::Exact, ServiceName::Query),
    route("/posts", PathMatch::Prefix, ServiceName::Comments),
    route("/query", PathMatch::Prefix, ServiceName::Query),
    PublicRoute { path: "/live", path_match: PathMatch::Exact, service: ServiceName::Query, stream: true },
    route("/moderation", PathMatch::Prefix, ServiceName::Moderation),
    route("/", PathMatch::Prefix, ServiceName::Frontend),
];

/// The first segments of paths that are never public, whichever service has them.
pub const NEVER_PUBLIC: &[&str] = &["events", "metrics", "livez", "readyz", "subscriptions", "dead-letters"];

/// The path could be read in two ways, so it is not routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path is not in normal form")]
pub struct AmbiguousPath;

impl PublicRoute {
    fn matches(&self, path: &str) -> bool {
        match self.path_match {
            PathMatch::Exact => path == self.path,
            PathMatch::Prefix => {
                let base = self.path.trim_end_matches('/');
                path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

/// The route for this path, which is the one of the request line without the query.
///
/// Refuses dot segments, empty segments, semicolons, backslashes, and an encoded slash, dot, backslash, percent sign,
/// semicolon or control character: two programs may read such a path differently, and so reach what is not public.
pub fn find(path: &str) -> Result<&'static PublicRoute, AmbiguousPath> {
    if !is_valid(path) {
        return Err(AmbiguousPath);
    }
    PUBLIC_ROUTES
        .iter()
        .filter(|r| r.matches(path))
        .max_by_key(|r| (r.path.len(), r.path_match == PathMatch::Exact))
        .ok_or(AmbiguousPath)
}

fn is_valid(path: &str) -> bool {
    if !path.starts_with('/') || path.contains("//") || path.contains('\\') || path.contains(';') {
        return false;
    }
    if path.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        return false;
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return false;
    }
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let Some(code) = rest.get(at + 1..at + 3) else { return false };
        let Ok(byte) = u8::from_str_radix(code, 16) else { return false };
        if matches!(byte, b'/' | b'.' | b'\\' | b'%' | b';') || byte.is_ascii_control() {
            return false;
        }
        rest = &rest[at + 3..];
    }
    true
}

/// The path of a post's page on the website.
pub fn post_page(id: &crate::PostId) -> String {
    format!("/p/{id}")
}

/// The path of a post's comments, for reading and writing.
pub fn post_comments(id: &crate::PostId) -> String {
    format!("/posts/{id}/comments")
}

/// The path of a post with its comments.
pub fn query_post(id: &crate::PostId) -> String {
    format!("/query/posts/{id}")
}

/// The path that creates posts.
pub const CREATE_POST: &str = "/posts/create";
/// The path of the stream of changes.
pub const LIVE: &str = "/live";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to(path: &str) -> &'static str {
        find(path).map_or("refused", |r| r.service.as_str())
    }

    #[test]
    fn every_public_path_reaches_its_service() {
        for (path, service) in [
            ("/posts/create", "posts"),
            ("/posts", "query"),
            ("/posts/", "comments"),
            ("/posts/1/comments", "comments"),
            ("/posts/create/x", "comments"),
            ("/postsx", "frontend"),
            ("/query/posts/1", "query"),
            ("/query", "query"),
            ("/queryx", "frontend"),
            ("/live", "query"),
            ("/live/x", "frontend"),
            ("/moderation/queue", "moderation"),
            ("/", "frontend"),
            ("/p/1", "frontend"),
            ("/events", "frontend"),
        ] {
            assert_eq!(to(path), service, "{path}");
        }
    }

    #[test]
    fn paths_that_can_be_read_in_two_ways_are_refused() {
        for path in [
            "/posts/../events",
            "/posts/%2e%2e/events",
            "/posts/%2E./events",
            "/posts//events",
            "//events",
            "/query/..%2fevents",
            "/query/%2Fevents",
            "/query/.",
            "/posts\\..\\events",
            "/posts/%5c",
            "/a%00b",
            "/a%zz",
            "/a%2",
            "/a%252e",
            "",
            "posts",
            "/posts/..;/events",
            "/posts/%3b",
            "/a b",
        ] {
            assert_eq!(to(path), "refused", "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in "(/|%|\\.|[a-f0-9]|ä|posts|events){0,12}") {
            let _ = find(&path);
        }

        #[test]
        fn nothing_private_is_routed_to_a_service(
            segment in prop::sample::select(NEVER_PUBLIC), tail in "(/[a-z0-9]{1,4}){0,2}"
        ) {
            prop_assert_eq!(to(&format!("/{segment}{tail}")), "frontend");
        }
    }
}
