//! Writes replies (RFC 2131 section 4.3.1, table 3) with dhcproto's writer.

use dhcproto::v4::{DhcpOption, Flags, HType, Message, MessageType, Opcode, OptionCode, UnknownOption};
use dhcproto::{Encodable, Encoder};

use super::boot::{Boot, BootFile};
use super::directory::{Reservation, ServerFacts};
use super::request::{Request, code};

/// Smaller packets than BOOTP's fixed size are dropped by some relays and ROMs (RFC 1542 section 2.1).
const MIN_LENGTH: usize = 300;
/// IP and UDP header, which option 57 counts.
const HEADERS: u16 = 28;
/// The size of datagram that every client has to accept (RFC 2131 section 2).
const MIN_DATAGRAM: u16 = 576;
/// Larger datagrams would be fragmented, and boot ROMs do not put them together.
const MAX_DATAGRAM: u16 = 1500;
/// PXE_DISCOVERY_CONTROL (tag 6, one byte) = 8, end: "take the boot file of this offer, ask no boot server" (PXE 2.1
/// section 2.2.3). Without it some ROMs wait for a boot server or show a menu.
const PXE_TAKE_THE_FILE: [u8; 4] = [6, 1, 8, 255];
const BROADCAST: u16 = 0x8000;
/// RFC 4578 section 2.3: type and 16 bytes of UUID.
const MACHINE_IDENTIFIER_LENGTH: usize = 17;
const CONFIG_FILE: u8 = 209;
const PATH_PREFIX: u8 = 210;
/// Longest text that fits the file field with its NUL.
const FILE_FIELD: usize = 127;

/// What kind of reply to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Offer,
    /// To a REQUEST.
    Ack,
    /// To an INFORM: without address and times.
    Informed,
    /// To a BOOTP client: without anything of DHCP.
    Bootp,
    /// To a DISCOVER that another server gives an address: what to boot, and nothing of the network.
    ProxyOffer,
    /// The same to a REQUEST on the boot server's port.
    ProxyAck,
}

/// What a node is granted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant<'a> {
    pub form: Form,
    pub node: &'a Reservation,
    pub boot: &'a Boot,
    pub server: &'a ServerFacts,
}

/// The reply that gives a node its address, network and boot file.
pub(super) fn grant(request: &Request, grant: &Grant<'_>) -> Vec<u8> {
    let Grant { form, node, boot, server } = *grant;
    let mut message = header(request);
    message.set_ciaddr(request.ciaddr);
    let proxied = matches!(form, Form::ProxyOffer | Form::ProxyAck);
    if form != Form::Informed && !proxied {
        message.set_yiaddr(node.ip);
    }
    if *boot != Boot::Unasked {
        message.set_siaddr(server.address).set_sname_str(server.address.to_string());
    }
    let mut options = match form {
        Form::Offer | Form::ProxyOffer => dhcp_options(MessageType::Offer, request, server),
        Form::Ack | Form::Informed | Form::ProxyAck => dhcp_options(MessageType::Ack, request, server),
        Form::Bootp => Vec::new(),
    };
    let leased = matches!(form, Form::Offer | Form::Ack);
    if !proxied {
        options.push(DhcpOption::SubnetMask(mask(node.prefix)));
        options.extend(node.gateway.map(|gateway| DhcpOption::Router(vec![gateway])));
    }
    if leased {
        options.push(DhcpOption::AddressLeaseTime(seconds(server)));
    }
    if let Boot::File(file) = boot {
        if file.name.len() <= FILE_FIELD {
            message.set_fname_str(&file.name);
        }
        if form != Form::Bootp {
            options.extend(boot_options(file, server));
        }
    }
    if !proxied {
        options.extend(network_options(node));
    }
    if leased {
        // The usual half and seven eighths (RFC 2131 section 4.4.5).
        options.push(DhcpOption::Renewal(seconds(server) / 2));
        options.push(DhcpOption::Rebinding(seconds(server) - seconds(server) / 8));
    }
    encode(&message, options, request)
}

/// The reply that tells a client to stop using an address and start over, with the reason for its log.
pub(super) fn refusal(request: &Request, reason: &str, server: &ServerFacts) -> Vec<u8> {
    let mut message = header(request);
    if request.relay().is_some() {
        // The client may have no usable address: the relay has to broadcast (RFC 2131 section 4.3.2).
        message.set_flags(Flags::new(request.flags | BROADCAST));
    }
    let mut options = dhcp_options(MessageType::Nak, request, server);
    options.push(DhcpOption::Message(reason.to_owned()));
    encode(&message, options, request)
}

