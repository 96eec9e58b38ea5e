//! The listener: takes requests, keeps at most one session per client port, limits them, and shuts down in order.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, oneshot};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::events::{Events, Failure, Outcome, Transfer};
use crate::packet::Packet;
use crate::session::{Heard, Session};

/// Sessions at once unless told otherwise: each has a socket, so the process's file limit must be above it.
const MAX_SESSIONS: usize = 4096;
/// How long running transfers may go on after a shutdown was asked for.
const GRACE: Duration = Duration::from_secs(5);
/// Longest request read. RFC 2347 allows 512 bytes.
const REQUEST_BUFFER: usize = 2048;
/// Room for a rack that asks at once; the kernel may give less.
const SOCKET_BUFFER: usize = 4 << 20;
/// A repeated request within this time of the last sign of life is a copy that the network made or kept, not a restart.
const COPY: Duration = Duration::from_secs(2);

/// The future that [`Files::open`] returns.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Option<Bytes>> + Send + 'a>>;

/// The served set: what a name means to a client.
pub trait Files: Send + Sync + 'static {
    /// The content behind `name` for `peer`, or none if there is no such file. `name` is text from the network: any
    /// characters but NUL, with whatever slashes and dots the client likes.
    fn open<'a>(&'a self, name: &'a str, peer: SocketAddr) -> Opening<'a>;
}

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The listening address could not be taken.
    #[error("listening for TFTP on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Requests can no longer be read.
    #[error("reading TFTP requests")]
    Receive(#[source] std::io::Error),
}

/// A listening TFTP server.
pub struct Server {
    socket: UdpSocket,
    local: SocketAddr,
    files: Arc<dyn Files>,
    events: Arc<dyn Events>,
    max_sessions: usize,
    grace: Duration,
}

impl Server {
    /// Listens on `address`. Give the server's own address, not the unspecified one: transfers are sent from it, and a
    /// client refuses data from another address than it asked.
    ///
    /// # Errors
    /// [`ServerError::Bind`].
    pub fn bind(address: SocketAddr, files: Arc<dyn Files>) -> Result<Self, ServerError> {
        let bound = listen(address).and_then(|socket| socket.local_addr().map(|local| (socket, local)));
        let (socket, local) = bound.map_err(|source| ServerError::Bind { address, source })?;
        Ok(Self { socket, local, files, events: Arc::new(()), max_sessions: MAX_SESSIONS, grace: GRACE })
    }

    /// Tells `events` how each transfer ends.
    #[must_use]
    pub fn with_events(mut self, events: Arc<dyn Events>) -> Self {
        self.events = events;
        self
    }

    /// Serves at most `sessions` clients at once; more are not answered until there is room, so that they ask again.
    #[must_use]
    pub fn with_max_sessions(mut self, sessions: usize) -> Self {
        self.max_sessions = sessions;
        self
    }

    /// Gives running transfers `grace` to end after the shutdown was asked for.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The address and port it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Serves until `cancel`; then takes no more requests, lets running transfers end within the grace time and tells
    /// the others' clients that it is shutting down.
    ///
    /// # Errors
    /// [`ServerError::Receive`] when the listening socket fails for good.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), ServerError> {
        let mut sessions = Sessions::default();
        let mut buffer = vec![0; REQUEST_BUFFER];
        let result = loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break Ok(()),
                true = sessions.reap() => {}
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((length, peer)) => self.take(&buffer[..length], peer, &mut sessions),
                    Err(error) if is_passing(&error) => tracing::debug!(%error, "reading a request failed"),
                    Err(error) => break Err(ServerError::Receive(error)),
                }
            }
        };
        sessions.drain(self.grace).await;
        result
    }

    /// Begins a session for a request, unless it is a copy, too much, or no request.
    fn take(&self, datagram: &[u8], peer: SocketAddr, sessions: &mut Sessions) {
        // Port 0 cannot be answered; a datagram that fills the buffer was cut.
        let request = peer.port() != 0
            && datagram.len() < REQUEST_BUFFER
            && matches!(Packet::parse(datagram), Ok(Packet::Read(_) | Packet::Write(_)));
        if !request {
            tracing::debug!(%peer, length = datagram.len(), "not a TFTP request");
            return;
        }
        if let Some(active) = sessions.serving(peer, datagram) {
            tracing::debug!(%peer, "request repeated");
            active.again.notify_one();
            return;
        }
        if !sessions.active.contains_key(&peer) && sessions.active.len() >= self.max_sessions {
            tracing::warn!(%peer, limit = self.max_sessions, "too many transfers at once; the client has to ask again");
            return;
        }
        let (stop, stopped) = oneshot::channel();
        let (heard, again) = (Arc::new(Heard::never()), Arc::new(Notify::new()));
        let session = Session {
            peer,
            local: self.local,
            files: Arc::clone(&self.files),
            heard: Arc::clone(&heard),
            again: Arc::clone(&again),
            stop: stopped,
        };
        let request: Arc<[u8]> = datagram.into();
        let events = Arc::clone(&self.events);
        let for_task = Arc::clone(&request);
        let handle = sessions.tasks.spawn(async move {
            let transfer = session.run(&for_task).await;
            log(&transfer);
            events.finished(&transfer);
        });
        sessions.begin(peer, Active { task: handle.id(), request, heard, again, stop });
    }
}

