//! Every event as the course's services write it and as ours do. These files are what is in logs that exist:
//! a change of the code that needs a change of a file here breaks somebody's log.

use serde_json::{Value, json};
use shared::events::{
    CommentCreated, CommentModerated, CommentUpdated, EventDiscarded, PostCreated, Status, may_publish,
};
use shared::{CommentId, Envelope, Event, EventType, PostId, Sequence, ServiceName, Timestamp};
use std::path::Path;

const POST: &str = "0197a2c4-5e00-7abc-8def-0123456789ab";
const COMMENT: &str = "0197a2c4-6f11-7abc-8def-0123456789cd";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn golden(kind: &str, event_type: EventType) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{kind}/{event_type}.json"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim_end().to_owned()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// What the course's files say. An event that the course never had has no such file.
fn course() -> [Event; 4] {
    let (id, post_id): (CommentId, PostId) = ("c5d6e7f8".parse().unwrap(), "a1b2c3d4".parse().unwrap());
    [
        PostCreated {
            id: post_id.clone(),
            title: "A first post".into(),
            body: String::new(),
            author: String::new(),
            created_at: None,
            version: None,
        }
        .into(),
        CommentCreated {
            id: id.clone(),
            content: "Nice".into(),
            post_id: post_id.clone(),
            status: Status::Pending,
            author: String::new(),
            author_key: None,
            created_at: None,
            version: None,
        }
        .into(),
        CommentModerated {
            id: id.clone(),
            content: "An orange cat".into(),
            post_id: post_id.clone(),
            status: Status::Rejected,
            reason: None,
            rule: None,
        }
        .into(),
        CommentUpdated {
            id,
            content: "Nice".into(),
            post_id,
            status: Status::Approved,
            reason: None,
            version: None,
        }
        .into(),
    ]
}

/// What our files say: the event, its id, its time, its sequence and its cause.
fn ours(event_type: EventType) -> (Event, &'static str, &'static str, i64, Option<&'static str>) {
    let (id, post_id) = (COMMENT.parse().unwrap(), POST.parse().unwrap());
    let content = "An orange cat".to_owned();
    let reason = Some("contains a blocked word".to_owned());
    let created = "0197a2c4-6f12-7000-8000-000000000002";
    let moderated = "0197a2c4-6f12-7111-8111-000000000003";
    match event_type {
        EventType::PostCreated => {
            let event = PostCreated {
                id: post_id,
                title: "Grüße, \"world\"".into(),
                body: "# One\n\ntwo".into(),
                author: "Ada".into(),
                created_at: Some(time("2026-11-20T09:38:56.123Z")),
                version: Some(1),
            };
            (event.into(), "0197a2c4-5e01-7000-8000-000000000001", "2026-11-20T09:38:56.123Z", 41, None)
        }
        EventType::CommentCreated => {
            let event = CommentCreated {
                id,
                content,
                post_id,
                status: Status::Pending,
                author: "Bob".into(),
                author_key: Some("0123456789abcdef0123456789abcdef".into()),
                created_at: Some(time("2026-11-20T09:39:00.000Z")),
                version: Some(1),
            };
            (event.into(), created, "2026-11-20T09:39:00.000Z", 42, None)
        }
        EventType::CommentModerated => {
            let rule = Some("blocked-word".to_owned());
            let event = CommentModerated { id, content, post_id, status: Status::Rejected, reason, rule };
            (event.into(), moderated, "2026-11-20T09:39:00.004Z", 43, Some(created))
        }
        EventType::CommentUpdated => {
            let version = Some(2);
            let event = CommentUpdated { id, content, post_id, status: Status::Rejected, reason, version };
            let id = "0197a2c4-6f12-7222-8222-000000000004";
            (event.into(), id, "2026-11-20T09:39:00.008Z", 44, Some(moderated))
        }
    }
}

fn our_envelope(event_type: EventType) -> Envelope {
    let (event, id, at, sequence, cause) = ours(event_type);
    let mut envelope = Envelope::new(&event, id.into(), at.parse().unwrap()).unwrap();
    envelope.sequence = Some(Sequence::new(sequence));
    envelope.traceparent = Some(TRACE.into());
    envelope.causationid = cause.map(str::to_owned);
    let origin =
        if event_type == EventType::PostCreated { id } else { "0197a2c4-6f12-7000-8000-000000000002" };
    envelope.correlationid = Some(origin.into());
    envelope
}

