//! The environment of each process, with no secret that it does not need.

use crate::parent;
use crate::plan::Plan;
use crate::process_name::ProcessName;
use crate::secrets::{OPERATOR_TOKEN, Secrets, names};
use clap::ValueEnum;
use kit::app::config::secret_env;
use kit::http::RateLimits;
use shared::ServiceName;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const TRUSTED_PROXIES: &str = "TRUSTED_PROXIES";
const RATE_LIMITS: &str = "RATE_LIMITS";

/// What all processes of one stack have in common.
#[derive(Debug)]
pub struct Launch {
    /// Each service is a subcommand of it.
    pub program: PathBuf,
    pub data_dir: PathBuf,
    pub site_root: Option<PathBuf>,
    pub plan: Plan,
    pub secrets: Secrets,
    pub rate_limits: RateLimits,
    /// The URL of each service's database; empty where each has a file.
    pub databases: BTreeMap<ServiceName, String>,
}

/// The environment of one process.
#[derive(Debug, PartialEq, Eq)]
pub struct Environment {
    pub set: Vec<(String, String)>,
    /// Names that it must not inherit from the supervisor.
    pub unset: Vec<String>,
}

/// The variable with the address of a service.
fn url_name(service: ServiceName) -> String {
    format!("{}_URL", service.as_str().to_uppercase().replace('-', "_"))
}

impl Launch {
    pub fn environment(&self, name: ProcessName) -> Environment {
        let service = name.service;
        let addresses = self.plan.addresses(name);
        let mut set = vec![
            ("LISTEN".to_owned(), addresses.listen.to_string()),
            ("DATA_DIR".to_owned(), text(&self.folder_of(name))),
            (RATE_LIMITS.to_owned(), value_name(self.rate_limits)),
            (parent::SUPERVISED.to_owned(), "1".to_owned()),
        ];
        if std::env::var_os("LOG_FORMAT").is_none() {
            // Its output is a pipe, but a person reads it.
            set.push(("LOG_FORMAT".to_owned(), "text".to_owned()));
        }
        set.extend(self.databases.get(&service).map(|url| ("DATABASE_URL".to_owned(), url.clone())));
        if let (ServiceName::Query, Some(number)) = (service, name.replica) {
            set.push(("INSTANCE".to_owned(), number.to_string()));
        }
        let url = |service| (url_name(service), self.plan.urls(service).join(","));
        let proxies = |number: &str| (TRUSTED_PROXIES.to_owned(), number.to_owned());
        match service {
            // How many proxies are in front of the site only the operator knows: it inherits their number.
            ServiceName::Frontend => {
                set.push(("ADMIN_LISTEN".to_owned(), addresses.admin.to_string()));
                set.extend(ServiceName::PEERS.map(url));
                set.extend(self.site_root.iter().map(|root| ("LEPTOS_SITE_ROOT".to_owned(), text(root))));
            }
            ServiceName::EventBus => {
                let peers = self.plan.names().filter(|name| ServiceName::PEERS.contains(&name.service));
                let subscribers: Vec<_> =
                    peers.map(|name| format!("{}={}", name.service, self.plan.url(name))).collect();
                set.extend([("SUBSCRIBER_URLS".to_owned(), subscribers.join(",")), proxies("0")]);
            }
            // The frontend forwards to it.
            _ => set.extend([
                url(ServiceName::EventBus),
                ("ADVERTISE_URL".to_owned(), self.plan.url(name)),
                proxies("1"),
            ]),
        }
        set.extend(secrets_of(service).into_iter().map(|name| {
            let value = self.secrets.get(&name).to_owned();
            (name, value)
        }));
        let unset = managed().into_iter().filter(|name| set.iter().all(|(n, _)| n != name)).collect();
        Environment { set, unset }
    }

    /// Where a process keeps its files. Each replica of query has its own; the others have none but in a database.
    pub fn folder_of(&self, name: ProcessName) -> PathBuf {
        match name.replica {
            Some(number) => self.data_dir.join(format!("{}-{number}", name.service)),
            None => self.data_dir.clone(),
        }
    }
}

