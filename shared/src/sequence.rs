//! Where an event stands in the log.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The place of an event in the log: 1 for the first event, 0 for the place before it.
///
/// In JSON a decimal string of 20 digits with leading zeros, so that the order of the strings is the order of the
/// events (the CloudEvents sequence extension compares strings).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sequence(i64);

/// The text is not a sequence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a sequence is a decimal number of at most 20 digits, not negative")]
pub struct BadSequence;

impl Sequence {
    /// Before the first event.
    pub const START: Sequence = Sequence(0);

    /// Negative numbers become [`Sequence::START`].
    pub fn new(n: i64) -> Self {
        Self(n.max(0))
    }

    /// The number; 0 is before the first event.
    pub fn get(self) -> i64 {
        self.0
    }

    /// `None` at [`Self::START`].
    pub fn previous(self) -> Option<Self> {
        (self > Self::START).then(|| Self(self.0 - 1))
    }

    /// Saturates at [`i64::MAX`].
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}", self.0)
    }
}

impl std::str::FromStr for Sequence {
    type Err = BadSequence;
    fn from_str(text: &str) -> Result<Self, BadSequence> {
        if text.is_empty() || text.len() > 20 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadSequence);
        }
        text.parse().map(Self).map_err(|_| BadSequence)
    }
}

impl Serialize for Sequence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sequence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_travels_as_twenty_digits_whose_order_is_the_number_order() {
        let (small, big) = (Sequence::new(9), Sequence::new(i64::MAX));
        assert_eq!(small.to_string(), "00000000000000000009");
        assert_eq!(big.to_string().len(), 20);
        assert!(small.to_string() < big.to_string());
        assert_eq!("9".parse(), Ok(small));
        assert_eq!(small.to_string().parse(), Ok(small));
        assert_eq!(serde_json::to_string(&small).unwrap(), "\"00000000000000000009\"");
    }

    #[test]
    fn what_is_no_sequence_is_refused() {
        for bad in ["", "-1", "+1", "1.0", "x", "99999999999999999999", "000000000000000000001"] {
            assert_eq!(bad.parse::<Sequence>(), Err(BadSequence), "{bad:?}");
        }
    }
}
