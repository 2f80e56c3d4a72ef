//! Texts that no log line and no error shows.

use std::fmt;
use subtle::ConstantTimeEq;

/// The shortest secret that is accepted.
pub const MIN_SECRET_BYTES: usize = 16;

/// A text that is never shown: neither by `Debug` nor by `Display`, and not in `--help`.
#[derive(Clone)]
pub struct Secret(String);

/// Why a text is not accepted as a secret; the error does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret must be at least {MIN_SECRET_BYTES} bytes of printable ASCII")]
pub struct WeakSecret;

impl Secret {
    /// Accepts at least [`MIN_SECRET_BYTES`] of printable ASCII without spaces.
    pub fn new(text: impl Into<String>) -> Result<Self, WeakSecret> {
        let text = text.into();
        let fit = text.len() >= MIN_SECRET_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
        if fit { Ok(Self(text)) } else { Err(WeakSecret) }
    }

    /// The bytes, for keys and comparisons.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Compares in constant time.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.as_bytes().ct_eq(presented).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
