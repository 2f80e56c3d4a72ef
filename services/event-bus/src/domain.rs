//! Which publications are accepted, and what a bare event is completed with. Pure: no I/O, no clock.

use shared::events::may_publish;
use shared::{Envelope, EventType, ServiceName, Timestamp};

/// Why a publication is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The table of events names another publisher.
    #[error("{publisher} may not publish {kind}")]
    TypeNotOwned { publisher: ServiceName, kind: String },
    /// The envelope's source is not the service that signed.
    #[error("{publisher} may not publish as {source_name}")]
    SourceMismatch { publisher: ServiceName, source_name: String },
    /// No log could keep it apart from others: PostgreSQL, for one, has no text with a NUL, nor an index of long ones.
    #[error("must have at most {MAX_NAME_BYTES} bytes, and no control characters")]
    BadName { attribute: &'static str },
    /// The envelope names another post than the data: an event that cannot be applied would then stop that post.
    #[error("must be the post that the data names")]
    KeyMismatch { attribute: &'static str },
}

/// The longest `source` and `id` of an event, in bytes.
const MAX_NAME_BYTES: usize = 1_024;

/// Checks that the publisher may publish this event, and completes a bare one. Without a publisher (the bus runs
/// `--insecure`) anybody may publish anything.
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
    for (attribute, value) in [("id", &envelope.id), ("source", &envelope.source)] {
        let is_bad = |name: &String| name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control);
        if value.as_ref().is_some_and(is_bad) {
            return Err(PublishError::BadName { attribute });
        }
    }
    let owner = publisher.or(event_type.map(EventType::publisher));
    let key = if owner.is_some() { key_of_data(&envelope)? } else { envelope.key() };
    let key = Some(key).filter(|key| !key.is_empty());
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

/// The key of an event of this system: it comes only from the data, whatever the publisher wrote beside it.
fn key_of_data(envelope: &Envelope) -> Result<String, PublishError> {
    let key = match envelope.event() {
        Ok(Some(event)) => event.key().to_string(),
        // Consumers will park data that cannot be read, in the order of the post that it names.
        _ => Envelope { partitionkey: None, subject: None, ..envelope.clone() }.key(),
    };
    for (attribute, value) in [("partitionkey", &envelope.partitionkey), ("subject", &envelope.subject)] {
        if value.as_ref().is_some_and(|value| *value != key) {
            return Err(PublishError::KeyMismatch { attribute });
        }
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::Sequence;

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

    #[test]
    fn an_event_that_not_every_log_could_keep_is_refused() {
        let with = |id: &str, source: &str| {
            admit_as(None, Envelope { id: Some(id.into()), source: Some(source.into()), ..bare() })
        };
        let long = "x".repeat(MAX_NAME_BYTES);
        assert!(with(&long, &long).is_ok());
        assert!(with("ä /\\\"'", "").is_ok());
        for bad in [&format!("{long}x"), "a\0b", "\u{1f}", "\n", "\u{85}"] {
            assert_eq!(with(bad, "s"), Err(PublishError::BadName { attribute: "id" }), "{bad:?}");
            assert_eq!(with("i", bad), Err(PublishError::BadName { attribute: "source" }), "{bad:?}");
        }
    }

    #[test]
    fn the_key_follows_from_the_data_alone() {
        let post = r#"{"type":"PostCreated","data":{"id":"p1","title":"T","postId":"p2"}}"#;
        let unreadable = r#"{"type":"CommentCreated","data":{"id":"c1","postId":"p1","content":5}}"#;
        let nameless = r#"{"type":"CommentCreated","data":[]}"#;
        for (json, key) in [(post, Some("p1")), (unreadable, Some("p1")), (nameless, None)] {
            let key = key.map(str::to_owned);
            let full = admit_as(None, envelope(json)).unwrap();
            assert_eq!((&full.partitionkey, &full.subject), (&key, &key), "{json}");
            assert_eq!(admit_as(None, full.clone()).unwrap(), full, "{json}");
            for attribute in ["partitionkey", "subject"] {
                let mut forged = full.clone();
                let value =
                    if attribute == "subject" { &mut forged.subject } else { &mut forged.partitionkey };
                *value = Some("p2".into());
                assert_eq!(admit_as(None, forged), Err(PublishError::KeyMismatch { attribute }), "{json}");
            }
        }
        let discard = envelope(r#"{"type":"EventDiscarded","subject":"p2","data":{"eventId":"e1"}}"#);
        let refused = Err(PublishError::KeyMismatch { attribute: "subject" });
        assert_eq!(admit_as(Some(ServiceName::Query), discard), refused);
        let foreign = envelope(r#"{"type":"Other","partitionkey":"p2","data":{"id":"p1"}}"#);
        assert_eq!(admit_as(None, foreign).unwrap().subject.as_deref(), Some("p2"), "not for us to judge");
    }
}
