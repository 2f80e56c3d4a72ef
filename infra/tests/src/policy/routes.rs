//! The public routes: the Ingress and the HTTPRoute against the table in `shared`.

use crate::names::cluster_service;
use crate::object::{Cluster, Object, at, list, text};
use serde_json::{Value, json};
use shared::ServiceName;
use shared::routes::{HOST, PUBLIC_ROUTES, PathMatch, find};
use std::collections::BTreeSet;

/// Paths that tell apart the ways in which controllers compare.
pub(super) const TRICKY: [&str; 19] = [
    "/",
    "/posts",
    "/posts/",
    "/posts/create",
    "/posts/create/",
    "/posts/create/x",
    "/posts/x/comments",
    "/postsx",
    "/live",
    "/live/",
    "/livex",
    "/query",
    "/query/x",
    "/queryx",
    "/moderation",
    "/moderation/x",
    "/moderationx",
    "/events",
    "/p/1",
];

/// One line of a rendered table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) path: String,
    pub(super) exact: bool,
    /// The Service, and the number of its port.
    pub(super) to: (String, Option<u64>),
}

/// The table of `shared`.
pub(super) fn expected() -> Vec<Route> {
    let routes = PUBLIC_ROUTES.iter().map(|route| Route {
        path: route.path.to_owned(),
        exact: route.path_match == PathMatch::Exact,
        to: target(route.service),
    });
    routes.collect()
}

fn target(service: ServiceName) -> (String, Option<u64>) {
    (cluster_service(service).to_owned(), Some(service.default_port().into()))
}

/// The service to which our own front door forwards.
pub(super) fn our_answer(path: &str) -> Option<(String, Option<u64>)> {
    find(path).ok().map(|route| target(route.service))
}

/// The table of the Ingress that has all routes.
pub(super) fn ingress(cluster: &Cluster) -> Option<Vec<Route>> {
    table(cluster, cluster.find("Ingress", "ingress-srv")?)
}

/// An Ingress's table; `None` if it has no rule or several, or compares in another way.
pub(super) fn table(cluster: &Cluster, object: &Object) -> Option<Vec<Route>> {
    let rules = object.at("/spec/rules").as_array().filter(|rules| rules.len() == 1)?;
    let paths = list(at(&rules[0], "/http/paths")).map(|path| {
        let service = at(path, "/backend/service");
        Some(Route {
            path: text(at(path, "/path")).to_owned(),
            exact: comparison(text(at(path, "/pathType")), "Prefix")?,
            to: (text(at(service, "/name")).to_owned(), port_number(cluster, service)),
        })
    });
    paths.collect()
}

/// The HTTPRoute's table, with the timeout of each route; `None` if a rule does more than lead to one backend.
fn http_route(cluster: &Cluster) -> Option<Vec<(Route, String)>> {
    let mut objects = cluster.of_kind("HTTPRoute");
    let (Some(object), None) = (objects.next(), objects.next()) else { return None };
    let rules = list(object.at("/spec/rules")).map(|rule| {
        let (matches, backends) = (at(rule, "/matches").as_array()?, at(rule, "/backendRefs").as_array()?);
        let ([one], [backend]) = (matches.as_slice(), backends.as_slice()) else { return None };
        // A filter could rewrite a public path to a private one; a weight of 0 answers nobody.
        let is_plain = one.as_object().is_some_and(|fields| fields.len() == 1)
            && [at(rule, "/filters"), at(backend, "/filters"), at(backend, "/weight")]
                .iter()
                .all(|v| v.is_null());
        let route = Route {
            path: text(at(one, "/path/value")).to_owned(),
            exact: comparison(text(at(one, "/path/type")), "PathPrefix")?,
            to: (text(at(backend, "/name")).to_owned(), at(backend, "/port").as_u64()),
        };
        is_plain.then(|| (route, text(at(rule, "/timeouts/request")).to_owned()))
    });
    rules.collect()
}

fn comparison(kind: &str, prefix: &str) -> Option<bool> {
    match kind {
        "Exact" => Some(true),
        other => (other == prefix).then_some(false),
    }
}

fn port_number(cluster: &Cluster, backend: &Value) -> Option<u64> {
    let ports = cluster.find("Service", text(at(backend, "/name")))?.at("/spec/ports");
    list(ports)
        .find(|p| {
            [("/name", "/port/name"), ("/port", "/port/number")].iter().any(|(of, wanted)| {
                let wanted = at(backend, wanted);
                !wanted.is_null() && at(p, of) == wanted
            })
        })?
        .get("port")?
        .as_u64()
}

/// The same routes, and no default backend.
pub fn ingress_has_the_public_routes(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    let found = ingress(cluster);
    if found.as_ref() != Some(&expected()) {
        complaints.push(format!("the Ingress has {found:?}"));
    }
    for object in cluster.of_kind("Ingress") {
        if !object.at("/spec/defaultBackend").is_null() {
            complaints.push(format!("{}: its default backend serves every other path", object.name()));
        }
    }
    complaints
}

