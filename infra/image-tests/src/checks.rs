//! What is tried, a file for each subject. Every check leaves all six containers running and ready.

pub mod bad_input;
pub mod blog;
pub mod browser;
pub mod contents;
pub mod faults;
pub mod stops;
pub mod walls;
