//! How an author is recognised: a cookie with a token, and the token's fingerprint in the events.
//!
//! Readers get no cookie; authors of comments do. The token itself is never stored: comments carry its
//! fingerprint, and a reader who shows the token may read their own comment while it is pending.
//!
//! A new author's token is an HMAC of the first comment's id, and not random, so that an answer that was lost can be
//! given again with the same cookie. Ids are public: the token is as secret as the service's key.

use super::AuthorKey;
use crate::runtime::deps::Ids;
use crate::runtime::digest::{hex, sha256_hex};
use crate::runtime::mac::derived_key;
use crate::runtime::secret::Secret;
use hmac::{Hmac, Mac};
use http::header::{COOKIE, HeaderMap, HeaderValue};
use sha2::Sha256;
use shared::views::AUTHOR_COOKIE;

/// How long the cookie lasts, in seconds: a year.
const MAX_AGE_SECONDS: u32 = 31_536_000;

/// What the cookie's name begins with on an https site: browsers then accept it over https only, only for this host,
/// so that no other host of the same domain can set it.
const HOST_PREFIX: &str = "__Host-";

/// Makes the tokens of new authors.
#[derive(Clone)]
pub struct AuthorTokens(Hmac<Sha256>);

impl std::fmt::Debug for AuthorTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthorTokens")
    }
}

impl AuthorTokens {
    /// With a key derived from the service's secret. A service without one uses a random key, and does not
    /// make the same tokens after a restart.
    pub fn new(secret: Option<&Secret>, ids: &dyn Ids) -> Self {
        let random = ids.random().to_be_bytes();
        Self(derived_key(secret.map_or(&random, Secret::as_bytes), b"mini-blog/author/v1"))
    }

    /// The token of an author whose first comment this is.
    pub fn of_comment(&self, id: &str) -> AuthorToken {
        let mac = self.0.clone().chain_update(id).finalize().into_bytes();
        AuthorToken(hex(&mac[..16]))
    }
}

/// An author's token: 32 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorToken(String);

impl std::fmt::Debug for AuthorToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthorToken")
    }
}

impl AuthorToken {
    /// The token of whoever writes with this request. On https only the prefixed name counts: another host of the same
    /// domain can set the plain one, and would then read what this author writes.
    pub fn of_writer(headers: &HeaderMap, https: bool) -> Option<Self> {
        Self::named(headers, &cookie_name(https))
    }

    /// The token of whoever reads. Both names count, the prefixed one first: authors from before the site moved to
    /// https still see their own pending comments.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        Self::named(headers, &cookie_name(true)).or_else(|| Self::named(headers, &cookie_name(false)))
    }

    /// The `Set-Cookie` that the response to these headers needs; `None` where the browser has the token under the
    /// site's name for it.
    pub fn cookie_after(&self, headers: &HeaderMap, https: bool) -> Option<HeaderValue> {
        let is_known = Self::named(headers, &cookie_name(https)).as_ref() == Some(self);
        (!is_known).then(|| self.set_cookie(https))
    }

    fn named(headers: &HeaderMap, name: &str) -> Option<Self> {
        let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookies =
            values.flat_map(|value| value.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        let (_, value) = cookies.into_iter().find(|(found, _)| *found == name)?;
        let is_token = value.len() == 32 && value.bytes().all(|b| b.is_ascii_hexdigit());
        is_token.then(|| Self(value.to_owned()))
    }

    /// Whose share or bucket of a limit this is.
    pub fn limit_key(&self) -> AuthorKey {
        AuthorKey(u128::from_str_radix(&self.0, 16).unwrap_or_default())
    }

    /// The fingerprint that goes into events: it does not reveal the token.
    pub fn key(&self) -> String {
        sha256_hex(self.0.as_bytes()).chars().take(32).collect()
    }

    /// The `Set-Cookie` with the token. No script can read it, and other sites do not send it.
    fn set_cookie(&self, https: bool) -> HeaderValue {
        let (name, token) = (cookie_name(https), &self.0);
        let secure = if https { "; Secure" } else { "" };
        let cookie =
            format!("{name}={token}; Path=/; Max-Age={MAX_AGE_SECONDS}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::from_str(&cookie).unwrap_or(HeaderValue::from_static(""))
    }
}

fn cookie_name(https: bool) -> String {
    format!("{}{AUTHOR_COOKIE}", if https { HOST_PREFIX } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::deps::SystemIds;

    fn cookies(value: &str) -> HeaderMap {
        [(COOKIE, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn the_token_comes_back_in_a_cookie_and_its_key_is_not_the_token() {
        let tokens = AuthorTokens::new(None, &SystemIds);
        for https in [false, true] {
            let token = tokens.of_comment("c");
            let set = token.cookie_after(&HeaderMap::new(), https).unwrap();
            let set = set.to_str().unwrap();
            let headers = cookies(&format!("theme=dark; {}", set.split(';').next().unwrap()));
            assert_eq!(AuthorToken::from_headers(&headers), Some(token.clone()));
            assert_eq!(token.cookie_after(&headers, https), None);
            assert!(!set.contains(&token.key()));
        }
    }

    #[test]
    fn a_token_follows_from_the_comment_and_the_secret() {
        let [one, other] = ["0123456789abcdef", "fedcba9876543210"].map(|text| Secret::new(text).unwrap());
        let token = |secret, id| AuthorTokens::new(secret, &SystemIds).of_comment(id);
        assert_eq!(token(Some(&one), "c"), token(Some(&one), "c"));
        assert_ne!(token(Some(&one), "c"), token(Some(&one), "d"));
        assert_ne!(token(Some(&one), "c"), token(Some(&other), "c"));
        assert_ne!(token(None, "c"), token(None, "c"));
    }

    #[test]
    fn on_an_https_site_the_cookie_is_secure_and_for_this_host_alone() {
        let set = |https| AuthorToken("0".repeat(32)).set_cookie(https).to_str().unwrap().to_owned();
        assert!(set(true).starts_with("__Host-author=0"), "{}", set(true));
        assert!(
            set(true).ends_with("; Secure")
                && set(true).contains("; Path=/;")
                && !set(true).contains("Domain")
        );
        assert!(set(false).starts_with("author=0") && !set(false).contains("Secure"), "{}", set(false));
    }

    #[test]
    fn an_author_from_before_https_stays_the_same_and_gets_the_prefixed_cookie() {
        let (old, new) = ("a".repeat(32), "b".repeat(32));
        let before = cookies(&format!("author={old}"));
        let token = AuthorToken::from_headers(&before).unwrap();
        assert_eq!(token, AuthorToken(old.clone()));
        assert!(
            token
                .cookie_after(&before, true)
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(&format!("__Host-author={old};"))
        );
        // Any host of the domain can set the plain name: it never wins.
        let both = cookies(&format!("author={old}; __Host-author={new}"));
        let token = AuthorToken::from_headers(&both).unwrap();
        assert_eq!((token.cookie_after(&both, true), token), (None, AuthorToken(new)));
    }

    #[test]
    fn what_is_no_token_is_nobody() {
        for cookie in
            ["author=", "author=xyz", "author=<script>", "other=0123456789abcdef0123456789abcdef", ""]
        {
            assert_eq!(AuthorToken::from_headers(&cookies(cookie)), None, "{cookie}");
        }
    }
}
