//! The socket around [`answer`]: receives, decides, sends, counts, logs.

use std::mem::{Discriminant, discriminant};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use sysclone_protocol::names::Mac;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::answer::{Decision, Destination, Kind, Replied, Silence, answer};
use super::counters::Counters;
use super::directory::{Directory, ServerFacts};
use super::limit::Limit;
use super::proxy::answer_on_boot_port;

/// Longest request read; Ethernet's MTU bounds real ones.
const BUFFER: usize = 2048;
/// Room for a rack that is switched on at once; the kernel may give less.
const SOCKET_BUFFER: usize = 4 << 20;
/// A network that is down makes receiving fail at once, again and again.
const RETRY: Duration = Duration::from_millis(200);

/// The boot server's port (PXE 2.1 section 2.2.4), asked where another server gives the addresses.
const BOOT_PORT: u16 = 4011;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The interface of the provisioning network. Without it the server hears every network of the machine and its
    /// broadcasts leave where the kernel likes; right only for a machine with one interface.
    pub interface: Option<String>,
    /// Server port, 67. Relays are answered on it, clients on the one above.
    pub port: u16,
}

/// Hears of every decision. Called from the server's task, so it must not block.
pub trait Events: Send + Sync + 'static {
    /// A reply was sent.
    fn replied(&self, what: &Replied);
    /// A packet was not answered.
    fn silent(&self, mac: Option<Mac>, reason: &Silence);
}

/// Nobody listens.
impl Events for () {
    fn replied(&self, _what: &Replied) {}
    fn silent(&self, _mac: Option<Mac>, _reason: &Silence) {}
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// The port or interface could not be taken.
    #[error("listening for DHCP on port {port} of {}", interface.as_deref().unwrap_or("all interfaces"))]
    Bind {
        /// The port.
        port: u16,
        /// The interface.
        interface: Option<String>,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// A listening DHCP server.
pub struct Server {
    socket: UdpSocket,
    boot_socket: UdpSocket,
    port: u16,
    facts: ServerFacts,
    directory: Arc<dyn Directory>,
    events: Arc<dyn Events>,
    counters: Arc<Counters>,
    said: Limit<(Option<Mac>, Said)>,
}

/// The port that a packet came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Dhcp,
    Boot,
}

/// Things said about a machine, each at its own pace.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Said {
    Silence(Discriminant<Silence>),
    NoLoader,
    Panic,
    SendError,
}

impl Server {
    /// Takes the port. Needs CAP_NET_BIND_SERVICE for port 67 and CAP_NET_RAW for an interface.
    ///
    /// # Errors
    /// [`DhcpError::Bind`].
    pub fn bind(
        listen: &Listen,
        facts: ServerFacts,
        directory: Arc<dyn Directory>,
    ) -> Result<Self, DhcpError> {
        let open = |port| {
            let interface = listen.interface.clone();
            open(listen, port).map_err(|source| DhcpError::Bind { port, interface, source })
        };
        Ok(Self {
            socket: open(listen.port)?,
            boot_socket: open(BOOT_PORT)?,
            port: listen.port,
            facts,
            directory,
            events: Arc::new(()),
            counters: Arc::default(),
            said: Limit::new(),
        })
    }

    /// Tells `events` of every decision.
    #[must_use]
    pub fn with_events(mut self, events: Arc<dyn Events>) -> Self {
        self.events = events;
        self
    }

    /// Counts there instead of by itself.
    #[must_use]
    pub fn with_counters(mut self, counters: Arc<Counters>) -> Self {
        self.counters = counters;
        self
    }

