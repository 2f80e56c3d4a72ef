//! Reading the body of a publication or a delivery.

use crate::http::{ApiError, ApiResult, EventMedia, RawBody};
use serde_json::Value;
use serde_json::error::Category;
use shared::envelope::parse_events;
use shared::{Envelope, ProblemKind};

/// Reads one event or a batch, and checks every envelope; also returns whether it was a batch.
///
/// The error is 415 for another media type, 400 for invalid JSON, 422 for JSON that is not an event.
pub fn read_events(body: &RawBody) -> ApiResult<(Vec<Envelope>, bool)> {
    let mut events = Vec::new();
    let is_batch = read_each(body, |event| events.push(event))?;
    Ok((events, is_batch))
}

/// [`read_events`], which passes on each event as soon as it is read: those before an error, too.
pub fn read_each(body: &RawBody, mut take: impl FnMut(Envelope)) -> ApiResult<bool> {
    let media = body.event_media()?;
    let invalid = |detail: String| ApiError::new(ProblemKind::Invalid).detail(detail);
    let (mut at, mut bad) = (0, None);
    let checked = |event: Envelope| {
        match event.check() {
            Err(error) if bad.is_none() => bad = Some(format!("event {at}: {error}")),
            Ok(()) if bad.is_none() => take(event),
            _ => {}
        }
        at += 1;
    };
    let is_batch = parse_events(&body.bytes, checked).map_err(|error| match error.classify() {
        // The parser stops at the first value that is not an event: the JSON after it may still be invalid.
        Category::Data if serde_json::from_slice::<Value>(&body.bytes).is_ok() => invalid(error.to_string()),
        _ => ApiError::new(ProblemKind::MalformedJson).detail(error.to_string()),
    })?;
    match media {
        EventMedia::CloudEvent if is_batch => Err(invalid("this media type is for one event".to_owned())),
        EventMedia::CloudEventBatch if !is_batch => {
            Err(invalid("this media type is for an array of events".to_owned()))
        }
        _ => bad.map_or(Ok(is_batch), |detail| Err(invalid(detail))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn status(content_type: &str, body: &str) -> u16 {
        let body = RawBody { bytes: body.to_owned().into(), content_type: content_type.to_owned() };
        read_events(&body).map_or_else(|failure| failure.problem().status, |_| 200)
    }

    #[test]
    fn each_fault_has_its_own_answer() {
        let json = "application/json";
        assert_eq!(status(json, r#"{"type":"A","data":{}}"#), 200);
        assert_eq!(status(json, r#" [{"type":"A","data":{}},{"type":"B","data":null}]"#), 200);
        assert_eq!(status("application/cloudevents+json", r#"{"type":"A","data":{}}"#), 200);
        assert_eq!(status("application/cloudevents-batch+json", "[]"), 200);
        assert_eq!(status("application/cloudevents+json", "[]"), 422);
        assert_eq!(status("application/cloudevents-batch+json", r#"{"type":"A","data":{}}"#), 422);
        assert_eq!(status("text/plain", "{}"), 415);
        for malformed in ["", "{", "nope", "[{", "{} {}", "[5] x", r#"{"type":5,"data""#] {
            assert_eq!(status(json, malformed), 400, "{malformed}");
        }
        for invalid in [
            "{}",
            "5",
            "[5]",
            r#"{"type":5,"data":{}}"#,
            r#"{"type":"A"}"#,
            r#"{"type":"","data":{}}"#,
            r#"{"type":"A","data":{},"specversion":"0.3"}"#,
            r#"{"type":"A","data":{},"id":"a\nb"}"#,
            r#"{"type":"A","data":{},"time":"yesterday"}"#,
            r#"{"type":"A","data":{},"sequence":"x"}"#,
            r#"{"type":"A","data":{},"datacontenttype":"text/xml"}"#,
        ] {
            assert_eq!(status(json, invalid), 422, "{invalid}");
        }
        assert_eq!(status(json, &format!(r#"{{"type":"{}","data":{{}}}}"#, "x".repeat(257))), 422);
        let deep = format!(r#"{{"type":"A","data":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
        assert_eq!(status(json, &deep), 422);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in "[\\[\\]{}:,\"a-z0-9 ]{0,60}") {
            status("application/json", &body);
        }
    }
}
