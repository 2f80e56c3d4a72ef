//! The process `chromedriver`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long ending the session may take.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// A running `chromedriver`. Dropping it ends it and the browser that it has opened.
#[derive(Debug)]
pub(super) struct Driver {
    process: Child,
    port: u16,
    session: Option<String>,
}

/// Panics where it is missing: browser tests are never skipped.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "the browser tests need {program}, which is missing: `cargo xtask setup` installs it where it can"
        )
    })
}

/// The browser's program.
pub(super) fn chromium() -> PathBuf {
    find("chromium")
}

impl Driver {
    /// Starts one on a port of its own choice.
    pub(super) fn start() -> Self {
        let mut command = Command::new(find("chromedriver"));
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("chromedriver starts");
        let mut lines =
            BufReader::new(process.stdout.take().expect("its output")).lines().map_while(Result::ok);
        let mut said = String::new();
        let port = lines.find_map(|line| {
            said.push_str(&line);
            line.strip_suffix('.')?.rsplit_once("successfully on port ")?.1.parse().ok()
        });
        // It would block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let port = port.unwrap_or_else(|| panic!("chromedriver says no port: {said}"));
        Self { process, port, session: None }
    }

    /// Its address.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The session to end when this is dropped.
    pub(super) fn owns(&mut self, session: String) {
        self.session = Some(session);
    }

    /// Ends the session and with it the browser.
    fn end_session(&self, session: &str) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(END_TIMEOUT))?;
        write!(stream, "DELETE /session/{session} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
        stream.read(&mut [0; 64]).map(drop)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(error) = self.session.take().and_then(|session| self.end_session(&session).err()) {
            eprintln!("the browser may be left running: {error}");
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
