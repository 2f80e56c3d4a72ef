//! A trace on its way through events: each hop keeps the trace and has a span of its own.
//!
//! The ids of these spans follow from the event, so that handling an event again makes the same event again.

use crate::runtime::trace::TraceContext;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use shared::{Envelope, ServiceName};
use std::borrow::Cow;

/// The span in which `service` handles an event: the context of its log lines and of the events that it causes.
pub fn span(event: &Envelope, service: ServiceName) -> Option<TraceContext> {
    let context: TraceContext = event.traceparent.as_deref()?.parse().ok()?;
    let mut digest = Sha256::new();
    for part in [
        service.source(),
        event.source.as_deref().unwrap_or_default(),
        event.id.as_deref().unwrap_or_default(),
    ] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest: [u8; 32] = digest.finalize().into();
    let mut parent_id = [0; 8];
    parent_id.copy_from_slice(&digest[..8]);
    // Zero is not a valid id.
    Some(TraceContext { parent_id: u64::from_be_bytes(parent_id) | 1, ..context })
}

/// [`span`] for log lines. Costly: only where there is something to log.
pub fn log_span(event: &Envelope, service: ServiceName) -> tracing::Span {
    span(event, service).map_or_else(tracing::Span::none, |span| {
        let span_id = format!("{:016x}", span.parent_id);
        tracing::info_span!("event", trace_id = span.trace_id_hex(), span_id)
    })
}

/// The trace context of an event in JSON, for the header of the request that carries it. A batch carries the traces
/// of many; its header names that of its first event.
pub fn of_json(event: &str) -> Option<TraceContext> {
    #[derive(Deserialize)]
    struct Traced<'a> {
        #[serde(borrow)]
        traceparent: Option<Cow<'a, str>>,
    }
    serde_json::from_str::<Traced<'_>>(event).ok()?.traceparent?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn event(id: &str, traceparent: Option<&str>) -> Envelope {
        let mut event: Envelope = serde_json::from_str(r#"{"type":"A","data":{}}"#).unwrap();
        event.id = Some(id.to_owned());
        event.traceparent = traceparent.map(str::to_owned);
        event
    }

    #[test]
    fn each_service_handles_each_event_in_a_span_of_its_own_and_always_the_same() {
        let context: TraceContext = TRACE.parse().unwrap();
        let one = span(&event("1", Some(TRACE)), ServiceName::Query).unwrap();
        assert_eq!((one.trace_id, one.flags), (context.trace_id, context.flags));
        assert_ne!(one.parent_id, context.parent_id);
        assert_eq!(span(&event("1", Some(TRACE)), ServiceName::Query), Some(one));
        assert_ne!(span(&event("2", Some(TRACE)), ServiceName::Query), Some(one));
        assert_ne!(span(&event("1", Some(TRACE)), ServiceName::Comments), Some(one));
        for none in [None, Some(""), Some("not a trace")] {
            assert_eq!(span(&event("1", none), ServiceName::Query), None);
        }
    }

    #[test]
    fn the_trace_of_an_event_in_json_is_found() {
        let json = serde_json::to_string(&event("1", Some(TRACE))).unwrap();
        assert_eq!(of_json(&json), TRACE.parse().ok());
        for none in ["", "{}", "[]", r#"{"traceparent":5}"#, r#"{"traceparent":"x"}"#] {
            assert_eq!(of_json(none), None, "{none}");
        }
    }
}
