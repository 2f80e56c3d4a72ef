//! Readers of single settings.

use crate::app::StartError;
use crate::runtime::addresses::{Addresses, MAX_ADDRESSES};
use crate::runtime::secret::Secret;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use reqwest::Url;
use std::ffi::OsStr;

/// Reads a [`Secret`] from a flag or a variable: clap's own parsers would repeat a refused value in the error.
#[derive(Debug, Clone, Copy)]
pub struct SecretParser;

impl TypedValueParser for SecretParser {
    type Value = Secret;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Secret, clap::Error> {
        let text = value.to_str().unwrap_or_default();
        Secret::new(text).map_err(|weak| {
            let name = arg.and_then(clap::Arg::get_long).unwrap_or("secret");
            clap::Error::raw(ErrorKind::ValueValidation, format!("--{name}: {weak}\n")).with_cmd(command)
        })
    }
}

/// The address of a service (`http`, a host, perhaps a port and a path), without a slash at its end.
///
/// `setting` is what the error names: no TLS is compiled, and a name without `http://` is an easy slip.
pub fn base_url(setting: &str, text: &str) -> Result<String, StartError> {
    let url =
        Url::parse(text).ok().filter(|url| url.scheme() == "http" && url.has_host() && url.query().is_none());
    match url {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err(StartError::Config(format!("{setting} must be http://HOST:PORT; it is {text:?}"))),
    }
}

/// The addresses of a service's replicas, separated by commas, each as for [`base_url`].
pub fn base_urls(setting: &str, text: &str) -> Result<Addresses, StartError> {
    let all = text.split(',').map(|url| base_url(setting, url.trim())).collect::<Result<Vec<_>, _>>()?;
    if all.len() > MAX_ADDRESSES {
        return Err(StartError::Config(format!("{setting} has more than {MAX_ADDRESSES} addresses")));
    }
    Ok(Addresses::new(&all.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_leads_to_a_service() {
        for good in ["http://127.0.0.1:4000", "http://posts-clusterip-srv:4000", "http://[::1]:4000"] {
            assert_eq!(base_url("POSTS_URL", good).unwrap(), good);
        }
        assert_eq!(base_url("POSTS_URL", "http://a/").unwrap(), "http://a");
        for bad in ["", "127.0.0.1:4000", "https://a", "file:///etc/passwd", "http://", "http://a?b"] {
            let error = base_url("POSTS_URL", bad).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
            assert_eq!(error.to_string(), format!("POSTS_URL must be http://HOST:PORT; it is {bad:?}"));
        }
    }

    #[test]
    fn several_replicas_are_separated_by_commas() {
        let all = |text: &str| base_urls("POSTS_URL", text).map(|addresses| addresses.all().to_vec());
        assert_eq!(all("http://a:1/, http://b").unwrap(), ["http://a:1", "http://b"]);
        for bad in ["http://a,", "http://a,b:1", ",", "http://a http://b"] {
            assert!(
                all(bad).unwrap_err().to_string().starts_with("POSTS_URL must be http://HOST:PORT"),
                "{bad}"
            );
        }
        assert!(all(&["http://a"; 65].join(",")).unwrap_err().to_string().contains("more than 64"));
    }
}
