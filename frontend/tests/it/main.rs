//! The frontend with its real listeners and router, in front of routers that replace the services.

mod assets;
mod compression;
mod forms;
mod front_door;
mod pages;
mod passing_on;
mod replicas;
mod shared_pages;
mod streams;
mod world;
