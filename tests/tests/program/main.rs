//! The program `mini-blog` itself: what it does beside running the services. It has no part in containers.

mod folders;
mod readme;
mod terminal;
