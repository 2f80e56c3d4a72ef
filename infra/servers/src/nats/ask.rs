//! One question in NATS's text protocol: does JetStream answer?

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(2);
const MAX_ANSWER: u64 = 64 * 1024;

/// Whether JetStream answers without an error; in a cluster, one without a leader does not answer.
pub(super) fn jetstream_answers(port: u16, user: &str, password: &str) -> bool {
    // It is asked again: nobody needs the reason.
    ask(port, user, password).is_ok_and(|answer| answer["error"].is_null() && answer["type"].is_string())
}

fn ask(port: u16, user: &str, password: &str) -> io::Result<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let connect = json!({
        "verbose": false, "pedantic": false, "lang": "rust", "version": "0", "user": user, "pass": password
    });
    write!(stream, "CONNECT {connect}\r\nSUB answer 1\r\nPUB $JS.API.INFO answer 0\r\n\r\n")?;
    let mut lines = BufReader::new(stream.take(MAX_ANSWER));
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.starts_with("-ERR") {
            return Err(io::Error::other(line));
        }
        if line.starts_with("MSG ") {
            line.clear();
            lines.read_line(&mut line)?;
            return Ok(serde_json::from_str(&line)?);
        }
    }
}
