//! Asks a network who answers DHCP on it. A DISCOVER binds nobody, so asking changes nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use sysclone_protocol::names::Mac;

/// Servers that look whether an address is in use before they offer it take a second for that.
const PATIENCE: Duration = Duration::from_secs(3);
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const OPTIONS: usize = 240;
const BOOT_REPLY: u8 = 2;
const MESSAGE_TYPE: u8 = 53;
const OFFER: u8 = 2;
const SERVER_IDENTIFIER: u8 = 54;

/// Where and for whom to ask.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) interface: &'a str,
    /// The servers' port; clients have the next one.
    pub(super) port: u16,
    /// The machine that seems to ask.
    pub(super) mac: Mac,
}

/// The servers that offered something, with the address they offered; unspecified where it was a boot file only.
///
/// # Errors
/// The network cannot be asked.
pub(super) fn collect(question: &Question<'_>) -> io::Result<BTreeMap<Ipv4Addr, Ipv4Addr>> {
    let socket = open(question)?;
    let xid = std::process::id().to_be_bytes();
    socket.send_to(&discover(question.mac, xid), (Ipv4Addr::BROADCAST, question.port))?;
    let deadline = Instant::now() + PATIENCE;
    let mut offers = BTreeMap::new();
    let mut packet = [0; 2048];
    while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(&mut packet) {
            Ok((length, _)) => offers.extend(offer(&packet[..length], xid)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(offers)
}

fn open(question: &Question<'_>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // This machine may be a DHCP client itself.
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(question.interface.as_bytes()))?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, question.port.saturating_add(1)).into())?;
    Ok(socket.into())
}

/// What a PXE ROM sends, so that servers which answer only those are seen too.
fn discover(mac: Mac, xid: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0; OPTIONS];
    packet[..4].copy_from_slice(&[1, 1, 6, 0]);
    packet[4..8].copy_from_slice(&xid);
    packet[10] = 0x80;
    packet[28..34].copy_from_slice(&mac.0);
    packet[236..240].copy_from_slice(&COOKIE);
    packet.extend([MESSAGE_TYPE, 1, 1, 55, 4, 1, 3, 66, 67, 93, 2, 0, 0, 60, 9]);
    packet.extend(b"PXEClient");
    packet.push(255);
    packet.resize(300, 0);
    packet
}

/// Server and address of an offer to us. Anybody may have sent these bytes.
fn offer(packet: &[u8], xid: [u8; 4]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (header, mut options) = packet.split_at_checked(OPTIONS)?;
    if header[0] != BOOT_REPLY || header[4..8] != xid || header[236..] != COOKIE {
        return None;
    }
    let (mut kind, mut server) = (None, None);
    while let [code, rest @ ..] = options {
        options = match (code, rest) {
            (0, rest) => rest,
            (255, _) => break,
            (code, [length, rest @ ..]) => {
                let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                match *code {
                    MESSAGE_TYPE => kind = value.first().copied(),
                    SERVER_IDENTIFIER => server = <[u8; 4]>::try_from(value).ok(),
                    _ => {}
                }
                rest
            }
            (_, []) => return None,
        };
    }
    let offered = <[u8; 4]>::try_from(&header[16..20]).ok()?;
    (kind == Some(OFFER)).then_some((server?.into(), offered.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_read_and_all_else_is_passed_over() {
        let mut packet = discover(Mac([2, 0, 0, 0, 0, 1]), *b"abcd");
        assert_eq!(offer(&packet, *b"abcd"), None, "a request");
        packet[0] = BOOT_REPLY;
        packet[16..20].copy_from_slice(&[10, 0, 0, 7]);
        packet.truncate(OPTIONS);
        packet.extend([0, MESSAGE_TYPE, 1, OFFER, SERVER_IDENTIFIER, 4, 10, 0, 0, 9, 255]);
        let expected = (Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 7));
        assert_eq!(offer(&packet, *b"abcd"), Some(expected));
        assert_eq!(offer(&packet, *b"dcba"), None, "somebody else's");
        for length in 0..packet.len() - 1 {
            assert_eq!(offer(&packet[..length], *b"abcd"), None, "cut at {length}");
        }
    }
}
