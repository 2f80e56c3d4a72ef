//! `/livez` and `/readyz`, for orchestrators.
//!
//! Live: the process works; if not, it should be restarted. Ready: it can take requests at this moment.

use crate::http::{ApiError, ApiResult};
use crate::runtime::lifecycle::Lifecycle;
use axum::Router;
use axum::routing::get;
use serde_json::json;
use shared::ProblemKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The conditions under which a service takes requests. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct ReadinessChecks {
    checks: Arc<Mutex<Vec<Check>>>,
}

#[derive(Debug)]
struct Check {
    name: &'static str,
    /// Why it is not ready; `None` when it is.
    unready: Option<String>,
}

/// One of the [`ReadinessChecks`], held by the part that sets it. Clones set the same condition.
#[derive(Debug, Clone)]
pub struct ReadyFlag {
    readiness: ReadinessChecks,
    index: usize,
}

impl ReadinessChecks {
    /// No conditions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition, which is not met until [`ReadyFlag::set`].
    pub fn register(&self, name: &'static str) -> ReadyFlag {
        let mut checks = self.lock();
        checks.push(Check { name, unready: Some("starting".to_owned()) });
        ReadyFlag { readiness: self.clone(), index: checks.len() - 1 }
    }

    /// The names of the conditions that are not met, each with the reason.
    pub fn unready(&self) -> Vec<(&'static str, String)> {
        self.lock().iter().filter_map(|c| c.unready.clone().map(|why| (c.name, why))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Check>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadyFlag {
    /// Sets whether the condition is met, and why not. A change is logged once.
    pub fn set(&self, ready: bool, why: impl Into<String>) {
        let mut checks = self.readiness.lock();
        let Some(check) = checks.get_mut(self.index) else { return };
        let (name, was_ready) = (check.name, check.unready.is_none());
        check.unready = (!ready).then(|| why.into());
        match (was_ready, &check.unready) {
            (false, None) => tracing::info!(check = name, "ready"),
            (true, Some(why)) => tracing::warn!(check = name, why, "not ready"),
            _ => {}
        }
    }
}

/// The routes `/livez` and `/readyz`.
pub fn router(lifecycle: Lifecycle, readiness: ReadinessChecks) -> Router {
    let alive = lifecycle.clone();
    Router::new()
        .route("/livez", get(async move || livez(&alive)))
        .route("/readyz", get(async move || readyz(&lifecycle, &readiness)))
}

fn livez(lifecycle: &Lifecycle) -> ApiResult<&'static str> {
    let failures = lifecycle.failures();
    if failures.is_empty() {
        return Ok("ok");
    }
    Err(ApiError::new(ProblemKind::Unavailable).detail(failures.join("; ")))
}

fn readyz(lifecycle: &Lifecycle, readiness: &ReadinessChecks) -> ApiResult<&'static str> {
    if lifecycle.is_stopping() {
        return Err(ApiError::new(ProblemKind::Unavailable).detail("stopping"));
    }
    let unready = readiness.unready();
    if unready.is_empty() {
        return Ok("ok");
    }
    let list: Vec<_> = unready.iter().map(|(name, why)| json!({ "name": name, "why": why })).collect();
    let text: Vec<_> = unready.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    Err(ApiError::new(ProblemKind::Unavailable).detail(text.join("; ")).member("unready", list.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(answer: &ApiResult<&'static str>) -> u16 {
        answer.as_ref().map_or_else(|failure| failure.problem().status, |_| 200)
    }

    #[test]
    fn ready_only_when_every_condition_is_met() {
        let (lifecycle, readiness) = (Lifecycle::new(), ReadinessChecks::new());
        assert_eq!(status(&readyz(&lifecycle, &readiness)), 200);

        let (store, bus) = (readiness.register("store"), readiness.register("bus"));
        store.set(true, "");
        assert_eq!(readiness.unready(), [("bus", "starting".to_owned())]);
        bus.set(false, "the log has lost its tail");
        let answer = readyz(&lifecycle, &readiness);
        assert_eq!(status(&answer), 503);
        let detail = answer.unwrap_err().problem().detail.clone();
        assert_eq!(detail.as_deref(), Some("bus: the log has lost its tail"));
        bus.set(true, "");
        assert_eq!(status(&readyz(&lifecycle, &readiness)), 200);

        lifecycle.stop();
        assert_eq!(status(&readyz(&lifecycle, &readiness)), 503);
        assert_eq!(status(&livez(&lifecycle)), 200, "stopping is not dying");
    }

    #[tokio::test]
    async fn a_crashed_task_is_named() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("relay", async {});
        lifecycle.crash_seen().await;
        let answer = livez(&lifecycle);
        assert_eq!(status(&answer), 503);
        let detail = answer.unwrap_err().problem().detail.clone();
        assert_eq!(detail.as_deref(), Some("the background task relay has crashed"));
    }
}
