//! What every server has in common: connections and their limits, bodies, errors, and the middleware around all routes.
//!
//! - [`server`]: connections with limits, and a stop that lets running requests finish.
//! - [`with_middleware`]: the middleware that every router gets, last of all.
//! - [`ApiError`]: every error of a handler, answered as `application/problem+json`; handlers return [`ApiResult`].
//!   The store's errors turn into one by `?`.
//! - [`JsonBody`], [`RawBody`]: bodies, checked for type and size before anything reads them; [`BodyBudget`] bounds
//!   the memory of all bodies together, [`AnswerBudget`] that of all answers under way.
//! - [`RateLimits`]: what one client may take: [`Shares`] of everything that is bounded, and [`WriteLimits`].
//! - [`ordered_object`], [`json_bytes`]: JSON responses whose order or bytes matter; [`json_stream`]: arrays and objects
//!   of any length, read in chunks.
//! - [`PreferReturn`]: how much a client would like to be answered.
//! - [`AllowedHosts`]: protection from DNS rebinding; [`ClientAddress`]: who sent a request, behind trusted proxies.
//! - [`operator_only`]: routes that need the operator's token; [`SecurityEvent`]: refusals with a name in the log.
//! - [`author`]: writers, recognised by a cookie; [`idempotency`]: requests that may be repeated.
//! - [`probes`]: `/livez` and `/readyz`.
//! - [`sse`]: the heartbeat of Server-Sent Events.

mod answer_budget;
pub mod author;
mod body;
mod body_budget;
mod client_address;
mod error;
mod hosts;
pub mod idempotency;
mod json;
mod json_stream;
mod middleware;
mod minimum_rate;
mod operator;
mod prefer;
pub mod probes;
mod request_id;
mod request_log;
mod request_metrics;
mod security;
pub mod server;
mod shares;
pub mod sse;
mod store_error;
mod token_buckets;
mod write_limits;

pub use answer_budget::{ANSWER_BUDGET, AnswerBudget, CLIENT_ANSWER_BUDGET};
pub use body::{EventMedia, JsonBody, RawBody};
pub use body_budget::{BODY_BUDGET, BodyBudget, BodyError, CLIENT_BODY_BUDGET};
pub use client_address::{ClientAddress, ClientKey, FORWARDED_FOR, TrustedProxies};
pub use error::{ApiError, ApiResult};
pub use hosts::{AllowedHosts, HostName, InvalidHost, InvalidSiteUrl, SiteUrl};
pub use json::{json_bytes, ordered_object};
pub use json_stream::{Chunk, json_stream};
pub use middleware::{DEFAULT_BODY_LIMIT, Options, REQUEST_TIMEOUT, with_middleware};
pub use operator::{OperatorToken, operator_only};
pub use prefer::PreferReturn;
pub use request_id::{REQUEST_ID, RequestId};
pub use security::SecurityEvent;
pub use shares::{Exceeded, Part, Shares};
pub use write_limits::{AuthorKey, RateLimits, WriteLimits};
