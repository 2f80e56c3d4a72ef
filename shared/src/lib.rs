//! The words that every part of mini-blog speaks.
//!
//! The browser's WebAssembly and every server compile this same crate, so that front and back cannot
//! disagree about an event, a request, an answer, a limit or a route. It does no I/O and knows neither
//! clock nor randomness.
//!
//! Where to look:
//! - [`events`]: every event: its name, fields, publisher and consumers. Adding an event starts there.
//! - [`envelope`]: what an event travels in (CloudEvents 1.0).
//! - [`commands`]: what clients may ask for, and how it is checked ([`text`] holds the limits).
//! - [`views`]: what clients are answered.
//! - [`problem`]: how every error looks.
//! - [`routes`]: which public path belongs to which service ([`service`]).

#![warn(missing_docs)]

pub mod commands;
pub mod envelope;
pub mod events;
pub mod ids;
pub mod problem;
pub mod routes;
pub mod sequence;
pub mod service;
pub mod text;
pub mod time;
pub mod views;

pub use envelope::Envelope;
pub use events::{Event, EventType};
pub use ids::{CommentId, PostId};
pub use problem::{FieldError, Problem, ProblemKind};
pub use sequence::Sequence;
pub use service::ServiceName;
pub use time::Timestamp;
