//! A small HTTP server for tests, plain or with TLS, that can break off wherever a test wants.
#![allow(dead_code, reason = "each test file is a program of its own and uses a part of this")]

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a client asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
    /// Where the connection came from: the same for all requests on it.
    pub(crate) peer: SocketAddr,
    pub(crate) body: Vec<u8>,
}

/// What the server does about it.
#[derive(Debug, Clone)]
pub(crate) enum Reaction {
    /// A whole answer.
    Answer { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// A whole answer after which the connection ends without a word.
    Last { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// An answer that promises `body` but ends after `sent` bytes of it.
    Cut { status: u16, headers: Vec<(String, String)>, body: Vec<u8>, sent: usize },
    /// The connection ends without an answer.
    HangUp,
}

impl Reaction {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::Answer { status, headers: vec![], body: body.as_bytes().to_vec() }
    }
}

type Handler = dyn Fn(&Request) -> Reaction + Send + Sync;

/// A running server; it stops when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn plain(handler: impl Fn(&Request) -> Reaction + Send + Sync + 'static) -> Self {
        Self::start("127.0.0.1:0".parse().unwrap(), None, Arc::new(handler))
    }

    /// A plain server on a port that was in use before.
    pub(crate) fn plain_at(
        address: SocketAddr,
        handler: impl Fn(&Request) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        Self::start(address, None, Arc::new(handler))
    }

    pub(crate) fn tls(
        config: ServerConfig,
        handler: impl Fn(&Request) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        Self::start("127.0.0.1:0".parse().unwrap(), Some(Arc::new(config)), Arc::new(handler))
    }

    fn start(address: SocketAddr, config: Option<Arc<ServerConfig>>, handler: Arc<Handler>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&requests));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (config, handler, seen) = (config.clone(), Arc::clone(&handler), Arc::clone(&seen));
                std::thread::spawn(move || serve(stream, config, &*handler, &seen));
            }
        });
        Self { address, stop, requests, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(
    stream: TcpStream,
    config: Option<Arc<ServerConfig>>,
    handler: &Handler,
    seen: &Mutex<Vec<Request>>,
) {
    let peer = stream.peer_addr().unwrap();
    match config {
        Some(config) => {
            let connection = ServerConnection::new(config).unwrap();
            talk((StreamOwned::new(connection, stream), peer), handler, seen);
        }
        None => talk((stream, peer), handler, seen),
    }
}

/// Answers requests on one connection until either side ends it.
fn talk((stream, peer): (impl Read + Write, SocketAddr), handler: &Handler, seen: &Mutex<Vec<Request>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream, peer) {
        seen.lock().unwrap().push(request.clone());
        let head_only = request.method == "HEAD";
        let reaction = handler(&request);
        let last = matches!(reaction, Reaction::Last { .. });
        let (status, headers, body, sent) = match reaction {
            Reaction::Answer { status, headers, body } | Reaction::Last { status, headers, body } => {
                let sent = body.len();
                (status, headers, body, sent)
            }
            Reaction::Cut { status, headers, body, sent } => (status, headers, body, sent),
            Reaction::HangUp => return,
        };
        let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let out = stream.get_mut();
        let body = if head_only { &[] } else { &body[..sent] };
        let written =
            out.write_all(head.as_bytes()).and_then(|()| out.write_all(body)).and_then(|()| out.flush());
        if last || written.is_err() || (!head_only && sent < body_promised(&head)) {
            return;
        }
    }
}

fn body_promised(head: &str) -> usize {
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    length.trim().parse().unwrap()
}

fn read_request(stream: &mut impl std::io::BufRead, peer: SocketAddr) -> Option<Request> {
    let mut line = String::new();
    if stream.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut request = Request { method, path, range: None, authorization: None, peer, body: vec![] };
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "range" => request.range = Some(value.to_owned()),
            "authorization" => request.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    request.body = vec![0; length];
    stream.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// A certificate authority of one site.
pub(crate) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), issuer: rcgen::Issuer::new(params, key) }
    }

    /// TLS settings of a server with a certificate for `name`, valid in these years.
    pub(crate) fn server(&self, name: &str, years: std::ops::Range<i32>) -> ServerConfig {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate.der().to_vec())],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap()
    }
}