    /// The packet counters, which go on counting while it runs.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Answers until `cancel`. A network that is down is waited for.
    pub async fn run(mut self, cancel: CancellationToken) {
        let (mut buffer, mut boot_buffer) = (vec![0; BUFFER], vec![0; BUFFER]);
        loop {
            let received = tokio::select! {
                () = cancel.cancelled() => return,
                received = self.socket.recv_from(&mut buffer) => received.map(|(length, from)| (Door::Dhcp, length, from)),
                received = self.boot_socket.recv_from(&mut boot_buffer) => received.map(|(length, from)| (Door::Boot, length, from)),
            };
            match received {
                Ok((Door::Dhcp, length, from)) => self.take(Door::Dhcp, &buffer[..length], from).await,
                Ok((Door::Boot, length, from)) => self.take(Door::Boot, &boot_buffer[..length], from).await,
                Err(error) => {
                    if self.said.say((None, Said::SendError), Instant::now()).is_some() {
                        tracing::warn!(%error, "receiving DHCP packets failed");
                    }
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        () = tokio::time::sleep(RETRY) => {}
                    }
                }
            }
        }
    }

    /// Deals with one datagram.
    pub(super) async fn take(&mut self, door: Door, bytes: &[u8], from: SocketAddr) {
        self.counters.packet();
        tracing::trace!(%from, length = bytes.len(), "packet");
        // One packet, whatever it makes the code do, must not end the service for the others.
        let decision = catch_unwind(AssertUnwindSafe(|| match door {
            Door::Dhcp => answer(bytes, &*self.directory, &self.facts),
            Door::Boot => answer_on_boot_port(bytes, &*self.directory, &self.facts),
        }));
        let Ok(decision) = decision else {
            self.counters.panicked();
            if self.said.say((None, Said::Panic), Instant::now()).is_some() {
                let packet = hex(bytes);
                tracing::error!(%from, packet, "a packet made the server fail; please report it with these bytes");
            }
            return;
        };
        self.counters.decided(&decision);
        match decision {
            Decision::Reply { destination, bytes, what } => {
                let to = self.address_of(destination, from);
                self.reply((door, to), &bytes, &what).await;
            }
            Decision::Silent { reason, mac } => self.stay_silent(mac, &reason, from),
        }
    }

    fn address_of(&self, destination: Destination, from: SocketAddr) -> SocketAddr {
        let client_port = self.port.saturating_add(1);
        let (address, port) = match destination {
            Destination::Broadcast => (Ipv4Addr::BROADCAST, client_port),
            Destination::Client(address) => (address, client_port),
            Destination::Relay(address) => (address, self.port),
            Destination::Sender => return from,
        };
        SocketAddr::V4(SocketAddrV4::new(address, port))
    }

    async fn reply(&mut self, (door, to): (Door, SocketAddr), bytes: &[u8], what: &Replied) {
        let socket = match door {
            Door::Dhcp => &self.socket,
            Door::Boot => &self.boot_socket,
        };
        let Replied { kind, node, mac, ip, client, boot_file, no_loader } = what;
        if let Err(error) = socket.send_to(bytes, to).await {
            self.counters.not_sent();
            if self.said.say((Some(*mac), Said::SendError), Instant::now()).is_some() {
                tracing::warn!(%node, %mac, %to, %error, "a reply could not be sent");
            }
            return;
        }
        match kind {
            Kind::Offer => tracing::debug!(%node, %mac, %ip, %client, ?boot_file, %to, "offered"),
            Kind::Ack | Kind::Bootp => {
                tracing::info!(%node, %mac, %ip, %client, boot_file, "address given");
            }
            Kind::Proxy => tracing::info!(%node, %mac, %client, boot_file, %to, "boot file told"),
            Kind::Nak { reason } => tracing::warn!(%node, %mac, %reason, "address refused"),
        }
        if *no_loader && self.said.say((Some(*mac), Said::NoLoader), Instant::now()).is_some() {
            tracing::warn!(
                %node, %mac, %client,
                "no loader is configured for this architecture yet; it was given its address only"
            );
        }
        self.events.replied(what);
    }

    fn stay_silent(&mut self, mac: Option<Mac>, reason: &Silence, from: SocketAddr) {
        let key = (mac, Said::Silence(discriminant(reason)));
        if let Some(repeated) = self.said.say(key, Instant::now()) {
            let shown = mac.map_or_else(|| "unreadable".to_owned(), |mac| mac.to_string());
            match reason {
                Silence::Unknown { .. }
                | Silence::Incomplete(_)
                | Silence::NotLent(_)
                | Silence::Declined { .. } => {
                    tracing::warn!(mac = shown, repeated, %reason, "DHCP request not answered");
                }
                Silence::Malformed(_)
                | Silence::Released { .. }
                | Silence::OtherServer(_)
                | Silence::NoAddress
                | Silence::Lending { .. }
                | Silence::Foreign { .. }
                | Silence::FromServer => {
                    tracing::info!(mac = shown, %from, repeated, %reason, "DHCP packet not answered");
                }
            }
        }
        self.events.silent(mac, reason);
    }
}

fn open(listen: &Listen, port: u16) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    if let Some(interface) = &listen.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    // Broadcasts are only delivered to sockets on the unspecified address.
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
    UdpSocket::from_std(socket.into())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}
