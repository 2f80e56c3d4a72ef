//! How Traefik reads an Ingress: of all rules that match, it takes the one with the longest text, unless an annotation
//! gives the object's rules a priority; and a prefix may end within a segment.

use super::routes::{Route, TRICKY, expected, ingress, our_answer, table};
use crate::object::{Cluster, Object, text};

/// The Ingress of the component `traefik`.
pub(super) const NAME: &str = "ingress-exact-srv";
/// The annotation that gives its rules priority.
const PRIORITY: &str = "/metadata/annotations/traefik.ingress.kubernetes.io~1router.priority";

/// The component repeats the exact routes, for the same host, class and certificate; no other Ingress has annotations.
pub fn exact_paths_come_first(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for object in cluster.of_kind("Ingress").filter(|object| object.name() != NAME) {
        if !object.at("/metadata/annotations").is_null() {
            complaints.push(format!("{}: has annotations", object.name()));
        }
    }
    if !cluster.has("traefik") {
        return complaints;
    }
    let [Some(exact), Some(plain)] = [NAME, "ingress-srv"].map(|name| cluster.find("Ingress", name)) else {
        complaints.push("one of the two Ingresses is missing".to_owned());
        return complaints;
    };
    let wanted: Vec<_> = expected().into_iter().filter(|route| route.exact).collect();
    let found = table(cluster, exact);
    if found.as_ref() != Some(&wanted) {
        complaints.push(format!("{NAME} has {found:?}"));
    }
    let only_priority = exact.at("/metadata/annotations").as_object().is_some_and(|all| all.len() == 1);
    if !only_priority || priority(exact).is_none() {
        complaints.push(format!("{NAME}: its annotations are {}", exact.at("/metadata/annotations")));
    }
    for same in ["/spec/rules/0/host", "/spec/ingressClassName", "/spec/tls"] {
        if exact.at(same) != plain.at(same) {
            complaints.push(format!(
                "{same} is {} for all and {} for exact paths",
                plain.at(same),
                exact.at(same)
            ));
        }
    }
    complaints
}

/// With the component, Traefik and the front door choose the same service for every path, except where Traefik cuts a
/// segment.
pub fn reads_paths_alike(cluster: &Cluster) -> Vec<String> {
    let Some(exact) = cluster.find("Ingress", NAME) else { return vec![] };
    let first = table(cluster, exact).unwrap_or_default().into_iter().map(|route| (priority(exact), route));
    let plain = ingress(cluster).unwrap_or_default().into_iter().map(|route| (None, route));
    let rules: Vec<_> = first.chain(plain).collect();
    let fits = |route: &Route, path: &str| {
        if route.exact { route.path == path } else { path.starts_with(&route.path) }
    };
    // `/postsx` leads to comments, which answers 404 as well.
    let is_cut = |path: &str| {
        expected().iter().any(|route| {
            !route.exact
                && path
                    .strip_prefix(&route.path)
                    .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
                && route.path != "/"
        })
    };
    let mut complaints = Vec::new();
    for path in TRICKY.into_iter().filter(|path| !is_cut(path)) {
        let best = rules
            .iter()
            .filter(|(_, route)| fits(route, path))
            .max_by_key(|(priority, route)| priority.unwrap_or_else(|| rule(route).len()));
        let (found, ours) = (best.map(|(_, route)| route.to.clone()), our_answer(path));
        if found != ours {
            complaints.push(format!("Traefik: {path} leads to {found:?}, not {ours:?}"));
        }
    }
    complaints
}

/// The rule as Traefik writes it, without the host, which is the same in all.
fn rule(route: &Route) -> String {
    format!("{}(`{}`)", if route.exact { "Path" } else { "PathPrefix" }, route.path)
}

/// A priority that is greater than the length of any rule.
fn priority(object: &Object) -> Option<usize> {
    text(object.at(PRIORITY)).parse().ok().filter(|number| *number >= 300)
}