fn listen(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Errors that a datagram socket reports about the past; the next receive works.
fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::Interrupted
    )
}

fn log(transfer: &Transfer) {
    let Transfer { peer, name, elapsed, retransmitted, .. } = transfer;
    match &transfer.outcome {
        Outcome::Done | Outcome::Unconfirmed | Outcome::SizeOnly => {
            let bytes = transfer.acknowledged_bytes;
            tracing::debug!(%peer, ?name, bytes, retransmitted, ?elapsed, outcome = ?transfer.outcome, "transfer ended");
        }
        // Loaders try several names for their configuration: not found is their daily bread.
        Outcome::Failed(reason @ Failure::Refused { .. }) => {
            tracing::debug!(%peer, ?name, %reason, "request refused")
        }
        Outcome::Failed(reason) => tracing::warn!(%peer, ?name, ?elapsed, %reason, "transfer failed"),
    }
}

/// The running sessions, by client port.
#[derive(Default)]
struct Sessions {
    active: HashMap<SocketAddr, Active>,
    peers: HashMap<Id, SocketAddr>,
    tasks: JoinSet<()>,
}

/// One running session.
struct Active {
    task: Id,
    request: Arc<[u8]>,
    heard: Arc<Heard>,
    again: Arc<Notify>,
    stop: oneshot::Sender<Failure>,
}

impl Sessions {
    /// The session that already serves this request, which was sent again because the answer was lost or is late. A
    /// client that has been silent in the middle of a transfer and asks again was reset and starts over: none then.
    fn serving(&self, peer: SocketAddr, request: &[u8]) -> Option<&Active> {
        self.active.get(&peer).filter(|active| {
            *active.request == *request && active.heard.ago().is_none_or(|silent| silent < COPY)
        })
    }

    /// Records a session; one that the same client port had before is ended.
    fn begin(&mut self, peer: SocketAddr, active: Active) {
        self.peers.insert(active.task, peer);
        if let Some(old) = self.active.insert(peer, active) {
            self.peers.remove(&old.task);
            // It may have ended by itself just now.
            let _ = old.stop.send(Failure::Superseded);
        }
    }

    /// Waits for a session to end and forgets it; false when none is running.
    async fn reap(&mut self) -> bool {
        let (id, result) = match self.tasks.join_next_with_id().await {
            None => return false,
            Some(Ok((id, ()))) => (id, Ok(())),
            Some(Err(error)) => (error.id(), Err(error)),
        };
        let peer = self.peers.remove(&id);
        if let Some(peer) = peer {
            self.active.remove(&peer);
        }
        if let Err(error) = result {
            tracing::error!(?peer, %error, "a transfer's task failed");
        }
        true
    }

    /// Lets sessions end by themselves for `grace`, then ends them.
    async fn drain(mut self, grace: Duration) {
        let all = async { while self.reap().await {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            self.active.clear();
            while self.reap().await {}
        }
    }
}
