//! The settings of the programs.

use crate::names::{cluster_service, deployment, stateful_set};
use crate::object::{Cluster, Workload, at, text};
use clap::Command;
use kit::app::config::{command, secret_env};
use serde_json::Value;
use shared::ServiceName;
use std::collections::BTreeSet;
use std::ffi::OsString;

/// Stands in for every secret when settings are parsed.
const ANY_SECRET: &str = "any-text-that-is-long-enough-to-be-taken";

/// Where the website's image has the site.
const SITE: &str = "/site";

/// The command line of a service's program.
pub fn program(service: ServiceName) -> Command {
    match service {
        ServiceName::Posts | ServiceName::Comments => command::<kit::app::config::PeerConfig>(service),
        ServiceName::Query => command::<query::Config>(service),
        ServiceName::Moderation => command::<moderation::Config>(service),
        ServiceName::EventBus => command::<event_bus::Config>(service),
        ServiceName::Frontend => command::<frontend::server::Config>(service),
    }
}

/// The public address of the site; every other `*_URL` is a Service's.
const SITE_URL: &str = "SITE_URL";

/// The file with the address of a service's database.
pub const DATABASE: &str = "DATABASE_URL_FILE";

/// Where the bus delivers to a service.
const ADVERTISE_URL: &str = "ADVERTISE_URL";

/// The services with their workloads.
pub fn workloads(cluster: &Cluster) -> impl Iterator<Item = (ServiceName, Workload<'_>)> {
    ServiceName::ALL.into_iter().filter_map(|service| {
        let found = cluster
            .find("Deployment", &deployment(service))
            .or_else(|| cluster.find("StatefulSet", stateful_set(service)));
        Some((service, Workload(found?)))
    })
}

fn service_urls(workload: Workload<'_>) -> impl Iterator<Item = (&str, String)> {
    workload.settings().into_iter().filter(|(name, _)| name.ends_with("_URL") && *name != SITE_URL)
}

/// The program knows every variable and accepts every value, and listens on the port of the pod.
pub fn taken(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for (service, workload) in workloads(cluster) {
        let program = program(service);
        let mut args = vec![OsString::from("program")];
        for variable in workload.variables() {
            let name = text(&variable["name"]);
            let arg = program.get_arguments().find(|arg| {
                arg.get_env().is_some_and(|env| env == name) && !arg.is_hide_set() && name != "INSECURE"
            });
            let Some(flag) = arg.and_then(clap::Arg::get_long) else {
                complaints.push(format!("{service}: has no setting {name}"));
                continue;
            };
            let value = workload.setting(name).unwrap_or_else(|| ANY_SECRET.to_owned());
            args.extend([format!("--{flag}").into(), value.into()]);
        }
        if let Err(error) = program.try_get_matches_from(args) {
            complaints.push(format!("{service}: does not accept its settings: {error}"));
        }
        for (name, value) in workload.settings().iter().filter(|(name, _)| name.ends_with("LISTEN")) {
            let port = value.strip_prefix("0.0.0.0:").and_then(|port| port.parse::<u64>().ok());
            if port.is_none_or(|port| workload.port(&Value::from(port)).is_none()) {
                complaints.push(format!("{service}: {name} is {value}, which is no port of the pod"));
            }
        }
        let needed: &[&[&str]] = match service {
            ServiceName::Frontend => &[&["LISTEN"], &["ADMIN_LISTEN"]],
            ServiceName::Query => &[&["LISTEN"], &["DATA_DIR"]],
            _ => &[&["LISTEN"], &["DATA_DIR", DATABASE]],
        };
        for one_of in needed {
            let found = workload.settings().iter().filter(|(name, _)| one_of.contains(name)).count();
            if found != 1 {
                complaints.push(format!(
                    "{service}: {found} of {one_of:?} are set; the defaults are for one machine"
                ));
            }
        }
        let site = workload.setting("LEPTOS_SITE_ROOT");
        if site.as_deref() != (service == ServiceName::Frontend).then_some(SITE) {
            complaints.push(format!("{service}: looks for the site in {site:?}"));
        }
        complaints.extend(wrong_addresses(service, workload));
    }
    complaints
}

