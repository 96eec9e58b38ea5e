//! One BOOTP or DHCP request, read strictly from bytes (RFC 951, RFC 2131 section 2, RFC 3396).
//!
//! Options are read here and not by dhcproto: its reader stops at the first option that it dislikes and silently loses
//! all that follow, keeps one architecture of option 93, and has debug assertions on what the network sends.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use sysclone_protocol::names::Mac;

/// Option codes used by this server (RFC 2132, 3046, 4578, 5071).
pub(super) mod code {
    pub(crate) const PAD: u8 = 0;
    pub(crate) const REQUESTED_ADDRESS: u8 = 50;
    pub(crate) const OVERLOAD: u8 = 52;
    pub(crate) const MESSAGE_TYPE: u8 = 53;
    pub(crate) const SERVER_IDENTIFIER: u8 = 54;
    pub(crate) const PARAMETER_LIST: u8 = 55;
    pub(crate) const MAX_MESSAGE_SIZE: u8 = 57;
    pub(crate) const VENDOR_CLASS: u8 = 60;
    pub(crate) const CLIENT_IDENTIFIER: u8 = 61;
    pub(crate) const USER_CLASS: u8 = 77;
    pub(crate) const RELAY_AGENT: u8 = 82;
    pub(crate) const ARCHITECTURE: u8 = 93;
    pub(crate) const MACHINE_IDENTIFIER: u8 = 97;
    pub(crate) const END: u8 = 255;
}

const BOOT_REQUEST: u8 = 1;
const ETHERNET: u8 = 1;
const MAC_LENGTH: u8 = 6;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Fixed fields, without the vendor area.
const HEADER: usize = 236;
const SERVER_NAME: std::ops::Range<usize> = 44..108;
const BOOT_FILE: std::ops::Range<usize> = 108..236;

/// Why a packet cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It ends inside the fixed fields.
    #[error("{0} bytes are too short for a DHCP packet")]
    Short(usize),
    /// A reply of another server that came here.
    #[error("it is a reply, not a request")]
    NotARequest,
    /// Another link layer, or an address that no interface has.
    #[error("hardware type {htype} with {hlen} address bytes is not an Ethernet address")]
    Hardware {
        /// The packet's `htype`.
        htype: u8,
        /// The packet's `hlen`.
        hlen: u8,
    },
    /// The client's hardware address is zero or a group address.
    #[error("{0} is not the address of an interface")]
    NotAnInterface(Mac),
    /// An option's length goes past the end.
    #[error("option {0} is cut off")]
    Cut(u8),
    /// An option has not the length that its definition says.
    #[error("option {code} has {length} bytes")]
    Length {
        /// The option.
        code: u8,
        /// Its length here.
        length: usize,
    },
    /// A message type that only leasequery servers or nobody knows.
    #[error("message type {0} is not one of RFC 2131")]
    MessageType(u8),
}

/// Message types that clients and servers send (RFC 2131 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Discover,
    Offer,
    Request,
    Decline,
    Ack,
    Nak,
    Release,
    Inform,
}

/// A request that is known to be well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// None for plain BOOTP.
    pub message: Option<Type>,
    pub xid: u32,
    pub flags: u16,
    /// The address that the client already uses.
    pub ciaddr: Ipv4Addr,
    /// The relay that sent it on.
    pub giaddr: Ipv4Addr,
    pub mac: Mac,
    /// The address that the client would like.
    pub requested: Option<Ipv4Addr>,
    /// The server that the client has chosen.
    pub server: Option<Ipv4Addr>,
    /// It has a DHCP vendor area, so a reply's options are understood.
    pub has_options: bool,
    options: BTreeMap<u8, Vec<u8>>,
}

