//! The course's app: its client must work unchanged, and each of its eleven known faults has a test here.
//!
//! `client`: the client and the students' scripts. `delivery`, `live_updates`, `requests`: the faults, by topic.

mod client;
mod delivery;
mod live_updates;
mod requests;
