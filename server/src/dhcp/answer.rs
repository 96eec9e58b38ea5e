//! The decision about one packet (RFC 2131 section 4.3). Pure: the same packet and directory give the same answer.
//! (What strangers are lent is state of the directory.)

use std::fmt;
use std::net::Ipv4Addr;

use sysclone_protocol::names::{Mac, NodeName};

use super::boot::{Boot, boot};
use super::client::{Architecture, Client, Program};
use super::directory::{Asks, Directory, Lent, Mode, Reservation, ServerFacts, Step};
use super::proxy;
use super::reply::{Form, Grant, grant, refusal};
use super::request::{ParseError, Request, Type, mac_of};

/// What to do about a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Send these bytes.
    Reply {
        /// Where to.
        destination: Destination,
        /// The datagram.
        bytes: Vec<u8>,
        /// What it says, for log and events.
        what: Replied,
    },
    /// Send nothing.
    Silent {
        /// Why.
        reason: Silence,
        /// Who asked, if that could be read.
        mac: Option<Mac>,
    },
}

/// Where a reply goes (RFC 2131 section 4.1).
///
/// A client without an address that does not ask for broadcast could be reached by unicast only with an entry made for
/// it in the kernel's ARP table, which takes privileges that the daemon gives up. Every client listens for broadcast,
/// so it is used instead; a boot's few packets cost the network nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// All stations, client port.
    Broadcast,
    /// A client that has an address, client port.
    Client(Ipv4Addr),
    /// A relay, server port.
    Relay(Ipv4Addr),
    /// Where the request came from, whatever its port (PXE 2.1 section 2.2.4: the boot server's port).
    Sender,
}

/// A reply in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replied {
    /// What was said.
    pub kind: Kind,
    /// To whom.
    pub node: NodeName,
    /// Its interface.
    pub mac: Mac,
    /// Its address.
    pub ip: Ipv4Addr,
    /// What asked.
    pub client: Client,
    /// The boot file it was given.
    pub boot_file: Option<String>,
    /// It wanted to boot and there is no loader for its architecture.
    pub no_loader: bool,
}

/// Kinds of replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// DHCPOFFER.
    Offer,
    /// DHCPACK.
    Ack,
    /// DHCPNAK: the client uses or wants an address that is not its own.
    Nak {
        /// Told to the client too.
        reason: String,
    },
    /// A BOOTP reply.
    Bootp,
    /// Boot file only; another server gives the address.
    Proxy,
}

/// Why a packet is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// Not a packet that can be answered.
    #[error("not understood: {0}")]
    Malformed(#[from] ParseError),
    /// No node has this address.
    #[error(
        "no node has mac={mac}; to define one: mkdef -t node -o <name> groups=all mac={mac} ip=<address> arch=x86_64"
    )]
    Unknown {
        /// The address.
        mac: Mac,
    },
    /// A node has it, and yet cannot be served.
    #[error("{0}")]
    Incomplete(String),
    /// It would be discovered, but there is no address for it.
    #[error("{0}")]
    NotLent(String),
    /// It will be discovered: its address is being written down, and it asks again.
    #[error("the address for {mac} is not yet written down; it is answered when it asks again")]
    Lending {
        /// The machine.
        mac: Mac,
    },
    /// The client chose another server.
    #[error("the client has chosen the server {0}")]
    OtherServer(Ipv4Addr),
    /// The client gave its address back. It stays reserved.
    #[error("{node} has released {ip}; it stays reserved for it")]
    Released {
        /// The node.
        node: NodeName,
        /// The address.
        ip: Ipv4Addr,
    },
    /// The client found somebody else using its address.
    #[error(
        "{node} declined {ip}: another machine on the network uses it; find that one, or give {node} another ip"
    )]
    Declined {
        /// The node.
        node: NodeName,
        /// The address.
        ip: Ipv4Addr,
    },
    /// A REQUEST that names no address at all.
    #[error("the request names no address")]
    NoAddress,
    /// On the node's network another server answers this.
    #[error("on the network of {node} another DHCP server answers this (dhcpmode={mode})")]
    Foreign {
        /// The node.
        node: NodeName,
        /// The attribute of its network.
        mode: &'static str,
    },
    /// A message that only servers send.
    #[error("it is a server's message")]
    FromServer,
}

/// Decides about the datagram `bytes`.
#[must_use]
pub fn answer(bytes: &[u8], directory: &dyn Directory, server: &ServerFacts) -> Decision {
    match decide(bytes, directory, server) {
        Ok(decision) => decision,
        Err(reason) => Decision::Silent { reason, mac: mac_of(bytes) },
    }
}

fn decide(bytes: &[u8], directory: &dyn Directory, server: &ServerFacts) -> Result<Decision, Silence> {
    let request = Request::parse(bytes)?;
    if matches!(request.message, Some(Type::Offer | Type::Ack | Type::Nak)) {
        return Err(Silence::FromServer);
    }
    if let Some(chosen) = request.server.filter(|chosen| *chosen != server.address) {
        // In a DISCOVER the option means nothing.
        if request.message != Some(Type::Discover) {
            return Err(Silence::OtherServer(chosen));
        }
    }
    let (node, server) = match known(&request.mac, directory) {
        Err(unknown @ Silence::Unknown { .. }) => &stranger((&request, unknown), directory, server)?,
        known => &(known?, server.clone()),
    };
    match node.mode {
        Mode::Full => {}
        Mode::Proxy => return proxy::offer(&request, node, server),
        Mode::Off => return Err(proxy::foreign(node)),
    }
    let context = Context { request: &request, node, server };
    match request.message {
        None => Ok(context.grant(Form::Bootp)),
        Some(Type::Discover) => Ok(context.grant(Form::Offer)),
        Some(Type::Request) => context.on_request(),
        Some(Type::Inform) => Ok(context.grant(Form::Informed)),
        Some(Type::Release) => Err(Silence::Released { node: node.node.clone(), ip: request.ciaddr }),
        Some(Type::Decline) => {
            let ip = request.requested.unwrap_or(node.ip);
            Err(Silence::Declined { node: node.node.clone(), ip })
        }
        Some(Type::Offer | Type::Ack | Type::Nak) => Err(Silence::FromServer),
    }
}

