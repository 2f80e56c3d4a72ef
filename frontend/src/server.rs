//! The server: the front door, the pages, the forms and the files.

mod assets;
mod caller;
mod config;
mod forms;
mod front_door;
mod gzip;
mod headers;
mod markdown;
mod newest_posts;
mod reader;
mod render;
mod services;
mod site;

pub use config::{Config, arguments};

use assets::SiteFiles;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use front_door::FrontDoor;
use headers::HttpsOnly;
use kit::app::StartError;
use kit::app::config::base_url;
use kit::app::service::Service;
use kit::runtime::deps::Deps;
use kit::runtime::lifecycle::Lifecycle;
use services::Services;
use shared::ServiceName;
use site::Site;
use std::sync::Arc;

/// The largest plain form: percent-encoding triples a text, and a text above the limits is still returned to its
/// writer.
const FORM_BYTES: usize = 1024 * 1024;

/// Builds the frontend.
pub async fn build(config: Config, deps: Deps, lifecycle: Lifecycle) -> Result<Service, StartError> {
    let router = router(&config, deps.clone(), &lifecycle)?;
    let name = ServiceName::Frontend;
    Ok(Service::new(name, &config, router, deps, lifecycle))
}

fn router(config: &Config, deps: Deps, lifecycle: &Lifecycle) -> Result<Router, StartError> {
    let urls = [
        ("POSTS_URL", &config.posts_url),
        ("COMMENTS_URL", &config.comments_url),
        ("QUERY_URL", &config.query_url),
        ("MODERATION_URL", &config.moderation_url),
    ];
    let [posts, comments, query, moderation] = urls.map(|(setting, url)| base_url(setting, url));
    let (posts, comments, query, moderation) = (posts?, comments?, query?, moderation?);
    let client = front_door::client()
        .map_err(|error| StartError::Config(format!("no HTTP client can be made: {error}")))?;
    let bases = [
        (ServiceName::Posts, posts.clone()),
        (ServiceName::Comments, comments.clone()),
        (ServiceName::Query, query.clone()),
        (ServiceName::Moderation, moderation),
    ];
    let door = FrontDoor::new(client.clone(), bases.into(), lifecycle.stopping());
    let site = Site {
        services: Services { client, posts, comments, query },
        files: Arc::new(SiteFiles::new(config)),
        rendered: Arc::default(),
        newest_posts: Arc::default(),
        deps,
        reload_port: config.watch.then_some(config.reload_port),
    };
    let files =
        assets::files(&config.site_root, Router::new().fallback(reader::not_found).with_state(site.clone()));
    let forms = Router::new()
        .route("/p/new", post(forms::new_post).get(forms::to_new_post))
        .route("/p/{id}/comments", post(forms::new_comment).get(forms::to_comments))
        .layer(DefaultBodyLimit::max(FORM_BYTES));
    let pages = Router::new().route("/", get(reader::home)).route("/p/{id}", get(reader::post));
    Ok(pages
        .merge(forms)
        .with_state(site)
        .route_service("/pkg/{*file}", files.clone())
        .fallback_service(files)
        .layer(from_fn(assets::cache))
        .merge(front_door::router(door))
        .layer(gzip::layer())
        .layer(headers::same_origin_only())
        .layer(from_fn(front_door::plain_paths_only))
        .layer(from_fn_with_state(HttpsOnly(config.common.is_https()), headers::everywhere)))
}
