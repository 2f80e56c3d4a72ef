//! What has to be true of every rendering.

pub mod fields;
pub mod network;
pub mod overlays;
pub mod pods;
pub mod routes;
pub mod services;
pub mod settings;
pub mod traefik;
pub mod writers;

use crate::object::Cluster;

/// Looks at a rendering and says what is wrong with it, a line each.
pub type Policy = fn(&Cluster) -> Vec<String>;

/// All policies, each with its name.
pub const POLICIES: &[(&str, Policy)] = &[
    ("nothing is said that no policy knows", fields::nothing_unknown),
    ("pods run with nothing that they do not need", pods::hardened),
    ("images may be there already", pods::images_may_be_there_already),
    ("pods are probed", pods::probed),
    ("pods have limits", pods::limited),
    ("pods have the time that their stop takes", pods::given_time_to_stop),
    ("what is scraped is there", pods::scraped_where_metrics_are),
    ("selectors match", services::selectors_match),
    ("every port of a Service leads to a port of a container", services::ports_lead_somewhere),
    ("everything has the names of the course", services::names_of_the_course),
    ("nothing but the NodePort component opens a port", services::only_the_nodeport_opens_a_port),
    ("each component brings what it is for", overlays::components_bring_what_they_are_for),
    ("production is served as its overlay says", overlays::production_is_served_as_it_says),
    ("everything is in one namespace", services::in_one_namespace),
    ("whoever keeps data is alone", writers::alone),
    ("claims have room", writers::claims_have_room),
    ("what runs more than once survives a drain", writers::several_are_spread_and_budgeted),
    ("the programs take the settings", settings::taken),
    ("addresses lead to services", settings::addresses_lead_to_services),
    ("deliveries reach who is not ready", settings::deliveries_reach_who_is_not_ready),
    ("each is given its own secrets and no other", settings::own_secrets_only),
    ("no secret is written down", settings::no_secret_is_written_down),
    ("the Ingress has the public routes", routes::ingress_has_the_public_routes),
    ("the HTTPRoute has the public routes", routes::http_route_has_the_public_routes),
    ("the Gateway takes the HTTPRoute", routes::gateway_takes_the_route),
    ("every path is read as the front door reads it", routes::paths_are_read_alike),
    ("exact paths come first with Traefik", traefik::exact_paths_come_first),
    ("Traefik reads every path as the front door does", traefik::reads_paths_alike),
    ("the host is one", routes::one_host),
    ("edges have two ends", network::edges_have_two_ends),
    ("whatever is not allowed is denied", network::denied_by_default),
    ("whoever calls another is let through", network::calls_are_let_through),
];
