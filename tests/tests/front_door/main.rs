//! The one door that the world comes through: what it lets in, what it keeps out, and how it answers.

mod api;
mod failures;
mod live;
mod other_sites;
mod paths;
