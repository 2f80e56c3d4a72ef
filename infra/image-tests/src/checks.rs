//! What is tried of the images themselves, a file for each subject. Every check leaves all six containers running and
//! ready. What the blog does in them is tried by the tests of the system.

pub mod bad_input;
pub mod contents;
pub mod starts;
pub mod stops;
pub mod volumes;
pub mod walls;
