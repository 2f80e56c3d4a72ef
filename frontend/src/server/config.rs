//! Settings.

use kit::app::config::{CommonConfig, ServiceConfig};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The frontend's settings.
#[derive(clap::Args, Debug, Clone)]
pub struct Config {
    /// Those of every service.
    #[command(flatten)]
    pub common: CommonConfig,
    /// Address for probes and metrics, which must not be public.
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:3001", value_name = "ADDRESS")]
    pub admin_listen: SocketAddr,
    /// Address of the posts service; those of its replicas, separated by commas.
    #[arg(long, env = "POSTS_URL", default_value = "http://127.0.0.1:4000", value_name = "URL")]
    pub posts_url: String,
    /// Address of the comments service; those of its replicas, separated by commas.
    #[arg(long, env = "COMMENTS_URL", default_value = "http://127.0.0.1:4001", value_name = "URL")]
    pub comments_url: String,
    /// Address of the query service; those of its replicas, separated by commas.
    #[arg(long, env = "QUERY_URL", default_value = "http://127.0.0.1:4002", value_name = "URL")]
    pub query_url: String,
    /// Address of the moderation service; those of its replicas, separated by commas.
    #[arg(long, env = "MODERATION_URL", default_value = "http://127.0.0.1:4003", value_name = "URL")]
    pub moderation_url: String,
    /// Directory of the built site: scripts, styles and static files.
    #[arg(long, env = "LEPTOS_SITE_ROOT", default_value = "target/site", value_name = "DIR")]
    pub site_root: PathBuf,
    /// File that names the hashed files of the site [default: hash.txt beside the program or in the site].
    #[arg(long, env = "SITE_HASH_FILE", value_name = "FILE")]
    pub hash_file: Option<PathBuf>,
    /// Port of `cargo leptos watch`, which tells pages to reload.
    #[arg(long, env = "LEPTOS_RELOAD_PORT", default_value_t = 3101, hide = true)]
    pub reload_port: u16,
    /// Set by `cargo leptos watch`: files are looked up again for each page, and pages reload themselves.
    #[arg(long, env = "LEPTOS_WATCH", hide = true, value_parser = clap::builder::BoolishValueParser::new())]
    pub watch: bool,
}

impl ServiceConfig for Config {
    fn common(&self) -> &CommonConfig {
        &self.common
    }

    fn admin_listen(&self) -> Option<SocketAddr> {
        Some(self.admin_listen)
    }
}

/// This process's arguments. `cargo leptos` sets the address to listen on in a variable of its own, which counts unless
/// an address is set otherwise.
pub fn arguments() -> impl Iterator<Item = OsString> {
    let site_addr = std::env::var_os("LEPTOS_SITE_ADDR").filter(|_| std::env::var_os("LISTEN").is_none());
    with_site_addr(std::env::args_os().collect(), site_addr).into_iter()
}

fn with_site_addr(mut args: Vec<OsString>, site_addr: Option<OsString>) -> Vec<OsString> {
    let said = args.iter().any(|arg| arg.to_string_lossy().starts_with("--listen"));
    if let Some(address) = site_addr.filter(|address| !said && !address.is_empty()) {
        args.extend(["--listen".into(), address]);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ServiceName;

    #[test]
    fn cargo_leptos_chooses_the_address_unless_it_is_given() {
        let run = |args: &[&str], addr: Option<&str>| {
            let args = args.iter().map(OsString::from).collect();
            with_site_addr(args, addr.map(OsString::from)).join(&OsString::from(" "))
        };
        assert_eq!(run(&["frontend"], Some("127.0.0.1:3100")), "frontend --listen 127.0.0.1:3100");
        assert_eq!(run(&["frontend", "--listen=a"], Some("b")), "frontend --listen=a");
        assert_eq!(run(&["frontend"], None), "frontend");
    }

    #[test]
    fn the_defaults_are_the_ports_of_the_course() {
        let config: Config = kit::app::config::parse(ServiceName::Frontend, ["frontend".into()]).unwrap();
        assert_eq!(config.common.listen.port(), ServiceName::Frontend.default_port());
        for (service, url) in [
            (ServiceName::Posts, config.posts_url),
            (ServiceName::Comments, config.comments_url),
            (ServiceName::Query, config.query_url),
            (ServiceName::Moderation, config.moderation_url),
        ] {
            assert_eq!(url, format!("http://127.0.0.1:{}", service.default_port()));
        }
    }
}