fn header(request: &Request) -> Message {
    let mut message = Message::default();
    message
        .set_opcode(Opcode::BootReply)
        .set_htype(HType::Eth)
        .set_chaddr(&request.mac.0)
        .set_xid(request.xid)
        .set_flags(Flags::new(request.flags))
        .set_giaddr(request.giaddr);
    message
}

/// The options of every DHCP reply. The client identifier is given back (RFC 6842).
fn dhcp_options(kind: MessageType, request: &Request, server: &ServerFacts) -> Vec<DhcpOption> {
    let mut options = vec![DhcpOption::MessageType(kind), DhcpOption::ServerIdentifier(server.address)];
    let identifier = request.option(code::CLIENT_IDENTIFIER);
    options.extend(identifier.map(|bytes| DhcpOption::ClientIdentifier(bytes.to_vec())));
    let machine =
        request.option(code::MACHINE_IDENTIFIER).filter(|bytes| bytes.len() == MACHINE_IDENTIFIER_LENGTH);
    options.extend(machine.map(|bytes| DhcpOption::ClientMachineIdentifier(bytes.to_vec())));
    options
}

/// A ROM takes a boot file only from a reply that says it is for clients of its kind.
fn boot_options(file: &BootFile, server: &ServerFacts) -> Vec<DhcpOption> {
    let mut options = Vec::new();
    if let Some(class) = file.class {
        options.push(DhcpOption::ClassIdentifier(class.as_bytes().to_vec()));
        options.push(DhcpOption::VendorExtensions(PXE_TAKE_THE_FILE.to_vec()));
    }
    options.push(DhcpOption::TFTPServerName(server.address.to_string().into_bytes()));
    // Petitboot is started already.
    if !file.name.is_empty() {
        options.push(DhcpOption::BootfileName(file.name.clone().into_bytes()));
    }
    if let Some(config) = &file.pxelinux {
        let texts = [(CONFIG_FILE, Some(&config.file)), (PATH_PREFIX, config.prefix.as_ref())];
        for (code, text) in texts.into_iter().filter_map(|(code, text)| Some((code, text?))) {
            let option = UnknownOption::new(OptionCode::from(code), text.clone().into_bytes());
            options.push(DhcpOption::Unknown(option));
        }
    }
    options
}

fn network_options(node: &Reservation) -> Vec<DhcpOption> {
    let mut options = Vec::new();
    if !node.nameservers.is_empty() {
        options.push(DhcpOption::DomainNameServer(node.nameservers.clone()));
    }
    if !node.hostname.is_empty() {
        options.push(DhcpOption::Hostname(node.hostname.clone()));
    }
    options.extend(node.domain.clone().map(DhcpOption::DomainName));
    options
}

fn mask(prefix: u8) -> std::net::Ipv4Addr {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0).into()
}

fn seconds(server: &ServerFacts) -> u32 {
    u32::try_from(server.lease.as_secs()).unwrap_or(u32::MAX)
}

/// Header, then as many options as the client can take, the most needed first. Relay information comes last and
/// unchanged (RFC 3046 section 2.2); it is left out only where no datagram has room for it.
fn encode(message: &Message, options: Vec<DhcpOption>, request: &Request) -> Vec<u8> {
    let mut bytes = to_bytes(message);
    let most = usize::from(MAX_DATAGRAM - HEADERS) - bytes.len() - 1;
    let relay = request.option(code::RELAY_AGENT).map(relay_option).filter(|relay| relay.len() <= most);
    let relay = relay.unwrap_or_default();
    if request.has_options {
        let room = limit(request).saturating_sub(relay.len() + 1);
        for option in options {
            let encoded = to_bytes(&option);
            if bytes.len() + encoded.len() <= room {
                bytes.extend(encoded);
            }
        }
        bytes.extend(relay);
    }
    bytes.push(code::END);
    bytes.resize(bytes.len().max(MIN_LENGTH), 0);
    bytes
}

fn to_bytes(part: &impl Encodable) -> Vec<u8> {
    let mut bytes = Vec::new();
    part.encode(&mut Encoder::new(&mut bytes)).expect("names and options are shorter than their fields");
    bytes
}

/// The longest reply that the client takes.
fn limit(request: &Request) -> usize {
    if request.message.is_none() {
        return MIN_LENGTH;
    }
    let asked = match request.option(code::MAX_MESSAGE_SIZE) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => MIN_DATAGRAM,
    };
    usize::from(asked.clamp(MIN_DATAGRAM, MAX_DATAGRAM) - HEADERS)
}

/// Option 82 as it came, split again if it was longer than one option (RFC 3396).
fn relay_option(value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in value.chunks(255) {
        bytes.push(code::RELAY_AGENT);
        bytes.push(part.len() as u8);
        bytes.extend_from_slice(part);
    }
    bytes
}
