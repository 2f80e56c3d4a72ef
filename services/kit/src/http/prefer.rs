//! The `Prefer` header (RFC 7240): what a client would like of the answer. Preferences are wishes: one that is unknown
//! or malformed is ignored.

use axum::response::{IntoResponseParts, ResponseParts};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::convert::Infallible;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// How much the answer to a change is to say: the preference `return`. As part of a response it is the header
/// `Preference-Applied`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreferReturn {
    /// As little as possible.
    Minimal,
    /// The whole state after the change.
    Representation,
}

impl PreferReturn {
    /// The preference of these request headers. Of several the first counts.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(PREFER).iter().filter_map(|line| line.to_str().ok());
        let mut preferences = lines.flat_map(|line| split(line, ',')).filter_map(preference);
        let (_, value) = preferences.find(|(name, _)| name.eq_ignore_ascii_case("return"))?;
        [Self::Minimal, Self::Representation]
            .into_iter()
            .find(|known| value.eq_ignore_ascii_case(known.as_str()))
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Representation => "representation",
        }
    }

    const fn applied(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Minimal => "return=minimal",
            Self::Representation => "return=representation",
        })
    }
}

impl IntoResponseParts for PreferReturn {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.headers_mut().insert(PREFERENCE_APPLIED, self.applied());
        Ok(parts)
    }
}

/// The parts between separators, without those inside quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        if escaped {
            escaped = false;
        } else if quoted && c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        }
        c == separator && !quoted
    })
}

/// The name and the value of a preference; its parameters are none that this server knows.
fn preference(text: &str) -> Option<(&str, String)> {
    let (name, value) = split(text, ';').next()?.split_once('=')?;
    Some((name.trim(), unquoted(value.trim())?))
}

/// A token as it is, and a quoted string without its quotes.
fn unquoted(word: &str) -> Option<String> {
    let Some(rest) = word.strip_prefix('"') else { return Some(word.to_owned()) };
    let (mut text, mut chars) = (String::new(), rest.chars());
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(text),
            '\\' => text.push(chars.next()?),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PreferReturn::{Minimal, Representation};
    use super::*;

    fn preferred(lines: &[&str]) -> Option<PreferReturn> {
        let lines = lines.iter().map(|line| (PREFER, line.parse().unwrap()));
        let mut headers = HeaderMap::new();
        headers.extend(lines.map(|(name, value): (_, HeaderValue)| (name, value)));
        PreferReturn::from_headers(&headers)
    }

    #[test]
    fn the_preference_is_found_however_it_is_written() {
        for minimal in [
            "return=minimal",
            "Return = MINIMAL",
            "return=\"minimal\"",
            "return=\"mini\\mal\"",
            "respond-async, wait=100 , return=minimal;depth=\"a,b;c\"",
            "handling=\"return=representation, \\\" return=representation\", return=minimal",
            ",, return=minimal ;",
            "return=minimal, return=representation",
        ] {
            assert_eq!(preferred(&[minimal]), Some(Minimal), "{minimal}");
        }
        assert_eq!(preferred(&["return=representation"]), Some(Representation));
        assert_eq!(
            preferred(&["respond-async", "wait=5, return=minimal", "return=representation"]),
            Some(Minimal)
        );
    }

    #[test]
    fn everything_else_is_no_preference() {
        for none in [
            "",
            "minimal",
            "return",
            "return=",
            "return=\"\"",
            "return=nothing",
            "return minimal",
            "x-return=minimal",
            "return=\"minimal",
            "return=\"minimal\"x",
            "return=\"minimal, return=minimal",
            "foo; return=minimal",
            "foo=\"return=minimal\"",
        ] {
            assert_eq!(preferred(&[none]), None, "{none}");
        }
        assert_eq!(preferred(&[]), None);
    }
}