/// The reservation of a machine, or why it is not served.
pub(super) fn known(mac: &Mac, directory: &dyn Directory) -> Result<Reservation, Silence> {
    directory.by_mac(mac).ok_or_else(|| match directory.why_not(mac) {
        Some(why) => Silence::Incomplete(why),
        None => Silence::Unknown { mac: *mac },
    })
}

/// What a machine that is nobody's is lent, and the server as that machine is to see it. Only what boots, and can tell a
/// lease from an address for ever, is lent anything; everybody else meets the silence that is the rule.
fn stranger(
    (request, unknown): (&Request, Silence),
    directory: &dyn Directory,
    server: &ServerFacts,
) -> Result<(Reservation, ServerFacts), Silence> {
    let (step, is_power) = match (request.message, Client::of(request)) {
        (None, _) | (_, Client::Booting { program: Program::Bootp, .. }) => return Err(unknown),
        // Open Firmware is the one that asks for a boot file without saying what it is.
        (Some(Type::Discover), Client::Booting { program, architecture }) => {
            let unsaid = (program, architecture) == (Program::Other, Architecture::Unsaid);
            (Step::Looks, unsaid || matches!(architecture, Architecture::Number(12 | 14)))
        }
        (Some(Type::Request), Client::Booting { .. }) | (Some(Type::Release), _) => (Step::Has, false),
        (Some(Type::Decline), _) => (Step::Declines, false),
        (Some(_), _) => return Err(unknown),
    };
    match directory.lend(&Asks { mac: request.mac, relay: request.relay(), step, is_power }) {
        Lent::Nothing => Err(unknown),
        Lent::Address(reservation, lease) => Ok((reservation, ServerFacts { lease, ..server.clone() })),
        Lent::Soon => Err(Silence::Lending { mac: request.mac }),
        Lent::Refused(why) => Err(Silence::NotLent(why)),
    }
}

/// A request of a known node.
struct Context<'a> {
    request: &'a Request,
    node: &'a Reservation,
    server: &'a ServerFacts,
}

impl Context<'_> {
    /// A client that selects (server named), comes back after a restart (address wanted, none named) or renews (its
    /// address in `ciaddr`): all three are right about their address or have to start over.
    fn on_request(&self) -> Result<Decision, Silence> {
        let in_use = (!self.request.ciaddr.is_unspecified()).then_some(self.request.ciaddr);
        let address = self.request.requested.or(in_use).ok_or(Silence::NoAddress)?;
        if address == self.node.ip {
            return Ok(self.grant(Form::Ack));
        }
        let reason = format!("{address} is not the address of {}, which is {}", self.node.node, self.node.ip);
        let bytes = refusal(self.request, &reason, self.server);
        let destination = self.request.relay().map_or(Destination::Broadcast, Destination::Relay);
        let what = self.replied(Kind::Nak { reason }, &Boot::Unasked);
        Ok(Decision::Reply { destination, bytes, what })
    }

    fn grant(&self, form: Form) -> Decision {
        let client = Client::of(self.request);
        let boot = boot(client, self.node, self.server);
        let kind = match form {
            Form::Offer => Kind::Offer,
            Form::Ack | Form::Informed => Kind::Ack,
            Form::Bootp => Kind::Bootp,
            Form::ProxyOffer | Form::ProxyAck => Kind::Proxy,
        };
        Decision::Reply {
            destination: self.destination(form),
            bytes: grant(self.request, &Grant { form, node: self.node, boot: &boot, server: self.server }),
            what: self.replied(kind, &boot),
        }
    }

    fn destination(&self, form: Form) -> Destination {
        let ciaddr = self.request.ciaddr;
        let has_address = !ciaddr.is_unspecified() && !ciaddr.is_broadcast() && !ciaddr.is_multicast();
        match self.request.relay() {
            // An INFORM's sender has a working address, and the relay is not told how to reach it (RFC 2131 4.3.5).
            Some(relay) if form != Form::Informed || !has_address => Destination::Relay(relay),
            _ if has_address && !self.request.wants_broadcast() => Destination::Client(ciaddr),
            _ => Destination::Broadcast,
        }
    }

    fn replied(&self, kind: Kind, boot: &Boot) -> Replied {
        Replied {
            kind,
            node: self.node.node.clone(),
            mac: self.request.mac,
            ip: self.node.ip,
            client: Client::of(self.request),
            boot_file: match boot {
                Boot::File(file) => Some(file.name.clone()),
                Boot::Unasked | Boot::NoLoader => None,
            },
            no_loader: *boot == Boot::NoLoader,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Offer => "OFFER",
            Self::Ack => "ACK",
            Self::Nak { .. } => "NAK",
            Self::Bootp => "BOOTP reply",
            Self::Proxy => "boot file",
        })
    }
}
