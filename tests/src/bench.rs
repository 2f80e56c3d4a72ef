//! The benchmark: what the release build does on this machine, each figure beside a ceiling taken in the same run.
//!
//! - [`figures`]: a figure with its spread and its ceiling; [`report`]: the table, the JSON, the comparison.
//! - [`wrk`]: the load generator; [`bare`]: a bare axum server with the same bytes; [`raw_disk`]: the disk and SQLite
//!   without the services.
//! - [`reads`], [`creates`], [`visible`], [`live`], [`log`], [`rebuild`], [`footprint`]: the rows.
//! - [`growth`]: what a large blog costs beside a small one.
//! - [`run`]: all of it, in order.

pub mod bare;
pub mod creates;
pub mod figures;
pub mod footprint;
pub mod growth;
pub mod live;
pub mod log;
pub mod machine;
pub mod raw_disk;
pub mod reads;
pub mod rebuild;
pub mod report;
pub mod run;
pub mod visible;
pub mod wrk;
