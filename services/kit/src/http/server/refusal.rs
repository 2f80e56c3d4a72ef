//! The answer to a connection that is not served.

use super::connection::close;
use crate::http::SecurityEvent;
use crate::http::security::TARGET;
use crate::rt::Instant;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How many refused connections are kept open at the same time, until their clients have read why.
const LINGERING: usize = 64;
/// Connections may be refused by the thousand: a log line for each would fill the disk.
const LOG_EVERY: Duration = Duration::from_secs(1);

const ANSWER: &str = concat!(
    "HTTP/1.1 429 Too Many Requests\r\n",
    "content-type: application/problem+json\r\n",
    "retry-after: 5\r\n",
    "connection: close\r\n",
    "content-length: 146\r\n\r\n",
    r#"{"type":"/problems/too-many-requests","title":"Too many requests","status":429,"#,
    r#""detail":"you have too many connections; close some and try again"}"#,
);

#[derive(Clone)]
pub(super) struct Refusal {
    lingering: Arc<Semaphore>,
    logged: Arc<Mutex<Option<Instant>>>,
}

impl Default for Refusal {
    fn default() -> Self {
        Self { lingering: Arc::new(Semaphore::new(LINGERING)), logged: Arc::default() }
    }
}

impl Refusal {
    /// Says why, if the client reads it soon.
    pub(super) async fn send(self, stream: TcpStream, client: SocketAddr) {
        metrics::counter!("http_connections_refused_total").increment(1);
        self.log(client);
        let Ok(_permit) = self.lingering.try_acquire() else { return };
        // What does not fit at once is not worth waiting for.
        if stream.writable().await.is_ok() && stream.try_write(ANSWER.as_bytes()).is_ok() {
            close(stream).await;
        }
    }

    fn log(&self, client: SocketAddr) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            *logged = Some(Instant::now());
            let (event, client) = (SecurityEvent::ShareExceeded.name(), client.ip());
            tracing::warn!(target: TARGET, event, %client, "connections refused: this client has too many");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_a_problem_of_the_length_that_it_says() {
        let (head, body) = ANSWER.split_once("\r\n\r\n").unwrap();
        let problem: shared::Problem = serde_json::from_str(body).unwrap();
        let wanted = shared::Problem::new(shared::ProblemKind::TooManyRequests);
        assert_eq!((problem.kind, problem.title, problem.status), (wanted.kind, wanted.title, wanted.status));
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
