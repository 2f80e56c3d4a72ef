//! The Kubernetes names of the course.

use shared::ServiceName;

/// The name of a service's pods, claims and policies: the course calls the website its client.
pub const fn object(service: ServiceName) -> &'static str {
    match service {
        ServiceName::Frontend => "client",
        other => other.as_str(),
    }
}

pub fn deployment(service: ServiceName) -> String {
    format!("{}-depl", object(service))
}

/// The workload whose pods have fixed names.
pub const fn stateful_set(service: ServiceName) -> &'static str {
    object(service)
}

/// The Service that leads to the pods of this service.
pub const fn cluster_service(service: ServiceName) -> &'static str {
    match service {
        ServiceName::Frontend => "client-srv",
        ServiceName::Posts => "posts-clusterip-srv",
        ServiceName::Comments => "comments-srv",
        ServiceName::Query => "query-srv",
        ServiceName::Moderation => "moderation-srv",
        ServiceName::EventBus => "event-bus-srv",
    }
}
