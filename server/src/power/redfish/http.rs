//! One request to a BMC at a time, each on a connection of its own: BMCs have little memory, and none is kept waiting.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::pin::Pin;
use crate::power::error::PowerError;
use crate::power::target::RedfishBmc;

/// Slow BMCs take seconds for a handshake.
const CONNECT: Duration = Duration::from_secs(15);
/// The longest that one answer may take.
const ANSWER: Duration = Duration::from_secs(40);
/// Longest answer, in bytes. A system with all its links is some tens of thousands.
const MAX_BODY: usize = 4 << 20;

/// The way to a BMC.
#[derive(Clone)]
pub(super) struct Http {
    host: String,
    port: u16,
    tls: bool,
    node: String,
    pin: Arc<Pin>,
}

/// What a BMC answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) token: Option<String>,
    pub(super) location: Option<String>,
    pub(super) etag: Option<String>,
    pub(super) document: Value,
}

impl Answer {
    /// Its words about an error (DSP0266, error responses).
    pub(super) fn said(&self) -> String {
        let error = &self.document["error"];
        let info = error["@Message.ExtendedInfo"][0]["Message"].as_str();
        let text = info.or_else(|| error["message"].as_str()).unwrap_or_default();
        let text: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
        if text.is_empty() {
            format!("status {}", self.status)
        } else {
            format!("{text} (status {})", self.status)
        }
    }
}

impl Http {
    pub(super) fn new(bmc: &RedfishBmc) -> Self {
        let pin = Pin::new(bmc.fingerprint.as_deref());
        Self { host: bmc.host.clone(), port: bmc.port, tls: bmc.tls, node: bmc.node.clone(), pin }
    }

    /// Address and port, as errors name it.
    pub(super) fn place(&self) -> String {
        format!("{} port {}", self.host, self.port)
    }

    /// Name and password as a header.
    pub(super) fn basic(&self, user: &str, password: &str) -> (&'static str, String) {
        ("Authorization", format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }

    fn unreachable(&self, said: impl ToString) -> PowerError {
        PowerError::Unreachable { place: self.place(), said: said.to_string(), service: "Redfish" }
    }

    /// Sends one request.
    ///
    /// # Errors
    /// There is no answer, or its certificate is not the one that is known.
    pub(super) async fn send(
        &self,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, PowerError> {
        let address = (self.host.trim_matches(['[', ']']), self.port);
        let stream = timeout(CONNECT, TcpStream::connect(address)).await;
        let stream =
            stream.map_err(|_| self.unreachable("no connection"))?.map_err(|e| self.unreachable(e))?;
        let mut request = Request::builder()
            .method(method)
            .uri(path_of(path))
            .header("Host", format!("{}:{}", self.host, self.port))
            .header("Accept", "application/json")
            .header("OData-Version", "4.0");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let text = body.map(Value::to_string).unwrap_or_default();
        if body.is_some() {
            request = request.header("Content-Type", "application/json");
        }
        let request = request.body(Full::new(Bytes::from(text))).map_err(|e| self.unreachable(e))?;
        if !self.tls {
            return self.exchange(stream, request).await;
        }
        let config = self.pin.config().map_err(|e| self.unreachable(e))?;
        let name = ServerName::try_from(address.0.to_owned()).map_err(|e| self.unreachable(e))?;
        let secured = timeout(CONNECT, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
        match secured {
            Err(_) => Err(self.unreachable("no TLS handshake")),
            Ok(Ok(stream)) => self.exchange(stream, request).await,
            Ok(Err(error)) => Err(match self.pin.refused() {
                None => self.unreachable(error),
                Some(shown) => PowerError::Definition(format!(
                    "{} shows a certificate that is not known here. Compare its fingerprint with the BMC's own, and \
                     if it is the same: `chdef {} bmcfingerprint={shown}`",
                    self.place(),
                    self.node
                )),
            }),
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, PowerError> {
        let (mut sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|e| self.unreachable(e))?;
        // Ends with the answer; what it fails with is seen there.
        tokio::spawn(connection);
        let answer = async {
            let reply = sender.send_request(request).await.map_err(|e| self.unreachable(e))?;
            let (parts, body) = reply.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await.map_err(|e| self.unreachable(e))?;
            let header = |name: &str| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
            Ok(Answer {
                status: parts.status.as_u16(),
                token: header("x-auth-token"),
                location: header("location"),
                etag: header("etag"),
                // Many answers have no body; what is no JSON says nothing.
                document: serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
            })
        };
        timeout(ANSWER, answer).await.map_err(|_| self.unreachable("no answer in time"))?
    }
}

/// The path of a link, which some BMCs write as a whole URL.
fn path_of(link: &str) -> &str {
    match link.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => link,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_paths_or_whole_urls() {
        assert_eq!(path_of("/redfish/v1/SessionService/Sessions/1"), "/redfish/v1/SessionService/Sessions/1");
        assert_eq!(path_of("https://10.0.0.1/redfish/v1/x"), "/redfish/v1/x");
        assert_eq!(path_of("https://10.0.0.1"), "/");
    }
}
