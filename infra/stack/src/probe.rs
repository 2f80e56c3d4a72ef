//! Readiness probes, and the bus's subscriptions.

use bytes::Bytes;
use kit::runtime::transport::Transport;
use shared::bus::SubscriptionView;
use std::time::Duration;

/// How long a probe may take: it is answered from memory.
const LIMIT: Duration = Duration::from_secs(1);

/// Whether the service at this address is ready; if not, why.
pub async fn ready(transport: &dyn Transport, admin_url: &str) -> Result<(), String> {
    let answer = get(transport, &format!("{admin_url}/readyz"), None).await?;
    if answer.status().is_success() {
        return Ok(());
    }
    let problem = serde_json::from_slice::<shared::Problem>(answer.body()).ok();
    Err(problem.and_then(|p| p.detail).unwrap_or_else(|| format!("answers {}", answer.status())))
}

/// The subscribers of the bus, with their lag, from the first of its replicas that answers.
pub async fn subscriptions(
    transport: &dyn Transport,
    bus_urls: &[String],
    token: &str,
) -> Result<Vec<SubscriptionView>, String> {
    let mut last = "no address".to_owned();
    for url in bus_urls {
        match subscriptions_of(transport, url, token).await {
            Err(e) => last = e,
            found => return found,
        }
    }
    Err(last)
}

async fn subscriptions_of(
    transport: &dyn Transport,
    bus_url: &str,
    token: &str,
) -> Result<Vec<SubscriptionView>, String> {
    let answer = get(transport, &format!("{bus_url}/subscriptions"), Some(token)).await?;
    if !answer.status().is_success() {
        return Err(format!("answers {}", answer.status()));
    }
    serde_json::from_slice(answer.body()).map_err(|e| format!("unexpected answer: {e}"))
}

async fn get(
    transport: &dyn Transport,
    url: &str,
    token: Option<&str>,
) -> Result<http::Response<Bytes>, String> {
    let mut request = http::Request::get(url);
    if let Some(token) = token {
        request = request.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Bytes::new()).map_err(|e| e.to_string())?;
    match tokio::time::timeout(LIMIT, transport.send(request)).await {
        Ok(answer) => answer.map_err(|e| e.to_string()),
        Err(_) => Err("does not answer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::runtime::transport::{Exchange, TransportError};

    /// One answer to everything, and the request as it came.
    struct Answers(u16, &'static str);

    impl Transport for Answers {
        fn send(&self, request: http::Request<Bytes>) -> Exchange<'_> {
            Box::pin(async move {
                if request.uri().host() == Some("nobody") {
                    return Err(TransportError::Connect("connection refused".into()));
                }
                let mut answer = http::Response::new(Bytes::from_static(self.1.as_bytes()));
                *answer.status_mut() = http::StatusCode::from_u16(self.0).unwrap();
                Ok(answer)
            })
        }
    }

    #[tokio::test]
    async fn readiness_is_what_the_service_says() {
        assert_eq!(ready(&Answers(200, "ok"), "http://a").await, Ok(()));
        let problem =
            r#"{"type":"/problems/unavailable","title":"x","status":503,"detail":"store: opening"}"#;
        assert_eq!(ready(&Answers(503, problem), "http://a").await, Err("store: opening".into()));
        assert_eq!(
            ready(&Answers(500, "?"), "http://a").await,
            Err("answers 500 Internal Server Error".into())
        );
        let nobody = ready(&Answers(200, ""), "http://nobody").await;
        assert_eq!(nobody, Err("cannot connect: connection refused".into()));
    }

    #[tokio::test]
    async fn subscriptions_are_read_and_refusals_told() {
        let rows = r#"[{"name":"query","url":"http://q","cursor":"00000000000000000004","lag":3,"attempts":0,
            "nextRetry":null,"lastError":null,"oldestUnackedAgeMs":12}]"#;
        let read = subscriptions(&Answers(200, rows), &["http://nobody".into(), "http://a".into()], "token")
            .await
            .unwrap();
        assert_eq!((read[0].name.as_str(), read[0].lag), ("query", 3));
        assert!(subscriptions(&Answers(401, ""), &["http://a".into()], "token").await.is_err());
        assert!(subscriptions(&Answers(200, "{}"), &["http://a".into()], "token").await.is_err());
    }
}
