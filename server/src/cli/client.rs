//! HTTP with JSON over the daemon's unix socket.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sysclone_protocol::agent::ErrorReply;
use tokio::net::UnixStream;

/// Where the daemon listens unless its configuration says otherwise.
pub(super) const DEFAULT_SOCKET: &str = "/run/sysclone/api.sock";

/// Longest line of a streamed answer, in bytes. Most are small, the plan of an update may have a line for every path of
/// a system; a peer that sends more is not the daemon.
const MAX_LINE_BYTES: usize = 256 << 20;

/// A way to the daemon. Every call uses a connection of its own.
#[derive(Debug, Clone)]
pub(super) struct Client {
    socket: PathBuf,
    secrets: bool,
    own: bool,
}

/// Why the daemon cannot be reached, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{advice}")]
pub(super) struct Unreachable {
    advice: String,
}

/// The daemon understood and said no.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Refused {
    reason: String,
}

impl Client {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), secrets: false, own: false }
    }

    /// Whether definitions are wanted with their passwords, which the daemon puts on record.
    pub(super) fn with_secrets(self, secrets: bool) -> Self {
        Self { secrets, ..self }
    }

    /// Whether nodes are wanted without what their groups give them.
    pub(super) fn with_own(self, own: bool) -> Self {
        Self { own, ..self }
    }

    /// What the query of a URL says of that.
    pub(super) fn objects_query(&self) -> String {
        format!("secrets={}&own={}", self.secrets, self.own)
    }

    /// Asks for a document.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.document(Method::GET, path, Bytes::new()).await
    }

    /// Sends a document and gets one.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.document(Method::POST, path, serde_json::to_vec(body)?.into()).await
    }

    /// Asks for documents that come one per line.
    pub(super) async fn get_lines<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Lines<T>> {
        Ok(Lines::new(self.send(Method::GET, path, Bytes::new()).await?))
    }

    /// Sends a document and gets documents that come one per line.
    pub(super) async fn post_lines<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<Lines<T>> {
        Ok(Lines::new(self.send(Method::POST, path, serde_json::to_vec(body)?.into()).await?))
    }

    async fn document<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<T> {
        let reply = self.send(method, path, body).await?;
        let body = reply.into_body().collect().await.context("reading the daemon's answer")?;
        serde_json::from_slice(&body.to_bytes()).context("understanding the daemon's answer")
    }

    /// Sends a request; an answer that is not a success becomes an error.
    async fn send(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Response<Incoming>> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| unreachable(&self.socket, &e))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .context("speaking to the daemon")?;
        // Ends when the answer has been read or dropped; what it failed with is seen by whoever reads the answer.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .context("making the request")?;
        let reply = sender.send_request(request).await.context("asking the daemon")?;
        if reply.status().is_success() {
            return Ok(reply);
        }
        let status = reply.status();
        let body = reply.into_body().collect().await.context("reading the daemon's refusal")?.to_bytes();
        let reason = match serde_json::from_slice::<ErrorReply>(&body) {
            Ok(reply) => reply.error,
            Err(_) => format!("the daemon answered {status}: {}", String::from_utf8_lossy(&body).trim()),
        };
        Err(Refused { reason }.into())
    }
}

fn unreachable(socket: &Path, error: &io::Error) -> Unreachable {
    let at = socket.display();
    let advice = match error.kind() {
        io::ErrorKind::NotFound => format!(
            "syscloned is not running: there is no socket {at}. Start it (systemctl start syscloned), or name its \
             socket with --socket or SYSCLONE_SOCKET"
        ),
        io::ErrorKind::ConnectionRefused => format!(
            "syscloned is not running: nothing answers on {at}. Start it (systemctl start syscloned); why it ended: \
             journalctl -u syscloned"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "no permission to use {at}. Run this as root or as a member of the socket's group (ls -l {at})"
        ),
        _ => format!("cannot reach syscloned at {at}: {error}"),
    };
    Unreachable { advice }
}

/// Documents that arrive one per line for as long as the daemon sends them.
pub(super) struct Lines<T> {
    body: Incoming,
    buffer: BytesMut,
    /// Bytes of the buffer that have no line end.
    searched: usize,
    read: std::marker::PhantomData<T>,
}

impl<T> fmt::Debug for Lines<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> Lines<T> {
    fn new(reply: Response<Incoming>) -> Self {
        Self { body: reply.into_body(), buffer: BytesMut::new(), searched: 0, read: std::marker::PhantomData }
    }

    /// The next document; none when the stream has ended. May be dropped between two bytes without losing any.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<T>> {
        loop {
            let rest = &self.buffer[self.searched..];
            if let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(self.searched + end + 1);
                self.searched = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return serde_json::from_slice(&line).map(Some).context("understanding the daemon's answer");
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_LINE_BYTES {
                bail!("the daemon's answer has a line of more than {MAX_LINE_BYTES} bytes");
            }
            match self.body.frame().await {
                Some(frame) => {
                    let frame = frame.context("reading the daemon's answer")?;
                    self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                }
                None if self.buffer.trim_ascii().is_empty() => return Ok(None),
                None => self.buffer.extend_from_slice(b"\n"),
            }
        }
    }
}

/// Writes a value into the query of a URL: everything but unreserved characters (RFC 3986, 2.3) and ',' is escaped.
pub(super) fn query_value(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b',' => {
                escaped.push(char::from(byte));
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_cannot_end_the_query_or_start_another_part() {
        assert_eq!(query_value("n1,n2"), "n1,n2");
        assert_eq!(query_value("a&b=c d/é#%"), "a%26b%3Dc%20d%2F%C3%A9%23%25");
    }
}