impl Request {
    /// Reads one datagram.
    ///
    /// # Errors
    /// [`ParseError`]; what it names may come from anybody.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() < HEADER {
            return Err(ParseError::Short(bytes.len()));
        }
        if bytes[0] != BOOT_REQUEST {
            return Err(ParseError::NotARequest);
        }
        let mac = ethernet_address(bytes)?;
        let area = bytes[HEADER..].strip_prefix(&COOKIE);
        let options = area.map(|area| read_all(bytes, area)).transpose()?.unwrap_or_default();
        let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        Ok(Self {
            message: message_type(&options)?,
            xid: u32::from_be_bytes(four(4)),
            flags: u16::from_be_bytes([bytes[10], bytes[11]]),
            ciaddr: four(12).into(),
            giaddr: four(24).into(),
            mac,
            requested: address(&options, code::REQUESTED_ADDRESS)?,
            server: address(&options, code::SERVER_IDENTIFIER)?,
            has_options: area.is_some(),
            options,
        })
    }

    /// An option's bytes as the client sent them, parts joined.
    pub(super) fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(&code).map(Vec::as_slice)
    }

    /// Whether the client listed the option among those it wants.
    pub(super) fn wants(&self, code: u8) -> bool {
        self.option(code::PARAMETER_LIST).is_some_and(|list| list.contains(&code))
    }

    /// The client asks for replies by broadcast.
    pub(super) fn wants_broadcast(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// Whether a relay passed it on.
    pub(super) fn relay(&self) -> Option<Ipv4Addr> {
        (!self.giaddr.is_unspecified()).then_some(self.giaddr)
    }
}

/// The client's MAC, as far as it can be told, of a packet that may be anything: for the log.
pub(super) fn mac_of(bytes: &[u8]) -> Option<Mac> {
    (bytes.len() >= HEADER).then(|| ethernet_address(bytes).ok()).flatten()
}

/// `bytes` has at least the fixed fields.
fn ethernet_address(bytes: &[u8]) -> Result<Mac, ParseError> {
    let (htype, hlen) = (bytes[1], bytes[2]);
    if (htype, hlen) != (ETHERNET, MAC_LENGTH) {
        return Err(ParseError::Hardware { htype, hlen });
    }
    let mac = Mac([bytes[28], bytes[29], bytes[30], bytes[31], bytes[32], bytes[33]]);
    let group = mac.0[0] & 1 == 1;
    if group || mac.0 == [0; 6] { Err(ParseError::NotAnInterface(mac)) } else { Ok(mac) }
}

/// The options of the vendor area, then those in the file and server name fields if option 52 says so.
fn read_all(bytes: &[u8], area: &[u8]) -> Result<BTreeMap<u8, Vec<u8>>, ParseError> {
    let mut options = BTreeMap::new();
    read(area, &mut options)?;
    let overload = match options.get(&code::OVERLOAD).map(Vec::as_slice) {
        None => 0,
        Some(&[fields]) => fields,
        Some(other) => return Err(ParseError::Length { code: code::OVERLOAD, length: other.len() }),
    };
    if overload & 1 != 0 {
        read(&bytes[BOOT_FILE], &mut options)?;
    }
    if overload & 2 != 0 {
        read(&bytes[SERVER_NAME], &mut options)?;
    }
    Ok(options)
}

/// Adds one field's options. A repeated option continues the earlier one (RFC 3396). A missing END is forgiven.
fn read(mut area: &[u8], options: &mut BTreeMap<u8, Vec<u8>>) -> Result<(), ParseError> {
    while let Some((&code, rest)) = area.split_first() {
        match code {
            code::PAD => area = rest,
            code::END => break,
            _ => {
                let (&length, rest) = rest.split_first().ok_or(ParseError::Cut(code))?;
                let (value, rest) = rest.split_at_checked(length.into()).ok_or(ParseError::Cut(code))?;
                options.entry(code).or_default().extend_from_slice(value);
                area = rest;
            }
        }
    }
    Ok(())
}

fn message_type(options: &BTreeMap<u8, Vec<u8>>) -> Result<Option<Type>, ParseError> {
    let code = code::MESSAGE_TYPE;
    let number = match options.get(&code).map(Vec::as_slice) {
        None => return Ok(None),
        Some(&[number]) => number,
        Some(other) => return Err(ParseError::Length { code, length: other.len() }),
    };
    Ok(Some(match number {
        1 => Type::Discover,
        2 => Type::Offer,
        3 => Type::Request,
        4 => Type::Decline,
        5 => Type::Ack,
        6 => Type::Nak,
        7 => Type::Release,
        8 => Type::Inform,
        other => return Err(ParseError::MessageType(other)),
    }))
}

fn address(options: &BTreeMap<u8, Vec<u8>>, code: u8) -> Result<Option<Ipv4Addr>, ParseError> {
    match options.get(&code) {
        None => Ok(None),
        Some(value) => match <[u8; 4]>::try_from(value.as_slice()) {
            Ok(address) => Ok(Some(address.into())),
            Err(_) => Err(ParseError::Length { code, length: value.len() }),
        },
    }
}