/// The secrets that this service needs.
pub fn secrets_of(service: ServiceName) -> Vec<String> {
    match service {
        ServiceName::EventBus => names(),
        ServiceName::Frontend => Vec::new(),
        peer => vec![secret_env(peer), OPERATOR_TOKEN.to_owned()],
    }
}

/// Every variable that the stack decides.
fn managed() -> Vec<String> {
    let fixed = [
        "LISTEN",
        "ADMIN_LISTEN",
        "DATA_DIR",
        "ADVERTISE_URL",
        "SUBSCRIBER_URLS",
        "LEPTOS_SITE_ROOT",
        "INSECURE",
        "INSTANCE",
        "DATABASE_URL",
        "DATABASE_URL_FILE",
        "EVENT_LOG_URL",
        "EVENT_LOG_URL_FILE",
    ];
    let urls = ServiceName::ALL.into_iter().map(url_name);
    fixed.into_iter().map(str::to_owned).chain(urls).chain(names()).collect()
}

fn value_name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::runtime::deps::SystemIds;
    use std::collections::BTreeSet;

    fn launch() -> (Launch, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let launch = Launch {
            program: "mini-blog".into(),
            data_dir: dir.path().to_owned(),
            site_root: Some("site".into()),
            plan: Plan::course("127.0.0.1".parse().unwrap(), None, 1),
            secrets: Secrets::open(dir.path(), &SystemIds).unwrap().0,
            rate_limits: RateLimits::On,
            databases: BTreeMap::new(),
        };
        (launch, dir)
    }

    #[test]
    fn each_process_gets_its_own_secret_and_no_other() {
        let (launch, _dir) = launch();
        let known = |service: ServiceName| -> BTreeSet<String> {
            let set = launch.environment(service.into()).set;
            set.into_iter().map(|(n, _)| n).filter(|n| names().contains(n)).collect()
        };
        let expected = |list: &[&str]| -> BTreeSet<String> { list.iter().map(|&s| s.to_owned()).collect() };
        assert_eq!(known(ServiceName::Posts), expected(&["POSTS_SECRET", "OPERATOR_TOKEN"]));
        assert_eq!(known(ServiceName::Query), expected(&["QUERY_SECRET", "OPERATOR_TOKEN"]));
        assert_eq!(known(ServiceName::Frontend), expected(&[]));
        assert_eq!(known(ServiceName::EventBus).len(), 5);
    }

    #[test]
    fn what_is_not_set_is_not_inherited_either() {
        let (launch, _dir) = launch();
        for service in ServiceName::ALL {
            let environment = launch.environment(service.into());
            let set: BTreeSet<_> = environment.set.iter().map(|(n, _)| n.clone()).collect();
            assert_eq!(set.len(), environment.set.len(), "nothing is set twice");
            for name in managed() {
                assert!(set.contains(&name) != environment.unset.contains(&name), "{service}: {name}");
            }
            assert!(environment.unset.contains(&"INSECURE".to_owned()));
        }
    }

    fn value(launch: &Launch, service: ServiceName, name: &str) -> Option<String> {
        let set = launch.environment(service.into()).set;
        set.into_iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    #[test]
    fn only_the_supervisors_services_may_register_and_each_under_its_own_address() {
        let (launch, _dir) = launch();
        let env = value(&launch, ServiceName::EventBus, "SUBSCRIBER_URLS").unwrap();
        let entries: Vec<_> = env.split(',').map(|entry| entry.split_once('=').unwrap()).collect();
        assert_eq!(entries.len(), ServiceName::PEERS.len());
        for (service, (name, url)) in ServiceName::PEERS.into_iter().zip(entries) {
            assert_eq!(name, service.as_str());
            assert_eq!(value(&launch, service, "ADVERTISE_URL").as_deref(), Some(url));
        }
    }

    #[test]
    fn each_knows_the_proxies_in_front_of_it() {
        let (launch, _dir) = launch();
        let proxies = |service| value(&launch, service, "TRUSTED_PROXIES");
        for peer in ServiceName::PEERS {
            assert_eq!(proxies(peer).as_deref(), Some("1"), "{peer}: the frontend forwards to it");
        }
        assert_eq!(proxies(ServiceName::EventBus).as_deref(), Some("0"));
        for inherited in ["TRUSTED_PROXIES", "SITE_URL", "ALLOWED_HOSTS"].map(str::to_owned) {
            let environment = launch.environment(ServiceName::Frontend.into());
            assert!(environment.set.iter().all(|(name, _)| *name != inherited), "{inherited}");
            assert!(!environment.unset.contains(&inherited), "{inherited}");
        }
    }

    #[test]
    fn the_rate_limits_are_those_of_the_stack_in_every_service() {
        let (mut launch, _dir) = launch();
        for (rate_limits, text) in [(RateLimits::On, "on"), (RateLimits::Off, "off")] {
            launch.rate_limits = rate_limits;
            for service in ServiceName::ALL {
                assert_eq!(value(&launch, service, "RATE_LIMITS").as_deref(), Some(text), "{service}");
            }
        }
    }

    #[test]
    fn each_is_told_where_to_listen_and_whom_to_speak_to() {
        let (launch, _dir) = launch();
        let get = |service, name: &str| value(&launch, service, name).unwrap_or_default();
        assert_eq!(get(ServiceName::Comments, "LISTEN"), "127.0.0.1:4001");
        assert_eq!(get(ServiceName::Comments, "ADVERTISE_URL"), "http://127.0.0.1:4001");
        assert_eq!(get(ServiceName::Comments, "EVENT_BUS_URL"), "http://127.0.0.1:4005");
        assert_eq!(get(ServiceName::Frontend, "COMMENTS_URL"), "http://127.0.0.1:4001");
        assert_eq!(get(ServiceName::Frontend, "ADMIN_LISTEN"), "127.0.0.1:3002");
        assert_eq!(get(ServiceName::Frontend, "LEPTOS_SITE_ROOT"), "site");
    }

    #[test]
    fn replicas_share_a_database_and_find_each_other() {
        let (mut launch, dir) = launch();
        launch.plan = Plan::course("127.0.0.1".parse().unwrap(), None, 2);
        let shared = [ServiceName::Comments, ServiceName::EventBus];
        launch.databases = shared.map(|service| (service, format!("postgres://db/{service}"))).into();
        let get = |name: &str, variable: &str| {
            let set = launch.environment(name.parse().unwrap()).set;
            set.into_iter().find(|(n, _)| n == variable).map(|(_, value)| value).unwrap_or_default()
        };
        for (name, port) in [("comments/1", 4001), ("comments/2", 4101)] {
            assert_eq!(get(name, "DATABASE_URL"), "postgres://db/comments");
            assert_eq!(get(name, "LISTEN"), format!("127.0.0.1:{port}"));
            assert_eq!(get(name, "ADVERTISE_URL"), format!("http://127.0.0.1:{port}"));
            assert_eq!(get(name, "EVENT_BUS_URL"), "http://127.0.0.1:4005,http://127.0.0.1:4105");
            assert_eq!(get(name, "INSTANCE"), "");
        }
        assert_eq!(get("frontend", "COMMENTS_URL"), "http://127.0.0.1:4001,http://127.0.0.1:4101");
        assert_eq!(get("query/2", "INSTANCE"), "2");
        assert_eq!(get("query/2", "DATABASE_URL"), "");
        assert_eq!(get("query/2", "DATA_DIR"), dir.path().join("query-2").to_str().unwrap());
        for name in ["event-bus/1", "event-bus/2"] {
            assert_eq!(get(name, "DATABASE_URL"), "postgres://db/event-bus");
        }
        let registered = get("event-bus/1", "SUBSCRIBER_URLS");
        assert_eq!(registered, get("event-bus/2", "SUBSCRIBER_URLS"));
        assert_eq!(registered.split(',').count(), 8);
        for entry in ["query=http://127.0.0.1:4002", "query=http://127.0.0.1:4102"] {
            assert!(registered.split(',').any(|e| e == entry), "{entry} is not in {registered}");
        }
    }
}
