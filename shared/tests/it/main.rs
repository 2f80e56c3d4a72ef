//! The words on the wire, held against files and tables that only a change of the contract may change.

mod golden;
mod round_trip;
mod tables;
