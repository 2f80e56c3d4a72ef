//! The server: the front door, the pages, the forms and the files.

mod assets;
mod caller;
mod config;
mod forms;
mod front_door;
mod gzip;
mod headers;
mod markdown;
mod reader;
mod render;
mod seen;
mod services;
mod shared_answers;
mod shared_page;
mod shared_pages;
mod site;
mod together;
mod upstream;

pub use config::{Config, arguments};

use assets::SiteFiles;
use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use front_door::FrontDoor;
use headers::HttpsOnly;
use kit::app::StartError;
use kit::app::config::base_urls;
use kit::app::service::Service;
use kit::runtime::addresses::Addresses;
use kit::runtime::deps::Deps;
use kit::runtime::lifecycle::Lifecycle;
use markdown::Rendered;
use services::Services;
use shared::ServiceName;
use shared_pages::SharedPages;
use site::Site;
use std::sync::Arc;
use tower::util::MapResponseLayer;
use upstream::Upstream;

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
    let [posts, comments, query, moderation] = urls.map(|(setting, url)| base_urls(setting, url));
    let (posts, comments, query, moderation) = (posts?, comments?, query?, moderation?);
    let client = services::client()
        .map_err(|error| StartError::Config(format!("no HTTP client can be made: {error}")))?;
    let upstream = |addresses: &Addresses| {
        let all = addresses.all().join(",");
        Upstream::new(addresses.clone())
            .map_err(|error| StartError::Config(format!("{all} cannot be forwarded to: {error}")))
    };
    let forwarded_to = [
        (ServiceName::Posts, upstream(&posts)?),
        (ServiceName::Comments, upstream(&comments)?),
        (ServiceName::Query, upstream(&query)?),
        (ServiceName::Moderation, upstream(&moderation)?),
    ];
    let https = HttpsOnly(config.common.is_https());
    let door = FrontDoor::new(forwarded_to.into(), lifecycle.stopping(), https);
    let site = Arc::new(Site {
        services: Services { client, posts, comments, query },
        files: SiteFiles::new(config),
        rendered: Rendered::default(),
        shared_pages: SharedPages::default(),
        deps,
        reload_port: config.watch.then_some(config.reload_port),
    });
    let files = assets::files(
        &config.site_root,
        Router::new().fallback(reader::not_found).with_state(Arc::clone(&site)),
    );
    let forms = Router::new()
        .route("/p/new", post(forms::new_post).get(forms::to_new_post))
        .route("/p/{id}/comments", post(forms::new_comment).get(forms::to_comments))
        .layer(DefaultBodyLimit::max(FORM_BYTES));
    let pages = Router::new().route("/", get(reader::home)).route("/p/{id}", get(reader::post));
    // One layer of several parts, the outermost first: each layer of its own would be copied for each request.
    let everywhere = (
        MapResponseLayer::new(move |response| headers::everywhere(https, response)),
        headers::same_origin_only(),
        MapResponseLayer::new(|response: Response<gzip::Compressed>| response.map(Body::new)),
        gzip::layer(),
    );
    Ok(pages
        .merge(forms)
        .layer(from_fn_with_state(https, seen::remembered))
        .with_state(site)
        .route_service("/pkg/{*file}", files.clone())
        .fallback_service(files)
        .layer(from_fn(assets::cache))
        .layer(from_fn(front_door::plain_paths_only))
        .merge(front_door::router(door))
        .layer(everywhere))
}
