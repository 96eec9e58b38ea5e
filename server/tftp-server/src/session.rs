//! One request: refuses it, or sends the file over a socket of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::{Notify, oneshot};

use crate::events::{Failure, Outcome, Transfer};
use crate::negotiate::negotiate;
use crate::packet::{ErrorCode, Packet, Request};
use crate::sender::Sender;
use crate::server::Files;

/// Longest packet that a client sends after its request: an ERROR with its text.
const RECEIVE_BUFFER: usize = 1024;
/// IPv4 header, UDP header, TFTP header.
const IPV4_OVERHEAD: usize = 20 + 8 + 4;
/// IPv6 header, UDP header, TFTP header.
const IPV6_OVERHEAD: usize = 40 + 8 + 4;

/// When the client of a session last answered, shared with the listener.
#[derive(Debug)]
pub(crate) struct Heard {
    epoch: Instant,
    /// Milliseconds after the epoch, plus one; 0 for never.
    at: AtomicU64,
}

impl Heard {
    pub(crate) fn never() -> Self {
        Self { epoch: Instant::now(), at: AtomicU64::new(0) }
    }

    fn now(&self) {
        self.at.store(self.milliseconds() + 1, Ordering::Relaxed);
    }

    /// How long ago, or none when the client has not answered yet.
    pub(crate) fn ago(&self) -> Option<Duration> {
        let at = self.at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(self.milliseconds().saturating_sub(at)))
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).expect("a server does not run for 500 million years")
    }
}

/// What a session needs besides the request.
pub(crate) struct Session {
    /// The client.
    pub peer: SocketAddr,
    /// The server's own address, from which the file is sent.
    pub local: SocketAddr,
    /// The files.
    pub files: Arc<dyn Files>,
    /// Tells the listener that the client is alive.
    pub heard: Arc<Heard>,
    /// The client has sent its request again.
    pub again: Arc<Notify>,
    /// Ends the session with a reason.
    pub stop: oneshot::Receiver<Failure>,
}

