//! What the bus decides. Pure: no I/O, no clock.

use http::StatusCode;
use kit::runtime::transport::TransportError;
use shared::events::may_publish;
use shared::{Envelope, EventType, Sequence, ServiceName, Timestamp};
use std::time::Duration;

/// Why a publication is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Not this service's to publish.
    #[error("{publisher} may not publish {kind}")]
    TypeNotOwned {
        /// Who signed.
        publisher: ServiceName,
        /// The event's name.
        kind: String,
    },
    /// The source names somebody else.
    #[error("{publisher} may not publish as {source_name}")]
    SourceMismatch {
        /// Who signed.
        publisher: ServiceName,
        /// Whom the envelope names.
        source_name: String,
    },
}

/// Checks the publisher's right, and fills in what a bare event leaves out. Without a publisher (the bus runs
/// `--insecure`) everything is anybody's.
pub fn admit(
    mut envelope: Envelope,
    publisher: Option<ServiceName>,
    now: Timestamp,
    new_id: impl FnOnce() -> String,
) -> Result<Envelope, PublishError> {
    let event_type = envelope.kind.parse::<EventType>().ok();
    if let Some(publisher) = publisher {
        if !may_publish(publisher, &envelope.kind) {
            return Err(PublishError::TypeNotOwned { publisher, kind: envelope.kind });
        }
        if let Some(source_name) = envelope.source.take_if(|source| source != publisher.source()) {
            return Err(PublishError::SourceMismatch { publisher, source_name });
        }
    }
    let owner = publisher.or(event_type.map(EventType::publisher));
    let key = Some(envelope.key()).filter(|key| !key.is_empty());
    let id = envelope.id.take().unwrap_or_else(new_id);
    Ok(Envelope {
        specversion: Some(shared::envelope::SPEC_VERSION.to_owned()),
        source: envelope.source.or_else(|| Some(owner.map_or("/unknown", ServiceName::source).to_owned())),
        subject: envelope.subject.or_else(|| key.clone()),
        partitionkey: envelope.partitionkey.or(key),
        time: envelope.time.or(Some(now)),
        datacontenttype: envelope.datacontenttype.or_else(|| Some("application/json".to_owned())),
        dataschema: envelope.dataschema.or_else(|| event_type.map(EventType::schema)),
        correlationid: envelope.correlationid.or_else(|| Some(id.clone())),
        id: Some(id),
        sequence: None,
        ..envelope
    })
}

/// Which protocol a subscriber has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Speaks the whole protocol.
    Native,
    /// A plain service of the course: one event per request, whatever it answers is an answer.
    Plain,
}

/// What a delivery came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Applied: go on after the last event delivered.
    Done,
    /// The consumer says where it stands: go on from there.
    Rewind(Sequence),
    /// Not now: again after this long at least.
    Wait(Duration, String),
    /// The consumer wants no more, ever.
    Gone,
    /// Failed: again after the backoff.
    Retry(String),
}

/// The longest `Retry-After` that is honoured: a consumer that names a year has a fault.
const LONGEST_WAIT: Duration = kit::runtime::transport::LONGEST_RETRY_AFTER;

/// Reads the answer to a delivery.
pub fn outcome(protocol: Protocol, answer: &Result<http::Response<bytes::Bytes>, TransportError>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        // It arrived, and ended the exchange: a plain service that dies of an event would die of it for ever.
        Err(TransportError::TooLarge | TransportError::Other(_)) if protocol == Protocol::Plain => {
            return Outcome::Done;
        }
        Err(error) => return Outcome::Retry(error.to_string()),
    };
    let status = answer.status();
    if protocol == Protocol::Plain || status.is_success() {
        return Outcome::Done;
    }
    let said = || {
        let body: String = String::from_utf8_lossy(answer.body()).chars().take(200).collect();
        if body.is_empty() { format!("answered {status}") } else { format!("answered {status}: {body}") }
    };
    match status {
        StatusCode::CONFLICT => cursor_in(answer.body())
            .map_or_else(|| Outcome::Retry(format!("{} (without a cursor)", said())), Outcome::Rewind),
        StatusCode::GONE => Outcome::Gone,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            match kit::runtime::transport::retry_after(answer.headers()) {
                Some(wait) => Outcome::Wait(wait.min(LONGEST_WAIT), said()),
                None => Outcome::Retry(said()),
            }
        }
        _ => Outcome::Retry(said()),
    }
}

