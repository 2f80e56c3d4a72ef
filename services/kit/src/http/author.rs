//! How a writer is known again: a cookie with a random token, and its fingerprint in the events.
//!
//! Readers get no cookie; whoever writes a comment does. The token itself is never stored: comments carry its
//! fingerprint, and who shows the token may read their own comment while it is pending.

use crate::runtime::deps::Ids;
use crate::runtime::digest::sha256_hex;
use http::header::{COOKIE, HeaderMap, HeaderValue};
use shared::views::AUTHOR_COOKIE;

/// How long the cookie lasts, in seconds: a year.
const MAX_AGE_SECONDS: u32 = 31_536_000;

/// A writer's token.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorToken(String);

impl std::fmt::Debug for AuthorToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthorToken")
    }
}

impl AuthorToken {
    /// A token for a new writer.
    pub fn new(ids: &dyn Ids) -> Self {
        Self(format!("{:032x}", ids.random()))
    }

    /// The token that the request's cookie shows, if it is one.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let cookies =
            headers.get_all(COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
        let mut values =
            cookies.filter_map(|c| c.trim().split_once('=')).filter(|(name, _)| *name == AUTHOR_COOKIE);
        let (_, value) = values.next()?;
        let is_token = value.len() == 32 && value.bytes().all(|b| b.is_ascii_hexdigit());
        is_token.then(|| Self(value.to_owned()))
    }

    /// The fingerprint that goes into events: tells nothing about the token.
    pub fn key(&self) -> String {
        sha256_hex(self.0.as_bytes()).chars().take(32).collect()
    }

    /// The `Set-Cookie` that gives the token to its writer. No script can read it, and other sites do not send it.
    pub fn set_cookie(&self) -> HeaderValue {
        let cookie =
            format!("{AUTHOR_COOKIE}={}; Path=/; Max-Age={MAX_AGE_SECONDS}; HttpOnly; SameSite=Lax", self.0);
        HeaderValue::from_str(&cookie).unwrap_or(HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::deps::SystemIds;

    #[test]
    fn the_token_comes_back_in_a_cookie_and_its_key_is_not_the_token() {
        let token = AuthorToken::new(&SystemIds);
        let set = token.set_cookie();
        let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
        let headers: HeaderMap =
            [(COOKIE, format!("theme=dark; {pair}").parse().unwrap())].into_iter().collect();
        assert_eq!(AuthorToken::from_headers(&headers), Some(token.clone()));
        assert!(!set.to_str().unwrap().contains(&token.key()));
        assert_ne!(token.key(), AuthorToken::new(&SystemIds).key());
    }

    #[test]
    fn what_is_no_token_is_nobody() {
        for cookie in
            ["author=", "author=xyz", "author=<script>", "other=0123456789abcdef0123456789abcdef", ""]
        {
            let headers: HeaderMap = [(COOKIE, cookie.parse().unwrap())].into_iter().collect();
            assert_eq!(AuthorToken::from_headers(&headers), None, "{cookie}");
        }
    }
}
