//! A campaign of faults against the real processes: what is promised must hold while things break.
//!
//! The services run as processes of their own, and every connection between them goes through a proxy that can be
//! told to misbehave. While writers write and readers read, faults befall the system as a seed has drawn them. Then
//! the faults end, the system comes to rest, and the checks say whether anything was lost, doubled or made up.
//!
//! Where to look:
//! - [`plan`]: which fault, when, on whom, for how long: a pure function of the seed.
//! - [`proxy`]: the misbehaving network ([`message`] knows where a request ends); [`disk`]: the disk that fills up;
//!   [`process`]: one service's process; [`world`]: all of them together; [`inject`]: carries out the plan.
//! - [`writers`] and [`readers`]: the traffic; [`ledger`]: what they tried and saw.
//! - [`history`]: what is there in the end; [`check`]: what must be true of it; [`report`]: the table.
//! - [`campaign`]: everything in its order.

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
