//! The program `mini-blog` itself, which is in no container: its data folders, `mini-blog dead-letters`, `mini-blog seed`,
//! and the README's tour.

mod data_folders;
mod dead_letters;
mod readme_tour;
mod seed;