/// Each service has the addresses of the services that it calls: the defaults are addresses of one machine.
fn wrong_addresses(service: ServiceName, workload: Workload<'_>) -> Vec<String> {
    let of = |service: ServiceName| format!("http://{}:{}", cluster_service(service), service.default_port());
    let called = match service {
        ServiceName::EventBus => vec![],
        ServiceName::Frontend => ServiceName::PEERS.to_vec(),
        _ => vec![ServiceName::EventBus],
    };
    let mut complaints = Vec::new();
    for other in called {
        let name = format!("{}_URL", other.as_str().to_uppercase().replace('-', "_"));
        let found = workload.setting(&name);
        if found != Some(of(other)) {
            complaints.push(format!("{service}: {name} is {found:?}, not {}", of(other)));
        }
    }
    complaints
}

/// The Service and the port that an address names; it may name one pod of a headless Service.
pub fn service_of(url: &str) -> Option<(&str, u64)> {
    let (host, port) = url.strip_prefix("http://")?.split_once(':')?;
    let service = host.split_once('.').map_or(host, |(_, service)| service);
    Some((service, port.parse().ok()?))
}

/// Every address is a Service's, with one of its ports.
pub fn addresses_lead_to_services(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for workload in cluster.workloads() {
        for (name, value) in service_urls(workload) {
            let found = service_of(&value).and_then(|(service, port)| {
                let ports = cluster.find("Service", service)?.at("/spec/ports").as_array()?;
                ports.iter().find(|p| at(p, "/port") == &Value::from(port))
            });
            if found.is_none() {
                complaints.push(format!("{}: {name} leads nowhere: {value}", workload.0.name()));
            }
        }
    }
    complaints
}

/// Every service behind the Ingress has the address under which the Ingress serves the site, and believes one proxy: the
/// controller. The bus, which only services and operators reach, has neither.
pub fn behind_the_ingress(cluster: &Cluster) -> Vec<String> {
    let Some(ingress) = cluster.find("Ingress", "ingress-srv") else { return vec![] };
    let scheme = if ingress.at("/spec/tls").is_null() { "http" } else { "https" };
    let site = format!("{scheme}://{}", text(ingress.at("/spec/rules/0/host")));
    let mut complaints = Vec::new();
    for (service, workload) in workloads(cluster) {
        let is_behind = service != ServiceName::EventBus;
        for (name, wanted) in [(SITE_URL, site.as_str()), ("TRUSTED_PROXIES", "1")] {
            let wanted = is_behind.then_some(wanted);
            let found = workload.setting(name);
            if found.as_deref() != wanted {
                complaints.push(format!("{service}: {name} is {found:?}, not {wanted:?}"));
            }
        }
    }
    complaints
}

/// The bus lets each service register the address that it advertises, and no other.
pub fn only_advertised_addresses_may_register(cluster: &Cluster) -> Vec<String> {
    let Some((_, bus)) = workloads(cluster).find(|(service, _)| *service == ServiceName::EventBus) else {
        return vec![];
    };
    let listed = bus.setting("SUBSCRIBER_URLS").unwrap_or_default();
    let allowed: BTreeSet<_> =
        listed.split(',').filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
    let advertised: BTreeSet<_> = workloads(cluster)
        .filter_map(|(service, workload)| {
            let url = workload.setting(ADVERTISE_URL)?;
            // The addresses of several pods differ in their first label, for which the bus has a `*`.
            let pod = workload.first_pod().map(|pod| format!("http://{pod}."));
            let pod = pod.filter(|pod| url.starts_with(pod));
            let url = pod.map_or(url.clone(), |pod| url.replacen(&pod, "http://*.", 1));
            Some(format!("{service}={url}"))
        })
        .collect();
    let complain = |what: &str, entries: &mut dyn Iterator<Item = &String>| -> Vec<String> {
        entries.map(|entry| format!("event-bus: {what} {entry}")).collect()
    };
    [
        complain("refuses", &mut advertised.difference(&allowed)),
        complain("accepts", &mut allowed.difference(&advertised)),
    ]
    .concat()
}

