//! The envelope of an event: CloudEvents 1.0 in structured JSON.
//!
//! The course's `{"type", "data"}` is a subset of it. Every service accepts such a bare event; the bus fills in the
//! rest.

use crate::events::{Event, EventDiscarded, EventType};
use crate::sequence::Sequence;
use crate::service::ServiceName;
use crate::time::Timestamp;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::fmt;

/// The media type of one event.
pub const CLOUDEVENTS_JSON: &str = "application/cloudevents+json";
/// The media type of an array of events.
pub const CLOUDEVENTS_BATCH_JSON: &str = "application/cloudevents-batch+json";
/// The supported version of CloudEvents.
pub const SPEC_VERSION: &str = "1.0";
/// The deepest nesting of an event's data. JSON parsers have limits, and every consumer must be able to read the log.
pub const MAX_DATA_DEPTH: usize = 32;
/// The longest text attribute (`id`, `source`, `type`, …), in bytes.
pub const MAX_ATTRIBUTE_LEN: usize = 256;

/// An event in its envelope. The data stays the text that was published, so that forwarding an event does not change
/// it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope {
    /// Always `1.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specversion: Option<String>,
    /// Unique together with `source`: the same pair is the same event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The publisher, as in `/posts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The name of an [`EventType`], or of an event of somebody else.
    #[serde(rename = "type")]
    pub kind: String,
    /// The post's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it was published, by the publisher's clock; not the order of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// Always `application/json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// The version of the data's fields, as in `/schemas/PostCreated/1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    /// The place in the log; set by the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// The post's id: events with the same key keep their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitionkey: Option<String>,
    /// The id of the first event of the chain that this one belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlationid: Option<String>,
    /// The id of the event that caused this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causationid: Option<String>,
    /// The W3C trace context of the request at the beginning of the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// As published.
    pub data: Box<RawValue>,
}

/// Why [`Envelope::check`] refuses an envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEnvelope {
    /// A version of CloudEvents that is not supported.
    #[error("specversion must be \"1.0\"")]
    SpecVersion,
    /// An attribute is empty, too long, or has control characters.
    #[error("{0} must be 1 to {MAX_ATTRIBUTE_LEN} bytes without control characters")]
    Attribute(&'static str),
    /// The data is not declared as JSON.
    #[error("datacontenttype must be application/json")]
    ContentType,
    /// Deeper than [`MAX_DATA_DEPTH`].
    #[error("the data must not be nested deeper than {MAX_DATA_DEPTH} levels")]
    TooDeep,
}

/// The data of an event does not have the fields of its type.
#[derive(Debug, thiserror::Error)]
#[error("the data of this {event_type} cannot be read: {source}")]
pub struct BadData {
    /// The type whose fields were expected.
    pub event_type: EventType,
    /// The parser's error.
    pub source: serde_json::Error,
}

impl Envelope {
    /// An envelope with only type and data, as the course's services send it.
    pub fn bare(event: &Event) -> Result<Self, serde_json::Error> {
        Ok(Self::of(event.event_type().to_string(), RawValue::from_string(event.data_json()?)?))
    }

    fn of(kind: String, data: Box<RawValue>) -> Self {
        Self {
            specversion: None,
            id: None,
            source: None,
            kind,
            subject: None,
            time: None,
            datacontenttype: None,
            dataschema: None,
            sequence: None,
            partitionkey: None,
            correlationid: None,
            causationid: None,
            traceparent: None,
            data,
        }
    }

    /// A complete envelope of a discard by `service`. It has no key: it waits behind no other event.
    pub fn of_discard(
        discarded: &EventDiscarded,
        service: ServiceName,
        id: String,
        time: Timestamp,
    ) -> Result<Self, serde_json::Error> {
        let data = serde_json::value::to_raw_value(discarded)?;
        Ok(Self {
            specversion: Some(SPEC_VERSION.to_owned()),
            id: Some(id),
            source: Some(service.source().to_owned()),
            time: Some(time),
            datacontenttype: Some("application/json".to_owned()),
            dataschema: Some(EventDiscarded::SCHEMA.to_owned()),
            ..Self::of(EventDiscarded::TYPE.to_owned(), data)
        })
    }

    /// A complete envelope of an event that its publisher creates at `time`.
    pub fn new(event: &Event, id: String, time: Timestamp) -> Result<Self, serde_json::Error> {
        let event_type = event.event_type();
        let key = event.key().to_string();
        Ok(Self {
            specversion: Some(SPEC_VERSION.to_owned()),
            id: Some(id),
            source: Some(event_type.publisher().source().to_owned()),
            subject: Some(key.clone()),
            time: Some(time),
            datacontenttype: Some("application/json".to_owned()),
            dataschema: Some(event_type.schema()),
            partitionkey: Some(key),
            ..Self::bare(event)?
        })
    }

