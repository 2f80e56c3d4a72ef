//! Keys for HMAC-SHA256, one for each purpose.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// A key derived from a secret, of use only for this purpose.
pub fn derived_key(secret: &[u8], purpose: &[u8]) -> Hmac<Sha256> {
    keyed(&keyed(secret).chain_update(purpose).finalize().into_bytes())
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC pads a key to a block, or hashes a longer one first. Doing so here leaves no length to be refused.
    let mut block = [0; 64];
    if let Some(start) = block.get_mut(..key.len()) {
        start.copy_from_slice(key);
    } else {
        block[..32].copy_from_slice(&Sha256::digest(key));
    }
    Hmac::new(&block.into())
}