fn cursor_in(body: &[u8]) -> Option<Sequence> {
    #[derive(serde::Deserialize)]
    struct Cursor {
        cursor: Sequence,
    }
    serde_json::from_slice::<Cursor>(body).ok().map(|c| c.cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(json: &str) -> Envelope {
        serde_json::from_str(json).unwrap()
    }

    fn bare() -> Envelope {
        envelope(
            r#"{"type":"CommentCreated","data":{"id":"c1","content":"hi","postId":"p1","status":"pending"}}"#,
        )
    }

    fn admit_as(publisher: Option<ServiceName>, e: Envelope) -> Result<Envelope, PublishError> {
        admit(e, publisher, Timestamp::from_unix_ms(7), || "new-id".into())
    }

    #[test]
    fn a_bare_event_gets_everything_else() {
        let full = admit_as(Some(ServiceName::Comments), bare()).unwrap();
        let json = serde_json::to_value(&full).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "specversion": "1.0", "id": "new-id", "source": "/comments", "type": "CommentCreated", "subject": "p1",
                "time": "1970-01-01T00:00:00.007Z", "datacontenttype": "application/json",
                "dataschema": "/schemas/CommentCreated/1", "partitionkey": "p1", "correlationid": "new-id",
                "data": {"id": "c1", "content": "hi", "postId": "p1", "status": "pending"}
            })
        );
        assert_eq!(admit_as(None, bare()).unwrap(), full, "its name tells whose it is");
    }

    #[test]
    fn what_is_there_already_stays_but_for_the_sequence() {
        let mut full = admit_as(None, bare()).unwrap();
        full.traceparent = Some("00-1-2-01".into());
        full.causationid = Some("cause".into());
        let mut numbered = full.clone();
        numbered.sequence = Some(Sequence::new(99));
        assert_eq!(admit(numbered, None, Timestamp::MAX, || "other".into()).unwrap(), full);
    }

    #[test]
    fn only_the_publisher_in_the_table_may_publish() {
        for &event_type in EventType::ALL {
            for publisher in ServiceName::PEERS {
                let e = Envelope { kind: event_type.to_string(), ..bare() };
                let allowed = admit_as(Some(publisher), e).is_ok();
                assert_eq!(allowed, publisher == event_type.publisher(), "{publisher} {event_type}");
            }
        }
        let forged = Envelope { source: Some("/moderation".into()), ..bare() };
        assert!(matches!(
            admit_as(Some(ServiceName::Comments), forged),
            Err(PublishError::SourceMismatch { .. })
        ));
        let unknown = Envelope { kind: "Other".into(), ..bare() };
        assert!(matches!(
            admit_as(Some(ServiceName::Comments), unknown.clone()),
            Err(PublishError::TypeNotOwned { .. })
        ));
        assert_eq!(admit_as(None, unknown).unwrap().source.as_deref(), Some("/unknown"));
    }

    fn answer(status: u16, headers: &[(&str, &str)], body: &'static str) -> Outcome {
        let mut response = http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        outcome(Protocol::Native, &Ok(response.body(bytes::Bytes::from_static(body.as_bytes())).unwrap()))
    }

    #[test]
    fn every_answer_means_what_the_contract_says() {
        assert_eq!(answer(200, &[], "{}"), Outcome::Done);
        assert_eq!(answer(204, &[], ""), Outcome::Done);
        assert_eq!(
            answer(409, &[], r#"{"status":409,"cursor":"00000000000000000007"}"#),
            Outcome::Rewind(Sequence::new(7))
        );
        assert!(matches!(answer(409, &[], "garbage"), Outcome::Retry(_)));
        assert!(matches!(answer(409, &[], r#"{"cursor":-1}"#), Outcome::Retry(_)));
        assert_eq!(answer(410, &[], ""), Outcome::Gone);
        for status in [429, 503] {
            assert!(
                matches!(answer(status, &[("retry-after", "7")], ""), Outcome::Wait(w, _) if w.as_secs() == 7)
            );
            assert!(
                matches!(answer(status, &[("retry-after", "99999999")], ""), Outcome::Wait(w, _) if w == LONGEST_WAIT)
            );
            assert!(matches!(answer(status, &[], ""), Outcome::Retry(_)));
        }
        for status in [301, 302, 400, 401, 404, 415, 422, 500, 502] {
            assert!(matches!(answer(status, &[], ""), Outcome::Retry(_)), "{status}");
        }
    }

    #[test]
    fn a_course_service_is_tried_again_only_while_it_cannot_be_reached() {
        let said =
            |status: u16| Ok(http::Response::builder().status(status).body(bytes::Bytes::new()).unwrap());
        for status in [200, 404, 500] {
            assert_eq!(outcome(Protocol::Plain, &said(status)), Outcome::Done);
        }
        for arrived in [TransportError::TooLarge, TransportError::Other("reset".into())] {
            assert_eq!(outcome(Protocol::Plain, &Err(arrived)), Outcome::Done);
        }
        assert!(matches!(outcome(Protocol::Native, &Err(TransportError::TooLarge)), Outcome::Retry(_)));
        for away in [TransportError::Connect("refused".into()), TransportError::Timeout] {
            assert!(matches!(outcome(Protocol::Plain, &Err(away)), Outcome::Retry(_)));
        }
    }
}
