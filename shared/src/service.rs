//! The services: names, ports and event sources.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A service of the system; each runs as its own process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceName {
    /// Stores all events and delivers them.
    EventBus,
    /// Accepts new posts.
    Posts,
    /// Accepts comments and tracks their moderation.
    Comments,
    /// Approves or rejects comments.
    Moderation,
    /// Serves posts with their comments to readers.
    Query,
    /// Serves the website and forwards public requests.
    Frontend,
}

impl ServiceName {
    /// In the order in which they are started.
    pub const ALL: [ServiceName; 6] =
        [Self::EventBus, Self::Posts, Self::Comments, Self::Moderation, Self::Query, Self::Frontend];

    /// The services that publish or consume events; each shares a secret with the bus.
    pub const PEERS: [ServiceName; 4] = [Self::Posts, Self::Comments, Self::Moderation, Self::Query];

    /// The name on the command line, in URLs and as a subscriber.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventBus => "event-bus",
            Self::Posts => "posts",
            Self::Comments => "comments",
            Self::Moderation => "moderation",
            Self::Query => "query",
            Self::Frontend => "frontend",
        }
    }

    /// For the command line's help.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::EventBus => "Stores all events and delivers them to every subscriber",
            Self::Posts => "Accepts new posts",
            Self::Comments => "Accepts comments and tracks their moderation",
            Self::Moderation => "Approves or rejects comments",
            Self::Query => "Serves posts with their comments to readers",
            Self::Frontend => "Serves the website and forwards public requests",
        }
    }

    /// The course's port.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Frontend => 3000,
            Self::Posts => 4000,
            Self::Comments => 4001,
            Self::Query => 4002,
            Self::Moderation => 4003,
            Self::EventBus => 4005,
        }
    }

    /// The `source` of the events it publishes.
    pub const fn source(self) -> &'static str {
        match self {
            Self::EventBus => "/event-bus",
            Self::Posts => "/posts",
            Self::Comments => "/comments",
            Self::Moderation => "/moderation",
            Self::Query => "/query",
            Self::Frontend => "/frontend",
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No service has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no service {0:?}; the services are {names}", names = ServiceName::ALL.map(ServiceName::as_str).join(", "))]
pub struct UnknownService(pub String);

impl std::str::FromStr for ServiceName {
    type Err = UnknownService;
    fn from_str(text: &str) -> Result<Self, UnknownService> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| UnknownService(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for service in ServiceName::ALL {
            assert_eq!(service.as_str().parse(), Ok(service));
            assert_eq!(serde_json::to_string(&service).unwrap(), format!("\"{service}\""));
        }
        let error = "bus".parse::<ServiceName>().unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no service \"bus\"; the services are event-bus, posts, comments, moderation, query, frontend"
        );
    }
}
