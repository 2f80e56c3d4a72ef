//! The name of a process: `comments`, or `comments/1` where the service has several replicas.

use serde::{Deserialize, Serialize};
use shared::ServiceName;
use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

/// The most replicas of a service: each has the course's port plus a hundred times its number.
pub const MAX_REPLICAS: u8 = 9;

/// A service, and the number of the replica where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ProcessName {
    pub service: ServiceName,
    pub replica: Option<NonZeroU8>,
}

impl ProcessName {
    /// Those of a service that runs so many times.
    pub fn all_of(service: ServiceName, replicas: u8) -> impl Iterator<Item = Self> {
        let only = (replicas < 2).then(|| service.into());
        let numbered = (1..=replicas).map(move |number| Self { service, replica: NonZeroU8::new(number) });
        only.into_iter().chain(numbered.filter(move |_| replicas >= 2))
    }

    /// From 1, also where it is the only one.
    pub fn number(self) -> u8 {
        self.replica.map_or(1, NonZeroU8::get)
    }
}

impl From<ServiceName> for ProcessName {
    fn from(service: ServiceName) -> Self {
        Self { service, replica: None }
    }
}

impl From<ProcessName> for String {
    fn from(name: ProcessName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for ProcessName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for ProcessName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, replica) = match text.split_once('/') {
            None => (text, None),
            Some((service, number)) => {
                let number = number.parse().ok().filter(|number: &NonZeroU8| number.get() <= MAX_REPLICAS);
                let wrong = || format!("{text:?}: a replica is named by its number, as in {service}/1");
                (service, Some(number.ok_or_else(wrong)?))
            }
        };
        let service: ServiceName = service.parse().map_err(|e| format!("{e}"))?;
        Ok(Self { service, replica })
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.replica {
            // With the width that the caller asks for.
            None => f.pad(self.service.as_str()),
            Some(number) => f.pad(&format!("{}/{number}", self.service)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_one_has_no_number() {
        let names = |replicas| {
            let all = ProcessName::all_of(ServiceName::EventBus, replicas);
            all.map(|name| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(1), ["event-bus"]);
        assert_eq!(names(2), ["event-bus/1", "event-bus/2"]);
    }

    #[test]
    fn a_name_is_read_back_and_a_wrong_one_refused() {
        for text in ["comments", "comments/1", "event-bus/9"] {
            let name: ProcessName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(serde_json::to_string(&name).unwrap(), format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<ProcessName>(&format!("\"{text}\"")).unwrap(), name);
        }
        for text in ["bus", "comments/", "comments/0", "comments/10", "comments/x", "comments/1/2", "/1"] {
            assert!(text.parse::<ProcessName>().is_err(), "{text}");
        }
        assert_eq!(format!("{:<11}|", "posts/1".parse::<ProcessName>().unwrap()), "posts/1    |");
    }
}
