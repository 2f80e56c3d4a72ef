//! Routes that only the operator may use.

use super::{ApiError, ApiResult, SecurityEvent};
use crate::runtime::secret::Secret;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use http::{HeaderMap, HeaderValue, header};
use shared::ProblemKind;

/// The operator's token; none where the service runs `--insecure`, which lets everybody use these routes.
pub type OperatorToken = Option<Secret>;

/// Lets only requests with `Authorization: Bearer <token>` reach these routes; others get 401.
pub fn operator_only<S: Clone + Send + Sync + 'static>(routes: Router<S>, token: OperatorToken) -> Router<S> {
    match token {
        Some(token) => routes.route_layer(from_fn_with_state(token, guard)),
        None => routes,
    }
}

async fn guard(State(token): State<Secret>, request: Request, next: Next) -> ApiResult {
    if bearer(request.headers()).is_some_and(|given| token.matches(given.as_bytes())) {
        return Ok(next.run(request).await);
    }
    Err(ApiError::new(ProblemKind::Unauthorized)
        .detail("this route needs the operator's token")
        .security_event(SecurityEvent::OperatorTokenRefused))
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value: &HeaderValue = headers.get(header::AUTHORIZATION)?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::response::Response;
    use axum::routing::get;
    use tower::ServiceExt;

    async fn status(token: Option<&str>, header: Option<&str>) -> u16 {
        let routes = Router::new().route("/subscriptions", get(|| async { "ok" }));
        let token = token.map(|text| Secret::new(text).unwrap());
        let mut request = Request::get("/subscriptions");
        if let Some(value) = header {
            request = request.header(header::AUTHORIZATION, value);
        }
        let response: Response =
            operator_only(routes, token).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        response.status().as_u16()
    }

    #[tokio::test]
    async fn only_the_right_token_opens() {
        let token = "sixteen-bytes-or-more";
        assert_eq!(status(Some(token), Some("Bearer sixteen-bytes-or-more")).await, 200);
        assert_eq!(status(Some(token), Some("bearer sixteen-bytes-or-more")).await, 200);
        for wrong in [
            None,
            Some("Bearer"),
            Some("Bearer x"),
            Some("sixteen-bytes-or-more"),
            Some("Basic sixteen-bytes-or-more"),
        ] {
            assert_eq!(status(Some(token), wrong).await, 401, "{wrong:?}");
        }
        assert_eq!(status(None, None).await, 200, "insecure means open");
    }
}
