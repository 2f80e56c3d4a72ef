//! A campaign of faults against the real processes: the guarantees must hold while things break.
//!
//! The services run as separate processes, and every connection between them goes through a proxy that injects faults.
//! While writers write and readers read, faults happen as a seed has drawn them. Then the faults end, the system comes
//! to rest, and checks examine whether anything was lost, duplicated or invented.
//!
//! - [`plan`]: which fault, when, where, for how long: a pure function of the seed.
//! - [`proxy`]: the network faults ([`message`] finds where a request ends); [`process`]: the process of one service;
//!   [`world`]: all of them, with their disks; [`inject`]: carries out the plan.
//! - [`writers`] and [`readers`]: the traffic; [`ledger`]: what they tried and saw.
//! - [`history`]: the state at the end; [`check`]: what must be true of it; [`report`]: the tables.
//! - [`campaign`]: all of it, in order.

pub mod campaign;
pub mod check;
pub mod history;
pub mod inject;
pub mod ledger;
pub mod message;
pub mod plan;
pub mod process;
pub mod proxy;
pub mod readers;
pub mod report;
pub mod world;
pub mod writers;
