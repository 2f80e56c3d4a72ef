//! The connection to the NATS servers.

use crate::log::url::{Credentials, EventLogLocation, EventLogUrl};
use async_nats::{Auth, AuthError, Client, ConnectError, ConnectOptions, Event};
use std::time::Duration;

/// How often the connection is tested. Two tests without an answer end it: a server that is paused closes nothing.
const PING: Duration = Duration::from_secs(3);
/// How long connecting to one server may take.
const CONNECT: Duration = Duration::from_secs(3);
/// The longest wait between two attempts to connect again.
const MAX_RECONNECT: Duration = Duration::from_secs(1);

/// Connects to one of the servers. From then on the library connects again by itself, to whichever server it reaches,
/// with the credentials that the location holds at that time.
pub(super) async fn connect(location: &EventLogLocation, url: &EventLogUrl) -> Result<Client, ConnectError> {
    let location = location.clone();
    let options = ConnectOptions::with_auth_callback(move |_| {
        let location = location.clone();
        async move { authenticate(&location).await }
    });
    let mut options = options
        .name("event-bus")
        .no_echo()
        .require_tls(url.tls)
        .ping_interval(PING)
        .connection_timeout(CONNECT)
        .reconnect_delay_callback(|attempts| {
            let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
            MAX_RECONNECT.min(Duration::from_millis(20).saturating_mul(attempts))
        })
        .event_callback(|event| async move { report(&event) });
    if let Some(ca) = &url.ca {
        options = options.add_root_certificates(ca.clone());
    }
    options.connect(url.addresses()).await
}

async fn authenticate(location: &EventLogLocation) -> Result<Auth, AuthError> {
    let location = location.clone();
    let url = kit::rt::unblock(move || location.read()).await.map_err(AuthError::new)?;
    let mut auth = Auth::new();
    match url.map_err(AuthError::new)?.credentials {
        Credentials::None => {}
        Credentials::Token(token) => auth.token = Some(token),
        Credentials::User { name, password } => (auth.username, auth.password) = (Some(name), Some(password)),
    }
    Ok(auth)
}

fn report(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to the NATS server"),
        Event::Disconnected => tracing::warn!("the connection to the NATS server is lost; connecting again"),
        event => tracing::warn!(%event, "the connection to the NATS server"),
    }
}
