//! The process that drives the browser.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long the last words to the driver may take.
const GOODBYE: Duration = Duration::from_secs(10);

/// A running `chromedriver`. Dropping it ends it and the browser that it has opened.
#[derive(Debug)]
pub(super) struct Driver {
    process: Child,
    port: u16,
    session: Option<String>,
}

/// A program of the browser tests. They never pass by not being run.
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
        // It must not come to a halt because nobody reads what it says.
        std::thread::spawn(move || lines.for_each(drop));
        let port = port.unwrap_or_else(|| panic!("chromedriver says no port: {said}"));
        Self { process, port, session: None }
    }

    /// Where it listens.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Remembers the session that is to be ended with it.
    pub(super) fn owns(&mut self, session: String) {
        self.session = Some(session);
    }

    /// Ends the session, and with it the browser.
    fn say_goodbye(&self, session: &str) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(GOODBYE))?;
        write!(stream, "DELETE /session/{session} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
        stream.read(&mut [0; 64]).map(drop)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(error) = self.session.take().and_then(|session| self.say_goodbye(&session).err()) {
            eprintln!("the browser may be left running: {error}");
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