impl Session {
    /// Answers the request in `datagram`, which parsed as a read or write request, and tells how it went.
    pub(crate) async fn run(mut self, datagram: &[u8]) -> Transfer {
        let started = Instant::now();
        let mut transfer = Transfer {
            peer: self.peer,
            name: String::new(),
            size_bytes: None,
            acknowledged_bytes: 0,
            retransmitted: 0,
            elapsed: Duration::ZERO,
            outcome: Outcome::Unconfirmed,
        };
        transfer.outcome = match self.answer(datagram, &mut transfer).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(Failure::Socket(error.to_string())),
        };
        transfer.elapsed = started.elapsed();
        transfer
    }

    async fn answer(&mut self, datagram: &[u8], transfer: &mut Transfer) -> std::io::Result<Outcome> {
        let socket = UdpSocket::bind(SocketAddr::new(self.local.ip(), 0)).await?;
        // Connected: the kernel drops what others send to this port, and tells us when the client's port is closed.
        socket.connect(self.peer).await?;
        let request = match Packet::parse(datagram) {
            Ok(Packet::Read(request)) => request,
            Ok(Packet::Write(request)) => {
                transfer.name = String::from_utf8_lossy(request.name).into_owned();
                return refuse(&socket, ErrorCode::ACCESS, "this server takes no files").await;
            }
            _ => return refuse(&socket, ErrorCode::ILLEGAL, "not a request").await,
        };
        transfer.name = String::from_utf8_lossy(request.name).into_owned();
        if let Some(reason) = unsupported_mode(request.mode) {
            return refuse(&socket, ErrorCode::ILLEGAL, &reason).await;
        }
        let content = match std::str::from_utf8(request.name) {
            Ok(name) => self.files.open(name, self.peer).await,
            Err(_) => None,
        };
        let Some(content) = content else {
            return refuse(&socket, ErrorCode::NOT_FOUND, "file not found").await;
        };
        transfer.size_bytes = Some(content.len() as u64);
        let mut sender = self.sender(&request, content, &socket);
        let outcome = self.send(&socket, &mut sender).await;
        transfer.acknowledged_bytes = sender.acknowledged_bytes();
        transfer.retransmitted = sender.retransmitted();
        outcome
    }

    fn sender(&self, request: &Request<'_>, content: bytes::Bytes, socket: &UdpSocket) -> Sender {
        let terms = negotiate(&request.options, content.len() as u64, largest_block(socket, self.peer));
        tracing::trace!(peer = %self.peer, ?terms, "terms agreed");
        Sender::new(content, terms, Instant::now())
    }

    async fn send(&mut self, socket: &UdpSocket, sender: &mut Sender) -> std::io::Result<Outcome> {
        let mut out = Vec::new();
        let mut received = [0; RECEIVE_BUFFER];
        let sleep = tokio::time::sleep_until(sender.deadline().into());
        tokio::pin!(sleep);
        loop {
            while sender.next_packet(Instant::now(), &mut out) {
                match socket.send(&out).await {
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                        return Ok(port_closed(sender));
                    }
                    // A full queue or a filter is a lost packet like any other.
                    Err(error) => tracing::debug!(peer = %self.peer, %error, "sending failed"),
                    Ok(_) => {}
                }
            }
            // The timer is left alone while the deadline only moves away: it then fires early and is set again.
            if sleep.is_elapsed() || sender.deadline() < sleep.deadline().into_std() {
                sleep.as_mut().reset(sender.deadline().into());
            }
            tokio::select! {
                biased;
                result = socket.recv(&mut received) => match result {
                    Ok(length) => {
                        let now = Instant::now();
                        let Ok(packet) = Packet::parse(&received[..length]) else { continue };
                        if matches!(packet, Packet::Ack(_)) {
                            self.heard.now();
                        }
                        if let Some(outcome) = sender.on_packet(now, &packet) {
                            return Ok(outcome);
                        }
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                        return Ok(port_closed(sender));
                    }
                    Err(error) => return Err(error),
                },
                () = self.again.notified() => sender.on_repeated_request(Instant::now()),
                reason = &mut self.stop => return self.stopped(socket, reason.unwrap_or(Failure::ShuttingDown)).await,
                () = &mut sleep => {
                    let now = Instant::now();
                    if now >= sender.deadline() && let Some(outcome) = sender.on_deadline(now) {
                        return Ok(outcome);
                    }
                }
            }
        }
    }

    async fn stopped(&self, socket: &UdpSocket, reason: Failure) -> std::io::Result<Outcome> {
        // After a new request from the same port an ERROR would end that one.
        if reason != Failure::Superseded {
            send_error(socket, ErrorCode::UNDEFINED, &reason.to_string()).await;
        }
        Ok(Outcome::Failed(reason))
    }
}

/// A closed port after the last block means that only its acknowledgement was lost.
fn port_closed(sender: &Sender) -> Outcome {
    if sender.everything_sent() { Outcome::Unconfirmed } else { Outcome::Failed(Failure::Gone) }
}

/// The longest block that reaches the client unfragmented: a lost fragment would cost the whole block.
fn largest_block(socket: &UdpSocket, peer: SocketAddr) -> usize {
    let (mtu, overhead) = match peer {
        SocketAddr::V4(_) => (rustix::net::sockopt::ip_mtu(socket), IPV4_OVERHEAD),
        SocketAddr::V6(_) => (rustix::net::sockopt::ipv6_mtu(socket), IPV6_OVERHEAD),
    };
    match mtu {
        Ok(mtu) => (mtu as usize).saturating_sub(overhead),
        Err(error) => {
            tracing::warn!(%peer, %error, "the path's MTU is not known; assuming 1500");
            1500 - overhead
        }
    }
}

fn unsupported_mode(mode: &[u8]) -> Option<String> {
    if mode.eq_ignore_ascii_case(b"octet") {
        return None;
    }
    let mode = mode.escape_ascii().to_string();
    Some(format!("mode {mode} is not supported, use octet (binary)"))
}

async fn refuse(socket: &UdpSocket, code: ErrorCode, reason: &str) -> std::io::Result<Outcome> {
    send_error(socket, code, reason).await;
    Ok(Outcome::Failed(Failure::Refused { code, reason: reason.to_owned() }))
}

/// Errors are not acknowledged and not repeated (RFC 1350 section 7): a client that misses one asks again.
async fn send_error(socket: &UdpSocket, code: ErrorCode, message: &str) {
    let mut out = Vec::new();
    Packet::Error { code, message: message.as_bytes() }.encode_into(&mut out);
    if let Err(error) = socket.send(&out).await {
        tracing::debug!(%error, "an ERROR could not be sent");
    }
}
