//! Compressed answers.
//!
//! Compression shows in the length of an answer how often a text occurs in it. Whoever can add to a page and see its
//! length could guess a secret in it (BREACH). So nothing is compressed that holds what only its reader may see: see
//! [`Uncompressed`]. The idempotency key of a form is no such secret, and it is stored uncompressed.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use http::{HeaderMap, Response, header};
use std::io::{self, Write};
use tower_http::CompressionLevel;
use tower_http::compression::predicate::{And, DefaultPredicate, Predicate, SizeAbove};
use tower_http::compression::{CompressionBody, CompressionLayer};

/// Below this an answer fits one packet, compressed or not.
const MIN_BYTES: u64 = 1_024;

/// An extension of an answer that holds what only its reader may see.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uncompressed;

/// Whether an answer may be compressed.
#[derive(Debug, Clone, Copy)]
pub(super) struct IsForEverybody;

impl Predicate for IsForEverybody {
    fn should_compress<B: http_body::Body>(&self, response: &Response<B>) -> bool {
        response.extensions().get::<Uncompressed>().is_none()
    }
}

/// What the layer makes of a body.
pub(super) type Compressed = CompressionBody<Body>;

pub(super) type Layer = CompressionLayer<And<And<DefaultPredicate, SizeAbove>, IsForEverybody>>;

/// Compresses answers for clients that accept it: not those that are compressed already, and no streams of events.
pub(super) fn layer() -> Layer {
    let predicate = DefaultPredicate::new().and(SizeAbove::new(MIN_BYTES)).and(IsForEverybody);
    CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest).compress_when(predicate)
}

/// Whether the client accepts gzip by name.
pub(super) fn is_accepted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
        is_gzip && weight.is_some_and(|weight: f32| weight > 0.0)
    })
}

/// A text with a gap that each answer fills, compressed once.
///
/// Deflate consists of blocks. The parts before and after the gap are compressed blocks that end at a whole byte, and
/// what fills the gap is a block of its own that is stored as it is.
#[derive(Debug)]
pub(super) struct Template {
    before: Part,
    after: Part,
}

#[derive(Debug)]
struct Part {
    text: Bytes,
    deflated: Vec<u8>,
    crc: Crc,
}

/// No name, no time, the fastest method, no system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

impl Template {
    pub(super) fn new(before: Bytes, after: Bytes) -> io::Result<Self> {
        Ok(Self { before: Part::new(before, false)?, after: Part::new(after, true)? })
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        [&self.before, &self.after].map(|part| part.text.len() + part.deflated.len()).iter().sum()
    }

    /// The whole text.
    pub(super) fn fill(&self, gap: &str) -> Bytes {
        [&*self.before.text, gap.as_bytes(), &*self.after.text].concat().into()
    }

    /// The whole text as gzip. Nothing where the gap is longer than a block.
    pub(super) fn fill_compressed(&self, gap: &str) -> Option<Bytes> {
        let length = u16::try_from(gap.len()).ok()?;
        let mut crc = Crc::new();
        crc.combine(&self.before.crc);
        crc.update(gap.as_bytes());
        crc.combine(&self.after.crc);
        let parts = [&self.before.deflated, &self.after.deflated].map(Vec::len);
        let mut gzip = BytesMut::with_capacity(GZIP_HEADER.len() + parts[0] + 5 + gap.len() + parts[1] + 8);
        gzip.extend_from_slice(&GZIP_HEADER);
        gzip.extend_from_slice(&self.before.deflated);
        gzip.extend_from_slice(&[0]);
        gzip.extend_from_slice(&length.to_le_bytes());
        gzip.extend_from_slice(&(!length).to_le_bytes());
        gzip.extend_from_slice(gap.as_bytes());
        gzip.extend_from_slice(&self.after.deflated);
        gzip.extend_from_slice(&crc.sum().to_le_bytes());
        gzip.extend_from_slice(&crc.amount().to_le_bytes());
        Some(gzip.freeze())
    }
}

impl Part {
    fn new(text: Bytes, is_last: bool) -> io::Result<Self> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&text)?;
        let deflated = if is_last {
            encoder.finish()?
        } else {
            encoder.flush()?;
            encoder.get_ref().clone()
        };
        let mut crc = Crc::new();
        crc.update(&text);
        Ok(Self { text, deflated, crc })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use std::io::Read;

    proptest! {
        #[test]
        fn a_filled_template_is_the_same_text_compressed_or_not(
            before in "(<p>|[a-z ]|ä){0,400}", gap in "[a-z0-9-]{0,40}", after in "(</p>|[a-z ]|ä){0,400}"
        ) {
            let template = Template::new(before.clone().into(), after.clone().into()).unwrap();
            let whole = [before, gap.clone(), after].concat();
            prop_assert_eq!(&template.fill(&gap)[..], whole.as_bytes());
            let mut text = String::new();
            GzDecoder::new(&template.fill_compressed(&gap).unwrap()[..]).read_to_string(&mut text).unwrap();
            prop_assert_eq!(text, whole);
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_accept_it_by_name() {
        for (accepted, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("br", false),
            ("*", false),
            ("x-gzip-like", false),
            ("gzip;q=none", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, accepted.parse().unwrap())]);
            assert_eq!(is_accepted(&headers), expected, "{accepted}");
        }
        assert!(!is_accepted(&HeaderMap::new()));
    }
}
