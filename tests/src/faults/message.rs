//! Where an HTTP/1 message ends, which the proxy has to know to send one twice.

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest head.
const MAX_HEAD: usize = 64 * 1024;

/// What was read from a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// A message, to its last byte.
    Whole(Vec<u8>),
    /// The beginning of one without a known end: a stream, or an answer in chunks.
    Open(Vec<u8>),
    /// The connection has ended.
    End,
}

/// Reads the next message of a connection that is between two messages.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Read {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = head_length(&bytes) {
            match body_length(&bytes[..head]) {
                Some(body) if bytes.len() >= head + body => return Read::Whole(bytes),
                Some(_) => {}
                None => return Read::Open(bytes),
            }
        } else if bytes.len() > MAX_HEAD {
            return Read::Open(bytes);
        }
        match stream.read_buf(&mut bytes).await {
            Ok(read) if read > 0 => {}
            _ => return Read::End,
        }
    }
}

/// The length of the head with the empty line at its end.
fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The length of the body; nothing if only its end shows it.
fn body_length(head: &[u8]) -> Option<usize> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let field =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    match field("content-length") {
        Some(length) => length.parse().ok(),
        // A request without either has no body.
        None if field("transfer-encoding").is_none() && !head.starts_with("http/") => Some(0),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(text: &str) -> Read {
        // In small pieces, as from a network.
        read(&mut in_pieces(text)).await
    }

    fn in_pieces(text: &str) -> impl AsyncRead + Unpin {
        let (reader, mut writer) = tokio::io::duplex(3);
        let text = text.to_owned();
        tokio::spawn(async move {
            // It fails once the reader has closed the connection.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut writer, text.as_bytes()).await;
        });
        reader
    }

    #[tokio::test]
    async fn a_message_ends_where_its_length_says() {
        for whole in [
            "POST /events HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-type: a\r\ncontent-length: 3\r\n\r\nabc",
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        ] {
            assert_eq!(read_all(whole).await, Read::Whole(whole.into()));
        }
    }

    #[tokio::test]
    async fn a_stream_has_no_end_to_wait_for() {
        let stream = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(read_all(stream).await, Read::Open(stream.into()));
    }

    #[tokio::test]
    async fn what_breaks_off_is_no_message() {
        for half in ["", "GET / HT", "POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc"] {
            assert_eq!(read_all(half).await, Read::End, "{half:?}");
        }
    }
}
