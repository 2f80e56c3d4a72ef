//! The names of the parts, and where they listen.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A part of the system that runs as a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceName {
    /// Keeps the log and delivers it.
    EventBus,
    /// Takes new posts.
    Posts,
    /// Takes comments and follows their fate.
    Comments,
    /// Judges comments.
    Moderation,
    /// The reading side: posts with their comments.
    Query,
    /// The website and the front door.
    Frontend,
}

impl ServiceName {
    /// All of them, in the order in which they are best started.
    pub const ALL: [ServiceName; 6] =
        [Self::EventBus, Self::Posts, Self::Comments, Self::Moderation, Self::Query, Self::Frontend];

    /// Those that publish or consume events, and so share a secret with the bus.
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

    /// What it is for, in a few words.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::EventBus => "Keeps the log of events and delivers it to every subscriber",
            Self::Posts => "Takes new posts",
            Self::Comments => "Takes comments and follows their fate",
            Self::Moderation => "Judges comments",
            Self::Query => "The reading side: posts with their comments",
            Self::Frontend => "The website and the front door",
        }
    }

    /// The port of the course, on which the service listens by default.
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

/// Why a text names no service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no service {0:?}; there are event-bus, posts, comments, moderation, query and frontend")]
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
        assert!("bus".parse::<ServiceName>().is_err());
    }
}
