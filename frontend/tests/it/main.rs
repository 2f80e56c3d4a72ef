//! The frontend as a process has it: its real listeners and router, in front of routers that stand for services.

mod assets;
mod forms;
mod front_door;
mod pages;
mod passing_on;
mod streams;
mod world;