#[test]
fn every_event_of_the_course_is_read() {
    for expected in course() {
        let text = golden("course", expected.event_type());
        let event: Event = serde_json::from_str(&text).unwrap();
        assert_eq!(event, expected);
        let envelope: Envelope = serde_json::from_str(&text).unwrap();
        assert_eq!(envelope.check(), Ok(()));
        assert_eq!(envelope.event().unwrap(), Some(event));
        assert_eq!(envelope.key(), "a1b2c3d4");
        assert_eq!(envelope.kind, expected.event_type().as_str());
        assert!(envelope.id.is_none() && envelope.source.is_none() && envelope.sequence.is_none());
    }
}

#[test]
fn what_we_write_bare_has_the_courses_fields_and_no_others() {
    for event in course() {
        let theirs: Value = serde_json::from_str(&golden("course", event.event_type())).unwrap();
        assert_eq!(serde_json::to_value(&event).unwrap(), theirs);
        assert_eq!(serde_json::to_value(Envelope::bare(&event).unwrap()).unwrap(), theirs);
    }
}

#[test]
fn every_event_of_ours_is_read_and_written_byte_for_byte() {
    for &event_type in EventType::ALL {
        let text = golden("ours", event_type);
        let read: Envelope = serde_json::from_str(&text).unwrap();
        assert_eq!(read, our_envelope(event_type));
        assert_eq!(read.check(), Ok(()));
        assert_eq!(read.event().unwrap(), Some(ours(event_type).0));
        assert_eq!(read.key(), POST);
        assert_eq!(serde_json::to_string(&read).unwrap(), text, "read and written again");
        assert_eq!(serde_json::to_string(&our_envelope(event_type)).unwrap(), text, "made and written");
    }
}

#[test]
fn a_discard_is_read_and_written_byte_for_byte() {
    let text = r#"{"specversion":"1.0","id":"0197a2c4-6f12-7333-8333-000000000005","source":"/query","type":"EventDiscarded","time":"2026-11-20T09:40:00.000Z","datacontenttype":"application/json","dataschema":"/schemas/EventDiscarded/1","data":{"eventSource":"/posts","eventId":"0197a2c4-5e01-7000-8000-000000000001"}}"#;
    let read: Envelope = serde_json::from_str(text).unwrap();
    let discarded: EventDiscarded = serde_json::from_str(read.data.get()).unwrap();
    let (id, at) = (read.id.clone().unwrap(), read.time.unwrap());
    let made = Envelope::of_discard(&discarded, ServiceName::Query, id, at).unwrap();
    assert_eq!((&made, made.check()), (&read, Ok(())));
    assert_eq!(serde_json::to_string(&made).unwrap(), text);
    assert_eq!((made.event().unwrap(), made.key()), (None, String::new()));
    for service in ServiceName::ALL {
        assert_eq!(may_publish(service, EventDiscarded::TYPE), ServiceName::PEERS.contains(&service));
    }
}

/// Adds a member to every object of the JSON, at any depth.
fn with_strangers(value: Value) -> Value {
    let Value::Object(object) = value else { return value };
    let mut members: serde_json::Map<_, _> =
        object.into_iter().map(|(k, v)| (k, with_strangers(v))).collect();
    members.insert("__proto__".into(), json!({"status": "approved"}));
    members.insert("zz-tomorrow".into(), json!([1, {"deep": null}]));
    Value::Object(members)
}

#[test]
fn members_that_nobody_knows_are_ignored() {
    let theirs = course().map(|event| ("course", event));
    let ours = EventType::ALL.iter().map(|&event_type| ("ours", ours(event_type).0));
    for (kind, expected) in theirs.into_iter().chain(ours) {
        let plain: Value = serde_json::from_str(&golden(kind, expected.event_type())).unwrap();
        let text = with_strangers(plain).to_string();
        let envelope: Envelope = serde_json::from_str(&text).unwrap();
        assert_eq!(envelope.event().unwrap().as_ref(), Some(&expected), "{text}");
        let event: Event = serde_json::from_str(&text).unwrap();
        assert_eq!(event, expected);
    }
}

#[test]
fn a_name_that_nobody_knows_is_no_error_and_wrong_data_of_a_known_one_is() {
    let unknown: Envelope = serde_json::from_str(r#"{"type":"PostArchived","data":[1]}"#).unwrap();
    assert_eq!(unknown.event().unwrap(), None);
    for data in
        [json!(null), json!([]), json!("x"), json!({}), json!({"id": 5, "title": "x"}), json!({"id": "a"})]
    {
        let text = json!({"type": "PostCreated", "data": data}).to_string();
        let envelope: Envelope = serde_json::from_str(&text).unwrap();
        assert!(envelope.event().is_err(), "{text}");
    }
    let no_status =
        r#"{"type":"CommentUpdated","data":{"id":"c","content":"x","postId":"p","status":"hidden"}}"#;
    assert!(serde_json::from_str::<Envelope>(no_status).unwrap().event().is_err());
}
