//! A checksum of each event as it is stored. SQLite has none for its pages: it would return a changed byte without an
//! error.

use sha2::{Digest, Sha256};
use shared::{Sequence, Timestamp};

/// A digest of what the publisher sent, and of when it was stored. Computed before the event has its sequence, so that
/// the writer thread does not have to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum(i64);

impl Checksum {
    pub fn of(source: &str, id: &str, recorded_at: Timestamp, envelope: &str) -> Self {
        let mut digest = Sha256::new();
        for part in
            [source.as_bytes(), id.as_bytes(), &recorded_at.unix_ms().to_be_bytes(), envelope.as_bytes()]
        {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let digest: [u8; 32] = digest.finalize().into();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(i64::from_be_bytes(first))
    }

    /// The value that is stored with the event at this sequence: an event that moved to another sequence is detected,
    /// too.
    pub fn at(self, sequence: Sequence) -> i64 {
        self.0 ^ sequence.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_counts() {
        let at = Timestamp::from_unix_ms;
        let sum = |source, id, recorded, envelope, seq| {
            Checksum::of(source, id, at(recorded), envelope).at(Sequence::new(seq))
        };
        let whole = sum("/posts", "1", 5, "{}", 7);
        assert_eq!(whole, sum("/posts", "1", 5, "{}", 7));
        for other in [
            sum("/post", "s1", 5, "{}", 7),
            sum("/posts", "2", 5, "{}", 7),
            sum("/posts", "1", 6, "{}", 7),
            sum("/posts", "1", 5, "{ }", 7),
            sum("/posts", "1", 5, "{}", 8),
        ] {
            assert_ne!(whole, other);
        }
    }
}
