//! What every service is built on.

pub mod deps;
pub mod transport;
