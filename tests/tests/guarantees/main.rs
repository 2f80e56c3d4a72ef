//! What the system promises whatever happens to it: nothing acknowledged is lost, nothing happens twice, everybody
//! keeps working while others are down, and everything comes to the same in the end.

mod absence;
mod events;
mod stack;
mod stores;
