//! What every part of mini-blog has to agree on: events, requests, answers, limits and routes.
//!
//! The services and the browser's WebAssembly compile this same crate. It does no I/O and uses neither a clock nor
//! randomness.
//!
//! - [`events`]: every event with its fields, its publisher and its consumers. To add an event, start there.
//! - [`envelope`]: the CloudEvents 1.0 envelope around an event.
//! - [`commands`]: the requests that create something, and their validation ([`text`] holds the limits).
//! - [`views`]: the answers to clients; [`visibility`]: who may read which text of a comment.
//! - [`ids`], [`sequence`], [`time`]: ids of posts and comments, the place of an event in the log, and when it was.
//! - [`bus`]: what the bus, its subscribers and the operator exchange.
//! - [`problem`]: every error.
//! - [`routes`]: which service ([`service`]) serves which public path.

#![warn(missing_docs)]

pub mod bus;
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
pub mod visibility;

pub use envelope::Envelope;
pub use events::{Event, EventType};
pub use ids::{CommentId, PostId};
pub use problem::{FieldError, Problem, ProblemKind};
pub use sequence::Sequence;
pub use service::ServiceName;
pub use time::Timestamp;
