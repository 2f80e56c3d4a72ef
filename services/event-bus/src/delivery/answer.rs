//! What the answer to a delivery means.

use http::StatusCode;
use kit::runtime::transport::TransportError;
use shared::Sequence;
use std::time::Duration;

/// How a subscriber's answers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A service of this system: every status has its meaning.
    Native,
    /// A plain service of the course: it receives one event per request, and any answer acknowledges it.
    Plain,
}

/// The result of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Applied: continue after the last event delivered.
    Done,
    /// The consumer names its own cursor: continue from there.
    Rewind(Sequence),
    /// Retry, but not before this long: the consumer's `Retry-After`, as it came.
    Wait(Duration, String),
    /// The consumer unsubscribes.
    Gone,
    /// Failed: retry after the backoff.
    Retry(String),
}

/// Interprets the answer to a delivery.
pub fn outcome(protocol: Protocol, answer: &Result<http::Response<bytes::Bytes>, TransportError>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        // The event arrived. A plain service that crashes on an event would crash on every retry, forever.
        Err(TransportError::TooLarge | TransportError::Other(_)) if protocol == Protocol::Plain => {
            return Outcome::Done;
        }
        Err(error) => return Outcome::Retry(error.to_string()),
    };
    let status = answer.status();
    if protocol == Protocol::Plain || status.is_success() {
        return Outcome::Done;
    }
    let body_excerpt = || {
        let body: String = String::from_utf8_lossy(answer.body()).chars().take(200).collect();
        if body.is_empty() { format!("answered {status}") } else { format!("answered {status}: {body}") }
    };
    match status {
        StatusCode::CONFLICT => cursor_in(answer.body()).map_or_else(
            || Outcome::Retry(format!("{} (without a cursor)", body_excerpt())),
            Outcome::Rewind,
        ),
        StatusCode::GONE => Outcome::Gone,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            match kit::runtime::transport::retry_after(answer.headers()) {
                Some(wait) => Outcome::Wait(wait, body_excerpt()),
                None => Outcome::Retry(body_excerpt()),
            }
        }
        _ => Outcome::Retry(body_excerpt()),
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
