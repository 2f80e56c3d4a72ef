//! What has to be true of every rendering. Each policy names the fault that it protects from.

pub mod network;
pub mod overlays;
pub mod pods;
pub mod postgres;
pub mod replicas;
pub mod rollouts;
pub mod routes;
pub mod services;
pub mod settings;
pub mod traefik;
pub mod writers;

use crate::object::Cluster;

/// Returns a line for each fault.
pub type Check = fn(&Cluster) -> Vec<String>;

#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub name: &'static str,
    /// What happens in a cluster where the policy is broken.
    pub protects_from: &'static str,
    pub check: Check,
}

const fn policy(name: &'static str, protects_from: &'static str, check: Check) -> Policy {
    Policy { name, protects_from, check }
}

pub const POLICIES: &[Policy] = &[
    policy(
        "pods run with least privilege",
        "a break-in into one service that reaches the node, other pods or the Kubernetes API",
        pods::hardened,
    ),
    policy(
        "pods run on any node",
        "pods that stay Pending where nodes have other names or labels",
        pods::scheduled_anywhere,
    ),
    policy(
        "pods resolve Services",
        "addresses that lead nowhere, as the node's DNS does not know Services",
        pods::resolve_services,
    ),
    policy(
        "programs are told everything by single variables",
        "a program that the image lacks; flags such as --insecure, and the secrets of others, that no policy sees",
        pods::told_by_variables,
    ),
    policy(
        "images may be on the node already",
        "ImagePullBackOff on a laptop, whose images are in no registry",
        pods::images_may_be_there_already,
    ),
    policy(
        "pods are probed",
        "requests to pods that cannot answer, hung processes that go unnoticed, and restarts of healthy ones",
        pods::probed,
    ),
    policy("pods have limits", "one service that takes the memory or processor of all others", pods::limited),
    policy("pods have time to stop", "requests that fail during every deployment", pods::given_time_to_stop),
    policy(
        "metrics are scraped where they are",
        "empty dashboards, and a scrape of the public port",
        pods::scraped_where_metrics_are,
    ),
    policy(
        "a rollout waits as long as a start may take",
        "a deployment that is reported as failed while its pod still starts, or that never begins",
        rollouts::wait_for_starts,
    ),
    policy(
        "selectors match",
        "Services, budgets and Deployments that have no pods, or those of others",
        services::selectors_match,
    ),
    policy(
        "every port of a Service leads to a port of a container",
        "connections that are refused although the pod is ready",
        services::ports_lead_somewhere,
    ),
    policy(
        "every Service leads to all its pods",
        "requests that fail on nodes that have no pod of the service",
        services::reach_all_pods,
    ),
    policy(
        "names are the course's",
        "lessons and scripts of the course that find nothing",
        services::names_of_the_course,
    ),
    policy(
        "only the NodePort component opens a port",
        "private routes that are reachable past the Ingress; a port that is already taken",
        services::only_the_nodeport_opens_a_port,
    ),
    policy(
        "each component adds its objects",
        "a line missing in a kustomization, so that a component does nothing",
        overlays::components_bring_what_they_are_for,
    ),
    policy(
        "production has its certificate and ingress class",
        "a production site on plain HTTP, or served by no controller",
        overlays::production_is_served_as_it_says,
    ),
    policy(
        "everything is in one namespace",
        "objects in whatever namespace is the current one",
        services::in_one_namespace,
    ),
    policy("a store has one writer", "two processes that write one SQLite file", writers::alone),
    policy("stores can be written", "a service that refuses every write", writers::stores_can_be_written),
    policy(
        "claims fit any cluster",
        "a disk that is full at once; a pod that waits for a storage class that the cluster lacks",
        writers::claims_fit_any_cluster,
    ),
    policy(
        "replicated workloads survive a drain",
        "a website that is down while a node is drained or a version is replaced, and drains that never end",
        writers::several_are_spread_and_budgeted,
    ),
    policy("the autoscaler can act", "a website that stays small under load", writers::autoscaler_can_act),
    policy(
        "what readers use is scaled",
        "one service that stays small under load, and slows down all others",
        replicas::what_readers_use_is_scaled,
    ),
    policy(
        "pods of query know their names",
        "two pods that subscribe as one, each with half of the events; deliveries to the wrong pod, or refused by it",
        replicas::pods_know_their_names,
    ),
    policy(
        "files go with their pods",
        "a pod that comes back with a file from which the bus no longer knows how to go on",
        replicas::files_go_with_their_pods,
    ),
    policy(
        "commits are on two nodes",
        "an acknowledged write that is lost with one node, or by the promotion of an instance that lacks it",
        postgres::commits_are_on_two_nodes,
    ),
    policy(
        "texts compare by bytes",
        "pages in another order than with SQLite, and indexes that an update of the image damages",
        postgres::texts_compare_by_bytes,
    ),
    policy(
        "each service has its own database",
        "a service that reads or changes what belongs to another",
        postgres::each_service_has_its_own_database,
    ),
    policy(
        "addresses of databases are mounted",
        "a password that is in the environment or is old; a pod that gets another's, or the authority's key",
        postgres::addresses_are_mounted,
    ),
    policy(
        "connections suffice",
        "pods that are refused by the database under load or during an update",
        postgres::connections_suffice,
    ),
    policy(
        "dead sessions end",
        "locks of a pod whose node has vanished, for which all others wait for hours",
        postgres::dead_sessions_end,
    ),
    policy(
        "no pooler stands before the database",
        "locks and notifications of a session that another one gets",
        postgres::no_pooler,
    ),
    policy(
        "instances of the database have room",
        "a database that changes its version by itself, is evicted first, or stops on a full disk",
        postgres::instances_have_room,
    ),
    policy(
        "programs accept their settings",
        "pods that end at their start, and misspelt variables that change nothing",
        settings::taken,
    ),
    policy(
        "addresses lead to services",
        "calls to a Service or port that does not exist",
        settings::addresses_lead_to_services,
    ),
    policy(
        "programs know their site and its proxies",
        "readers who are refused, requests for foreign hosts that are not, cookies without `Secure`; one address in the \
         log for all clients, or one that the client has made up",
        settings::behind_the_ingress,
    ),
    policy(
        "only advertised addresses may register",
        "a service that gets no events, as the bus refuses its address; a stolen secret that leads events elsewhere",
        settings::only_advertised_addresses_may_register,
    ),
    policy(
        "deliveries reach services that are not ready",
        "a query that never becomes ready, since it gets no events before it is; readers of a query that lags behind",
        settings::deliveries_reach_who_is_not_ready,
    ),
    policy(
        "each service gets its own secrets only",
        "one service that can publish as another; a pod that does not start for want of a secret",
        settings::own_secrets_only,
    ),
    policy("no secret is in a manifest", "secrets in git", settings::no_secret_is_written_down),
    policy(
        "the Ingress has the public routes",
        "pages that are missing, and private routes that are public",
        routes::ingress_has_the_public_routes,
    ),
    policy(
        "the HTTPRoute has the public routes",
        "the same through Gateway API; streams that are cut, and answers that never time out",
        routes::http_route_has_the_public_routes,
    ),
    policy(
        "the Gateway accepts the HTTPRoute",
        "a route that no listener serves",
        routes::gateway_takes_the_route,
    ),
    policy(
        "Ingress and Gateway route like the front door",
        "a path that another service answers in the cluster than on one machine",
        routes::paths_are_read_alike,
    ),
    policy(
        "exact paths come first with Traefik",
        "404 at /posts, which Traefik would send to comments",
        traefik::exact_paths_come_first,
    ),
    policy(
        "Traefik routes like the front door",
        "a path that another service answers behind Traefik",
        traefik::reads_paths_alike,
    ),
    policy("there is one host", "objects that serve different hosts", routes::one_host),
    policy(
        "network edges are allowed at both ends",
        "an edge that one side still denies, and rules that allow more than an edge",
        network::edges_have_two_ends,
    ),
    policy("the network denies by default", "traffic that no rule mentions", network::denied_by_default),
    policy(
        "the network allows every call",
        "services that cannot reach each other",
        network::calls_are_let_through,
    ),
];
