//! The course's app: its client must work unchanged, and each of the eleven ways in which it loses or breaks
//! something has a test here that would find it again.

mod client;
mod delivery;
mod news;
mod requests;
