//! The ceiling of everything that is read: an axum server that does nothing but send bytes that it has in memory, in a
//! process of its own, with as many worker threads as a service has.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{Stream, stream};
use http::header::CONTENT_TYPE;
use std::convert::Infallible;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use test_support::processes::Process;
use test_support::{LIMIT, within};
use tokio::sync::broadcast;

/// The first argument that makes the program of the benchmark such a server.
pub const COMMAND: &str = "bare-server";
/// How many events a reader may fall behind.
const BACKLOG: usize = 1_024;

/// Serves files at `/0`, `/1`, …; what is posted to `/publish` is sent to every reader of `/live`. The arguments are the
/// media type and the name of each file.
pub fn serve(arguments: &[String]) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("the bare server: {e}");
    let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(workers).enable_all().build().map_err(failed)?;
    let mut router = Router::new();
    for (n, argument) in arguments.chunks_exact(2).enumerate() {
        let (media, bytes) = (argument[0].clone(), Bytes::from(std::fs::read(&argument[1]).map_err(failed)?));
        let answer = async move || -> Response { ([(CONTENT_TYPE, media)], bytes).into_response() };
        router = router.route(&format!("/{n}"), get(answer));
    }
    let events = broadcast::Sender::new(BACKLOG);
    let live = Router::new().route("/live", get(live)).route("/publish", post(publish)).with_state(events);
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        println!("{}", listener.local_addr().map_err(failed)?);
        std::io::stdout().flush().map_err(failed)?;
        axum::serve(listener, router.merge(live)).await.map_err(failed)
    })
}

type Events = broadcast::Sender<String>;

async fn publish(State(events): State<Events>, body: String) {
    // An error says that nobody reads.
    let _ = events.send(body);
}

async fn live(State(events): State<Events>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let hello = stream::iter([Ok(Event::default().event("hello").data("{}"))]);
    let changes = stream::unfold(events.subscribe(), async |mut events| {
        let event = events.recv().await.ok()?;
        Some((Ok(Event::default().event("change").data(event)), events))
    });
    Sse::new(futures_util::StreamExt::chain(hello, changes))
}

/// A running bare server. Dropping it ends it.
#[derive(Debug)]
pub struct Bare {
    pub url: String,
    /// In seconds, from the start of the process to its first answer.
    pub started_in: f64,
    _process: Process,
}

impl Bare {
    /// Starts it with these answers: media types and bytes.
    pub async fn start(folder: &Path, answers: &[(String, Bytes)]) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.arg(COMMAND);
        for (n, (media, bytes)) in answers.iter().enumerate() {
            let file = folder.join(format!("bare-{n}"));
            std::fs::write(&file, bytes).map_err(|e| format!("{}: {e}", file.display()))?;
            command.arg(media).arg(file);
        }
        let log: PathBuf = folder.join("bare.log");
        // The output of the one before.
        let _ = std::fs::remove_file(&log);
        let begun = Instant::now();
        let mut process = Process::start(&mut command, &log);
        let address = within(LIMIT, "the bare server listens", async || {
            let output = process.output();
            match process.ended() {
                Some(status) => Err(format!("it has ended ({status}): {output}")),
                None => output.lines().next().map(str::to_owned).ok_or(output),
            }
        });
        let url = format!("http://{}", address.await?);
        if !answers.is_empty() {
            let first = crate::http::Server::new(&crate::http::client(), &url);
            first.get("/0").try_send().await?;
        }
        Ok(Self { url, started_in: begun.elapsed().as_secs_f64(), _process: process })
    }
}
