//! HTTP/1.1 on a plain socket, so that a request can be cut at any byte and an answer read at any pace.
//!
//! It knows what the server sends: a head, then a body of a stated length or in chunks. It knows no models.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Longer than any answer here takes; a server that hangs is an error and no wait without end.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of a body or a chunk that are read at most.
const BODY_BYTES: usize = 64 << 20;

/// A connection to the server.
pub(crate) struct Connection {
    socket: BufReader<TcpStream>,
    address: SocketAddr,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// The bytes of a request with a JSON body. `headers` are further ones, each with its line's end.
pub(crate) fn post(address: SocketAddr, path: &str, headers: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address).context("cannot connect")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        Ok(Connection { socket: BufReader::new(socket), address })
    }

    /// The socket itself, for what is read at another pace.
    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.get_mut().write_all(bytes).context("cannot send the request")
    }

    /// Asks and reads the whole answer.
    pub(crate) fn get(&mut self, path: &str) -> Result<(Head, Vec<u8>)> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        self.send(request.as_bytes())?;
        let head = self.head()?;
        let body = self.body(&head)?;
        Ok((head, body))
    }

    /// Sends a JSON body; the head of what comes back.
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Result<Head> {
        self.send(&post(self.address, path, "", body))?;
        self.head()
    }

    pub(crate) fn head(&mut self) -> Result<Head> {
        let line = self.line().context("no answer")?;
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let Some(status) = status else { bail!("an answer begins with {line:?}") };
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Head { status, headers });
            }
            let (name, value) = line.split_once(':').context("a header has no colon")?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// The rest of an answer.
    pub(crate) fn body(&mut self, head: &Head) -> Result<Vec<u8>> {
        if is_chunked(head) {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk()? {
                body.extend(chunk);
                ensure!(body.len() <= BODY_BYTES, "a body of more than {BODY_BYTES} bytes");
            }
            return Ok(body);
        }
        let length = head.header("content-length").context("a body has no length")?.parse()?;
        self.exactly(length)
    }

    /// The events of a stream, which is read as they are taken.
    pub(crate) fn events(&mut self, head: &Head) -> Result<Events<'_>> {
        ensure!(is_chunked(head), "a stream does not come in chunks");
        Ok(Events { connection: self, text: Vec::new() })
    }

    /// The next chunk of a body; none at its end.
    fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let line = self.line().context("the answer was cut")?;
        let length =
            usize::from_str_radix(line.trim(), 16).with_context(|| format!("a chunk of {line:?}"))?;
        let chunk = self.exactly(length)?;
        ensure!(self.line()?.is_empty(), "a chunk is longer than it says");
        Ok((length > 0).then_some(chunk))
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        ensure!(length <= BODY_BYTES, "a body of {length} bytes, expected at most {BODY_BYTES}");
        let mut bytes = vec![0; length];
        self.socket.read_exact(&mut bytes).context("the answer was cut")?;
        Ok(bytes)
    }

    /// A line, without its end.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        (&mut self.socket).take(64 << 10).read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => bail!("the connection ended in {line:?}"),
        }
    }
}

fn is_chunked(head: &Head) -> bool {
    head.header("transfer-encoding") == Some("chunked")
}

/// Server-sent events as they come.
pub(crate) struct Events<'a> {
    connection: &'a mut Connection,
    /// What came and belongs to no whole event yet.
    text: Vec<u8>,
}

impl Events<'_> {
    /// The data of the next event; none when the body has come to its end.
    pub(crate) fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.text.drain(..end + 2).collect();
                let event = String::from_utf8(event).context("an event is not UTF-8")?;
                // A comment is a sign of life and no event.
                match event.trim_end().strip_prefix("data: ") {
                    Some(data) => return Ok(Some(data.to_owned())),
                    None => ensure!(event.starts_with(':'), "an event is {event:?}"),
                }
            } else if let Some(chunk) = self.connection.chunk()? {
                self.text.extend(chunk);
            } else {
                ensure!(self.text.is_empty(), "the stream ends in {:?}", String::from_utf8_lossy(&self.text));
                return Ok(None);
            }
        }
    }
}
