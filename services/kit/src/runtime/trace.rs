//! Trace context: the W3C `traceparent` header, in and out.
//!
//! Every request has one: from its header where that is valid, else a new one. It is sent on in outgoing requests
//! and, stored in an event, through the outbox.

use crate::runtime::deps::Ids;
use http::{HeaderMap, HeaderValue};
use std::fmt;
use std::str::FromStr;

/// The name of the header.
pub const TRACEPARENT: &str = "traceparent";

/// A position in a trace: the trace, the current span, and the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace; never zero.
    pub trace_id: u128,
    /// The span that the next spans are children of; never zero.
    pub parent_id: u64,
    /// Bit 0: sampled.
    pub flags: u8,
}

/// The text is not a valid trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid traceparent")]
pub struct InvalidTraceparent;

impl TraceContext {
    /// The root span of a new trace, sampled.
    pub fn new(ids: &dyn Ids) -> Self {
        // Neither part may be zero; one fixed bit does no harm. The ids of spans have to be unique within their trace
        // only, so the root span's may consist of the trace's own bits.
        let trace_id = ids.random() | 1;
        Self { trace_id, parent_id: (trace_id >> 64) as u64 | 1, flags: 1 }
    }

    /// A child span in the same trace.
    pub fn child(&self, ids: &dyn Ids) -> Self {
        Self { parent_id: ids.random() as u64 | 1, ..*self }
    }

    /// A child of the span that these headers name, or the root span of a new trace.
    pub fn from_headers(headers: &HeaderMap, ids: &dyn Ids) -> Self {
        // With two headers the standard requires a new trace.
        let mut values = headers.get_all(TRACEPARENT).iter();
        let only = values.next().filter(|_| values.next().is_none());
        only.and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse::<Self>().ok())
            .map_or_else(|| Self::new(ids), |caller| caller.child(ids))
    }

    /// The trace's id as 32 hexadecimal digits.
    pub fn trace_id_hex(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The value of the `traceparent` header.
    pub fn header(&self) -> HeaderValue {
        let mut text = [b'-'; 55];
        text[..2].copy_from_slice(b"00");
        text[3..35].copy_from_slice(&hex_digits(self.trace_id));
        text[36..52].copy_from_slice(&hex_digits(self.parent_id.into())[16..]);
        text[53..].copy_from_slice(&hex_digits(self.flags.into())[30..]);
        // Hexadecimal digits and dashes are always a valid header value.
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// A number as 32 hexadecimal digits. (Each request has several, and formatting takes much longer.)
pub(crate) fn hex_digits(number: u128) -> [u8; 32] {
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    digits
}

const HEX: [u8; 16] = *b"0123456789abcdef";

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTraceparent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        let mut parts = text.split('-');
        let mut part = |digits: usize| {
            let part = parts.next().filter(|p| p.len() == digits)?;
            let plain = part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            plain.then(|| u128::from_str_radix(part, 16).ok()).flatten()
        };
        let (version, trace_id, parent_id, flags) =
            (|| Some((part(2)?, part(32)?, part(16)?, part(2)?)))().ok_or(InvalidTraceparent)?;
        // A later version may have more parts; version 0 must not, and 255 is forbidden.
        let extended = parts.next().is_some();
        if trace_id == 0 || parent_id == 0 || version == 0xff || (version == 0 && extended) {
            return Err(InvalidTraceparent);
        }
        // Of a later version only the sampled flag is known.
        let flags = if version == 0 { flags as u8 } else { flags as u8 & 1 };
        Ok(Self { trace_id, parent_id: parent_id as u64, flags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::deps::SystemIds;
    use proptest::prelude::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_standard_is_read_and_written() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!(context.trace_id_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.parent_id, 0x00f0_67aa_0ba9_02b7);
        assert_eq!(context.header(), EXAMPLE);
        let child = context.child(&SystemIds);
        assert_eq!(child.trace_id, context.trace_id);
        assert_ne!(child.parent_id, context.parent_id);
    }

    #[test]
    fn what_is_not_valid_is_refused() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(InvalidTraceparent), "{bad:?}");
        }
    }

    #[test]
    fn a_version_to_come_is_understood_as_far_as_it_can_be() {
        let text = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more";
        let context: TraceContext = text.parse().unwrap();
        assert_eq!(context.to_string(), EXAMPLE);
    }

    #[test]
    fn a_request_goes_on_with_its_trace_or_starts_one() {
        let mut headers = HeaderMap::new();
        let fresh = TraceContext::from_headers(&headers, &SystemIds);
        assert_eq!(fresh.to_string().parse(), Ok(fresh));

        headers.insert(TRACEPARENT, HeaderValue::from_static(EXAMPLE));
        let known = TraceContext::from_headers(&headers, &SystemIds);
        assert_eq!(known.trace_id_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");

        headers.append(TRACEPARENT, HeaderValue::from_static(EXAMPLE));
        let contradicted = TraceContext::from_headers(&headers, &SystemIds);
        assert_ne!(contradicted.trace_id, known.trace_id);
    }

    proptest! {
        #[test]
        fn every_context_is_read_back(trace_id in 1u128.., parent_id in 1u64.., flags: u8) {
            let context = TraceContext { trace_id, parent_id, flags };
            prop_assert_eq!(context.to_string().parse(), Ok(context));
            prop_assert_eq!(context.header(), context.to_string());
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = text.parse::<TraceContext>();
        }
    }
}
