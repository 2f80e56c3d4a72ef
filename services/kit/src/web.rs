//! What every service's HTTP has in common.
//!
//! - [`Failure`]: every error of a handler, answered as `application/problem+json`; handlers return [`Answer`].
//! - [`JsonBody`] and [`RawBody`]: bodies, checked for type and size before anything looks at them.
//! - [`finish`]: the middleware that every router gets, last of all.
//! - [`ordered_object`], [`json_bytes`]: answers that are written by hand.
//! - [`operator_only`]: routes that need the operator's token.

mod body;
mod failure;
mod finish;
mod json;
mod operator;
mod request_id;
mod room;

pub use body::{EventMedia, JsonBody, RawBody};
pub use failure::{Answer, Failure};
pub use finish::{DEFAULT_BODY_LIMIT, Options, REQUEST_TIMEOUT, finish};
pub use json::{json_bytes, ordered_object};
pub use operator::{OperatorToken, operator_only};
pub use request_id::{REQUEST_ID, RequestId};
pub use room::{BODY_ROOM, BodyRoom};