/// The same routes; no timeout for streams, and for all else one that is longer than the longest wait.
pub fn http_route_has_the_public_routes(cluster: &Cluster) -> Vec<String> {
    let has_gateway = cluster.has("gateway-api");
    let Some(found) = http_route(cluster) else {
        return if has_gateway { vec!["there is no plain HTTPRoute".to_owned()] } else { vec![] };
    };
    let mut complaints = Vec::new();
    let routes: Vec<_> = found.iter().map(|(route, _)| route.clone()).collect();
    if !has_gateway || routes != expected() {
        complaints.push(format!("the HTTPRoute has {routes:?}"));
    }
    for (route, (_, time)) in PUBLIC_ROUTES.iter().zip(&found) {
        let seconds = time.strip_suffix('s').and_then(|time| time.parse::<u64>().ok());
        // The longest wait that a reader may ask for is 5 s.
        if !seconds.is_some_and(|s| if route.stream { s == 0 } else { s > 5 }) {
            complaints.push(format!("the HTTPRoute gives {} {time:?}", route.path));
        }
    }
    complaints
}

/// The route belongs to the Gateway, and the Gateway is of Traefik's class, on a port where Traefik listens.
pub fn gateway_takes_the_route(cluster: &Cluster) -> Vec<String> {
    // The port of its chart; elsewhere the usual one.
    let port = if cluster.name == "dev-gateway" { 8000 } else { 80 };
    let mut complaints = Vec::new();
    for route in cluster.of_kind("HTTPRoute") {
        let parents: Vec<_> =
            list(route.at("/spec/parentRefs")).map(|parent| text(at(parent, "/name"))).collect();
        let [gateway] = parents.as_slice() else {
            complaints.push(format!("{}: belongs to {parents:?}, not to one Gateway", route.name()));
            continue;
        };
        let Some(gateway) = cluster.find("Gateway", gateway) else {
            complaints.push(format!("{}: the Gateway {gateway} does not exist", route.name()));
            continue;
        };
        for parent in list(route.at("/spec/parentRefs")) {
            let section = at(parent, "/sectionName");
            if !section.is_null() && section != gateway.at("/spec/listeners/0/name") {
                complaints.push(format!("{}: no listener has the name {section}", route.name()));
            }
        }
        for (pointer, wanted) in [
            ("/spec/gatewayClassName", json!("traefik")),
            ("/spec/listeners/0/protocol", json!("HTTP")),
            ("/spec/listeners/0/port", json!(port)),
            ("/spec/listeners/1", Value::Null),
            ("/spec/listeners/0/allowedRoutes", json!({"namespaces": {"from": "Same"}})),
        ] {
            let found = gateway.at(pointer);
            if *found != wanted {
                complaints.push(format!("{}: {pointer} is {found}, not {wanted}", gateway.name()));
            }
        }
    }
    complaints
}

/// By the rules of Ingress, of Gateway API and of our own front door the same service answers each path.
pub fn paths_are_read_alike(cluster: &Cluster) -> Vec<String> {
    // Ingress: the longest, and of equally long ones the exact. Gateway API: the exact, then the longest.
    let by_length = |route: &&Route| (route.path.len(), route.exact);
    let exact_first = |route: &&Route| (route.exact, route.path.len());
    let ingress = ingress(cluster).unwrap_or_default();
    let gateway: Vec<_> = http_route(cluster).into_iter().flatten().map(|(route, _)| route).collect();
    let mut complaints = Vec::new();
    for path in TRICKY {
        let ours = our_answer(path);
        let matching =
            |routes: &[Route]| routes.iter().filter(|r| matches(r, path)).cloned().collect::<Vec<_>>();
        let by_ingress = matching(&ingress).iter().max_by_key(by_length).map(|r| r.to.clone());
        let by_gateway = matching(&gateway).iter().max_by_key(exact_first).map(|r| r.to.clone());
        if by_ingress != ours {
            complaints.push(format!("Ingress: {path} leads to {by_ingress:?}, not {ours:?}"));
        }
        if cluster.has("gateway-api") && by_gateway != ours {
            complaints.push(format!("Gateway API: {path} leads to {by_gateway:?}, not {ours:?}"));
        }
    }
    complaints
}

/// Both compare whole segments, and ignore a slash at the end of the requested path.
fn matches(route: &Route, path: &str) -> bool {
    let segments =
        |text: &str| text.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    if route.exact { route.path == path } else { segments(path).starts_with(&segments(&route.path)) }
}

/// The same host everywhere; except in production it is the one that `shared` names.
pub fn one_host(cluster: &Cluster) -> Vec<String> {
    let mut hosts: BTreeSet<String> = BTreeSet::new();
    let mut add = |hosts_of: &mut dyn Iterator<Item = &Value>| {
        hosts.extend(hosts_of.map(|host| text(host).to_owned()));
    };
    for object in &cluster.objects {
        match object.kind() {
            "Ingress" => {
                add(&mut list(object.at("/spec/rules")).map(|rule| at(rule, "/host")));
                add(&mut list(object.at("/spec/tls")).flat_map(|tls| list(at(tls, "/hosts"))));
            }
            "HTTPRoute" => add(&mut hostnames(object)),
            "Gateway" => {
                add(&mut list(object.at("/spec/listeners")).map(|listener| at(listener, "/hostname")));
            }
            _ => {}
        }
    }
    let wanted = if cluster.is_production() { "blog.example.com" } else { HOST };
    if hosts == BTreeSet::from([wanted.to_owned()]) {
        vec![]
    } else {
        vec![format!("hosts are {hosts:?}, not {wanted}")]
    }
}

fn hostnames(route: &Object) -> impl Iterator<Item = &Value> {
    // None would mean every host.
    static EVERY: Value = Value::Null;
    let names = route.at("/spec/hostnames").as_array().filter(|names| !names.is_empty());
    names.map_or(std::slice::from_ref(&EVERY), Vec::as_slice).iter()
}
