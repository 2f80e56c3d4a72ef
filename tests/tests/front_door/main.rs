//! The front door: what it forwards, what it refuses, and how it answers.

mod api;
mod failures;
mod live;
mod other_sites;
mod paths;
