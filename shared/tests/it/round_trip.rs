//! Every event survives its JSON, alone and in every envelope.

use proptest::prelude::*;
use shared::events::{CommentCreated, CommentModerated, CommentUpdated, PostCreated, Status};
use shared::{Envelope, Event, EventType, Sequence, Timestamp};

fn id<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    "[A-Za-z0-9_-]{1,64}".prop_map(|text| text.parse().unwrap())
}

/// Any text at all: what events carry was checked by who made them, and is not checked again by who reads them.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), ".{0,80}", "[\\x00-\\x1f\u{2028}\u{202e}\u{feff}\"\\\\/]{0,12}"]
}

fn status() -> impl Strategy<Value = Status> {
    prop::sample::select(vec![Status::Pending, Status::Approved, Status::Rejected])
}

fn time() -> impl Strategy<Value = Timestamp> {
    (Timestamp::MIN.unix_ms()..=Timestamp::MAX.unix_ms()).prop_map(Timestamp::from_unix_ms)
}

fn maybe<T: std::fmt::Debug>(some: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::of(some)
}

/// An event of this type. A new event does not compile until it has an arm here.
fn event_of(event_type: EventType) -> BoxedStrategy<Event> {
    let version = maybe(any::<u32>());
    match event_type {
        EventType::PostCreated => (id(), text(), text(), text(), maybe(time()), version)
            .prop_map(|(id, title, body, author, created_at, version)| {
                PostCreated { id, title, body, author, created_at, version }.into()
            })
            .boxed(),
        EventType::CommentCreated => {
            (id(), text(), id(), status(), text(), maybe(text()), maybe(time()), version)
                .prop_map(|(id, content, post_id, status, author, author_key, created_at, version)| {
                    CommentCreated { id, content, post_id, status, author, author_key, created_at, version }
                        .into()
                })
                .boxed()
        }
        EventType::CommentModerated => (id(), text(), id(), status(), maybe(text()), maybe(text()))
            .prop_map(|(id, content, post_id, status, reason, rule)| {
                CommentModerated { id, content, post_id, status, reason, rule }.into()
            })
            .boxed(),
        EventType::CommentUpdated => (id(), text(), id(), status(), maybe(text()), version)
            .prop_map(|(id, content, post_id, status, reason, version)| {
                CommentUpdated { id, content, post_id, status, reason, version }.into()
            })
            .boxed(),
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop::sample::select(EventType::ALL).prop_flat_map(event_of)
}

fn attribute() -> impl Strategy<Value = Option<String>> {
    maybe(text())
}

/// An event in an envelope that has any of the optional attributes and lacks any other.
fn enveloped() -> impl Strategy<Value = (Event, Envelope)> {
    let texts = (attribute(), attribute(), attribute(), attribute(), attribute(), attribute());
    let more = (attribute(), attribute(), attribute(), attribute(), maybe(time()), maybe(0..=i64::MAX));
    (event(), texts, more).prop_map(|(event, texts, more)| {
        let (specversion, id, source, subject, datacontenttype, dataschema) = texts;
        let (partitionkey, correlationid, causationid, traceparent, time, sequence) = more;
        let sequence = sequence.map(Sequence::new);
        let envelope = Envelope {
            specversion,
            id,
            source,
            subject,
            time,
            datacontenttype,
            dataschema,
            sequence,
            partitionkey,
            correlationid,
            causationid,
            traceparent,
            ..Envelope::bare(&event).unwrap()
        };
        (event, envelope)
    })
}

proptest! {
    #[test]
    fn an_event_survives_its_json(event in event()) {
        let json = serde_json::to_string(&event).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Event>(&json).unwrap(), &event);
        let data = event.data_json().unwrap();
        prop_assert_eq!(&Event::from_data(event.event_type(), &data).unwrap(), &event);
        // Members may come in any order: the name last, too.
        let reversed = format!("{{\"data\":{data},\"type\":\"{}\"}}", event.event_type());
        prop_assert_eq!(serde_json::from_str::<Event>(&reversed).unwrap(), event);
    }

    #[test]
    fn an_event_survives_every_envelope((event, envelope) in enveloped()) {
        let json = serde_json::to_string(&envelope).unwrap();
        let read: Envelope = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&read, &envelope);
        prop_assert_eq!(read.event().unwrap(), Some(event));
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), json, "and is written the same again");
    }

    #[test]
    fn a_batch_survives_its_json(all in prop::collection::vec(enveloped(), 0..5)) {
        let envelopes: Vec<Envelope> = all.into_iter().map(|(_, envelope)| envelope).collect();
        let json = serde_json::to_string(&envelopes).unwrap();
        let mut read = vec![];
        let is_array = shared::envelope::parse_events(json.as_bytes(), |event| read.push(event)).unwrap();
        prop_assert!(is_array);
        prop_assert_eq!(read, envelopes);
    }

    #[test]
    fn a_complete_envelope_says_what_its_event_says(event in event(), id in "[a-z0-9-]{1,40}", at in time()) {
        let envelope = Envelope::new(&event, id, at).unwrap();
        prop_assert_eq!(envelope.check(), Ok(()));
        prop_assert_eq!(envelope.source.as_deref(), Some(event.event_type().publisher().source()));
        prop_assert_eq!(envelope.key(), event.key().as_str());
        prop_assert_eq!(envelope.subject.as_deref(), Some(event.key().as_str()));
        // Without its attributes the data still tells which post it belongs to.
        prop_assert_eq!(Envelope::bare(&event).unwrap().key(), event.key().as_str());
    }
}

#[test]
fn each_attribute_alone_survives() {
    let names = [
        "specversion",
        "id",
        "source",
        "subject",
        "time",
        "datacontenttype",
        "dataschema",
        "sequence",
        "partitionkey",
        "correlationid",
        "causationid",
        "traceparent",
    ];
    for name in names {
        let value = match name {
            "time" => "2026-11-20T09:38:56.123Z",
            "sequence" => "00000000000000000007",
            _ => "x",
        };
        let json = format!(r#"{{"{name}":"{value}","type":"Any","data":{{}}}}"#);
        let read: Envelope = serde_json::from_str(&json).unwrap();
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(written[name], value);
        assert_eq!(written.as_object().unwrap().len(), 3, "{written}");
        let null: Envelope =
            serde_json::from_str(&format!(r#"{{"{name}":null,"type":"Any","data":{{}}}}"#)).unwrap();
        assert_eq!(serde_json::to_string(&null).unwrap(), r#"{"type":"Any","data":{}}"#, "null is not there");
    }
}

#[test]
fn an_attribute_has_a_length_and_no_control_characters() {
    for name in [
        "type",
        "id",
        "source",
        "subject",
        "dataschema",
        "partitionkey",
        "correlationid",
        "causationid",
        "traceparent",
    ] {
        let with = |value: &str| {
            let mut json = serde_json::json!({"type": "Any", "data": {}});
            json[name] = value.into();
            serde_json::from_value::<Envelope>(json).unwrap().check().map_err(|e| e.to_string())
        };
        assert_eq!(with(&"x".repeat(256)), Ok(()));
        for bad in ["", "a\nb", "a\u{7f}b", &"x".repeat(257)] {
            assert!(with(bad).unwrap_err().starts_with(name), "{name} {bad:?}");
        }
    }
}
