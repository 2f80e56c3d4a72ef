//! Checks of the images themselves, a file for each subject. Every check leaves all six containers running and ready. The
//! system tests check what the blog does in them.

pub mod bad_input;
pub mod contents;
pub mod restrictions;
pub mod starts;
pub mod stops;
pub mod volumes;