    /// Checks the attributes and the nesting of the data. Its fields are for the consumers to check.
    pub fn check(&self) -> Result<(), BadEnvelope> {
        if self.specversion.as_deref().is_some_and(|v| v != SPEC_VERSION) {
            return Err(BadEnvelope::SpecVersion);
        }
        let json = |t: &str| t == "application/json" || t.starts_with("application/json;");
        if self.datacontenttype.as_deref().is_some_and(|t| !json(t)) {
            return Err(BadEnvelope::ContentType);
        }
        if is_too_deep(self.data.get()) {
            return Err(BadEnvelope::TooDeep);
        }
        let texts = [
            ("type", Some(&self.kind)),
            ("id", self.id.as_ref()),
            ("source", self.source.as_ref()),
            ("subject", self.subject.as_ref()),
            ("dataschema", self.dataschema.as_ref()),
            ("partitionkey", self.partitionkey.as_ref()),
            ("correlationid", self.correlationid.as_ref()),
            ("causationid", self.causationid.as_ref()),
            ("traceparent", self.traceparent.as_ref()),
        ];
        for (name, text) in texts {
            if text.is_some_and(|t| t.is_empty() || t.len() > MAX_ATTRIBUTE_LEN || has_control(t)) {
                return Err(BadEnvelope::Attribute(name));
            }
        }
        Ok(())
    }

    /// The event; `Ok(None)` if its type is none of [`EventType`].
    pub fn event(&self) -> Result<Option<Event>, BadData> {
        let Ok(event_type) = self.kind.parse::<EventType>() else { return Ok(None) };
        Event::from_data(event_type, self.data.get())
            .map(Some)
            .map_err(|source| BadData { event_type, source })
    }

    /// Events with the same key keep their order: the partition key, else the subject, else the post that the data
    /// names, else an empty text.
    pub fn key(&self) -> String {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Names {
            post_id: Option<serde_json::Value>,
            id: Option<serde_json::Value>,
        }
        if let Some(key) = self.partitionkey.as_ref().or(self.subject.as_ref()) {
            return key.clone();
        }
        let names: Option<Names> = serde_json::from_str(self.data.get()).ok();
        names
            .and_then(|n| n.post_id.or(n.id))
            .and_then(|v| v.as_str().map(|s| s.chars().take(MAX_ATTRIBUTE_LEN).collect()))
            .unwrap_or_default()
    }
}

/// Nearly every attribute is plain ASCII, of which many bytes are compared at once.
fn has_control(text: &str) -> bool {
    let is_plain = text.bytes().fold(true, |plain, byte| plain & (b' '..=b'~').contains(&byte));
    !is_plain && text.chars().any(char::is_control)
}

/// Nearly every text has too few brackets for that, which is counted faster than how they are nested.
fn is_too_deep(json: &str) -> bool {
    let brackets = json.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
    brackets > MAX_DATA_DEPTH && depth(json) > MAX_DATA_DEPTH
}

/// The nesting of a well-formed JSON text.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        let attributes = |e: &Self| {
            (
                e.specversion.clone(),
                e.id.clone(),
                e.source.clone(),
                e.kind.clone(),
                e.subject.clone(),
                e.time,
                e.datacontenttype.clone(),
                e.dataschema.clone(),
                (e.sequence, e.partitionkey.clone(), e.correlationid.clone(), e.causationid.clone()),
                (e.traceparent.clone(), e.data.get().to_owned()),
            )
        };
        attributes(self) == attributes(other)
    }
}

/// Reads one event or an array of events and passes on each as soon as it is read; returns whether it was an array.
pub fn parse_events(body: &[u8], mut take: impl FnMut(Envelope)) -> Result<bool, serde_json::Error> {
    let is_array = body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[');
    if is_array {
        let mut json = serde_json::Deserializer::from_slice(body);
        json.deserialize_seq(Each(take))?;
        json.end()?;
    } else {
        take(serde_json::from_slice(body)?);
    }
    Ok(is_array)
}

/// Passes on each element of an array.
struct Each<F>(F);

impl<'de, F: FnMut(Envelope)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut events: A) -> Result<(), A::Error> {
        while let Some(event) = events.next_element()? {
            (self.0)(event);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_and_not_those_in_texts() {
        assert_eq!(depth("1"), 0);
        assert_eq!(depth(r#"{"a":[{"b":1},{"c":2}]}"#), 3);
        assert_eq!(depth(r#"{"a":"[[[\"[[["}"#), 1);
        let wide = format!("[{}1]", "[],".repeat(2 * MAX_DATA_DEPTH));
        assert!(!is_too_deep(&wide) && !is_too_deep(&format!("{wide:?}")));
        let nested = |levels: usize| Envelope {
            data: RawValue::from_string(format!("{}{}", "[".repeat(levels), "]".repeat(levels))).unwrap(),
            ..serde_json::from_str(r#"{"type":"A","data":1}"#).unwrap()
        };
        assert_eq!(nested(MAX_DATA_DEPTH).check(), Ok(()));
        assert_eq!(nested(MAX_DATA_DEPTH + 1).check(), Err(BadEnvelope::TooDeep));
    }
}