/// Each consumer advertises an address of its own. Query is ready only after deliveries, so its address leads to pods
/// that are not ready.
pub fn deliveries_reach_who_is_not_ready(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    for service in ServiceName::PEERS {
        let Some((_, workload)) = workloads(cluster).find(|(name, _)| *name == service) else { continue };
        let url = workload.setting(ADVERTISE_URL);
        let through = url.as_deref().and_then(service_of).and_then(|(name, _)| cluster.find("Service", name));
        let Some(through) = through else {
            complaints.push(format!("{service}: advertises {url:?}"));
            continue;
        };
        if cluster.selected(through.at("/spec/selector")).all(|behind| behind.0.name() != workload.0.name()) {
            complaints.push(format!("{service}: advertises another service, {}", through.name()));
        }
        let unready_too = through.at("/spec/publishNotReadyAddresses") == &Value::Bool(true);
        if unready_too != (service == ServiceName::Query) {
            complaints.push(format!(
                "{service}: {} leads to pods that are not ready: {unready_too}",
                through.name()
            ));
        }
    }
    // A query that has not caught up must not tell readers that there are no posts.
    for (service, workload) in workloads(cluster) {
        for (name, url) in service_urls(workload).filter(|(name, _)| *name != ADVERTISE_URL) {
            let through = service_of(&url).and_then(|(name, _)| cluster.find("Service", name));
            if through.is_some_and(|s| !s.at("/spec/publishNotReadyAddresses").is_null()) {
                complaints.push(format!("{service}: {name} leads to pods that are not ready"));
            }
        }
    }
    complaints
}

/// The secrets that a service needs and no other, each under its own name from the one Secret.
pub fn own_secrets_only(cluster: &Cluster) -> Vec<String> {
    let made = cluster.of_kind("Secret").map(super::super::object::Object::name).next();
    let mut complaints = Vec::new();
    for (service, workload) in workloads(cluster) {
        let wanted: BTreeSet<String> = match service {
            ServiceName::Frontend => BTreeSet::new(),
            ServiceName::EventBus => {
                ServiceName::PEERS.map(secret_env).into_iter().chain([token()]).collect()
            }
            peer => [secret_env(peer), token()].into(),
        };
        let mut found = BTreeSet::new();
        for variable in workload.variables() {
            let name = text(&variable["name"]);
            let Some(from) = variable.get("valueFrom").filter(|from| from.get("fieldRef").is_none()) else {
                continue;
            };
            found.insert(name.to_owned());
            if text(at(from, "/secretKeyRef/key")) != name
                || at(from, "/secretKeyRef/optional") == &Value::Bool(true)
            {
                complaints.push(format!("{service}: {name} has another key, or is optional: {from}"));
            }
            let secret = text(at(from, "/secretKeyRef/name"));
            if secret != made.unwrap_or("mini-blog-secrets") {
                complaints.push(format!("{service}: the Secret {secret} does not exist"));
            }
        }
        if found != wanted {
            complaints.push(format!("{service}: is given {found:?}, not {wanted:?}"));
        }
    }
    complaints
}

fn token() -> String {
    "OPERATOR_TOKEN".to_owned()
}

/// Only the laptop's overlays render a Secret, which the laptop generates; and no variable holds one.
pub fn no_secret_is_written_down(cluster: &Cluster) -> Vec<String> {
    let mut complaints = Vec::new();
    let laptop = cluster.name.starts_with("dev");
    let secrets = cluster.of_kind("Secret").count();
    if secrets != usize::from(laptop) {
        complaints.push(format!("{} renders {secrets} Secrets", cluster.name));
    }
    for workload in cluster.workloads() {
        for (name, _) in workload.settings() {
            // The address of a database or of NATS has its password; a file with it is no variable.
            let words = ["SECRET", "TOKEN", "PASSWORD", "KEY"].iter().any(|word| name.contains(word));
            if words || ["DATABASE_URL", "EVENT_LOG_URL"].contains(&name) {
                complaints.push(format!("{}: {name} is in plain text", workload.0.name()));
            }
        }
    }
    complaints
}
