//! A frontend on free ports, services that the test defines, and raw requests.

use axum::Router;
use frontend::server::{Config, build};
use kit::app::ServeError;
use kit::app::config::CommonConfig;
use kit::runtime::deps::Deps;
use kit::runtime::lifecycle::Lifecycle;
use shared::ServiceName;
use std::net::SocketAddr;
use std::path::Path;
pub use test_support::LIMIT;
use test_support::{ports, raw};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running frontend.
pub struct Frontend {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    pub lifecycle: Lifecycle,
    served: JoinHandle<Result<(), ServeError>>,
    _site: tempfile::TempDir,
}

/// The services behind the frontend. A missing one refuses connections.
#[derive(Default)]
pub struct Behind {
    pub posts: Option<Router>,
    pub comments: Option<Router>,
    pub query: Option<Router>,
    pub moderation: Option<Router>,
    /// The public address of the site.
    pub site_url: Option<&'static str>,
    /// How many proxies stand in front of the frontend.
    pub trusted_proxies: u8,
}

impl Behind {
    /// The same router as every service.
    pub fn all(router: Router) -> Self {
        let some = || Some(router.clone());
        Self { posts: some(), comments: some(), query: some(), moderation: some(), ..Self::default() }
    }

    /// Starts the services and the frontend, with these files in its site.
    pub async fn start_with(self, files: &[(&str, &str)]) -> Frontend {
        let site = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = site.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let mut config = config(site.path());
        config.posts_url = serve(self.posts).await;
        config.comments_url = serve(self.comments).await;
        config.query_url = serve(self.query).await;
        config.moderation_url = serve(self.moderation).await;
        config.common.site_url = self.site_url.map(|url| url.parse().unwrap());
        config.common.trusted_proxies = self.trusted_proxies.into();
        let lifecycle = Lifecycle::new();
        let service = build(config, Deps::system().unwrap(), lifecycle.clone()).await.unwrap();
        let (public, admin) = (listener().await, listener().await);
        let (public_addr, admin_addr) = (public.local_addr().unwrap(), admin.local_addr().unwrap());
        let served = tokio::spawn(service.serve(public, Some(admin)));
        Frontend { public: public_addr, admin: admin_addr, lifecycle, served, _site: site }
    }

    /// Starts the services and the frontend, without a built site.
    pub async fn start(self) -> Frontend {
        self.start_with(&[]).await
    }
}

fn config(site_root: &Path) -> Config {
    let nowhere = String::new();
    Config {
        common: CommonConfig::new(ServiceName::Frontend),
        admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        posts_url: nowhere.clone(),
        comments_url: nowhere.clone(),
        query_url: nowhere.clone(),
        moderation_url: nowhere,
        site_root: site_root.to_owned(),
        hash_file: Some(site_root.join("hash.txt")),
        reload_port: 0,
        watch: false,
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Serves a router; without one, returns an address that refuses connections.
async fn serve(router: Option<Router>) -> String {
    let Some(router) = router else { return format!("http://127.0.0.1:{}", ports::free(1)[0]) };
    let listener = listener().await;
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// An answer.
#[derive(Debug)]
pub struct Reply(raw::Answer);

impl std::ops::Deref for Reply {
    type Target = raw::Answer;

    fn deref(&self) -> &raw::Answer {
        &self.0
    }
}

impl Reply {
    /// Asserts that this is a problem of this status.
    pub fn is_problem(&self, status: u16) {
        assert_eq!(
            (self.status, self.header("content-type")),
            (status, "application/problem+json"),
            "{self:?}"
        );
        let problem: shared::Problem = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem.status, status);
    }
}

impl Frontend {
    /// Sends a request as it is written here, with a host and the end of the connection added.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            text += "host: blog.example\r\n";
        }
        for (name, value) in headers {
            text += &[name, ": ", value, "\r\n"].concat();
        }
        if !body.is_empty() {
            text += &["content-length: ", &body.len().to_string(), "\r\n"].concat();
        }
        text += "\r\n";
        exchange(self.public, &(text + body)).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[("accept", "text/html,*/*")], "").await
    }

    pub async fn post_json(&self, path: &str, body: &str) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], body).await
    }

    /// Sends a form as a browser without script does.
    pub async fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let plain = |b: u8| b.is_ascii_alphanumeric();
        let escape = |text: &str| -> String {
            text.bytes()
                .map(|b| if plain(b) { char::from(b).to_string() } else { ["%", &hex(b)].concat() })
                .collect()
        };
        let pairs: Vec<String> =
            fields.iter().map(|(name, text)| [name, "=", &escape(text)].concat()).collect();
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", "http://blog.example"),
            ("sec-fetch-site", "same-origin"),
            ("cookie", "author=0123456789abcdef0123456789abcdef"),
        ];
        self.send("POST", path, &headers, &pairs.join("&")).await
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.public).await.unwrap()
    }

    /// Stops, and waits for the end.
    pub async fn stop(self) -> Result<(), ServeError> {
        self.lifecycle.stop();
        tokio::time::timeout(LIMIT, self.served).await.expect("it ends in time").unwrap()
    }
}

fn hex(b: u8) -> String {
    format!("{b:02X}")
}

/// Sends these bytes and reads until the end of the connection.
pub async fn exchange(address: SocketAddr, request: &str) -> Reply {
    Reply(raw::Answer::parse(&raw::exchange(address, request.as_bytes()).await))
}
