//! The server's address, and its ports as a client reaches them.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::app::App;
use crate::sockets::check_address;
use crate::wire::probe::Check;

/// A server on the same machine answers in milliseconds, a busy one in a second.
const PATIENCE: Duration = Duration::from_secs(3);
/// Read request of the loader that every BIOS machine gets first (RFC 1350 section 5).
const READ_REQUEST: &[u8] = b"\0\x01undionly.kpxe\0octet\0";
/// "Option negotiation failed" (RFC 2347): ends a transfer at once.
const END_TRANSFER: &[u8] = b"\0\x05\0\x08probe\0";
const TFTP_ERROR: u8 = 5;

/// The address that nodes are told.
pub(super) fn address(app: &App) -> Check {
    let address = app.config.listen.address;
    match check_address(&app.config) {
        Ok(()) => Check::good("address", format!("{address} is an address of this machine")),
        Err(error) => Check::failed("address", format!("{error:#}"), "give this machine its address back"),
    }
}

/// HTTP, HTTPS and TFTP.
pub(super) fn services(app: &App) -> Vec<Check> {
    let listen = &app.config.listen;
    let at = |port| SocketAddr::from((listen.address, port));
    let blocked = "look for a packet filter on this machine (nft list ruleset), then restart syscloned";
    let said = |subject: &str, port: u16, result: io::Result<()>| match result {
        Ok(()) => Check::good(subject, format!("answers on {}", at(port))),
        Err(error) => Check::failed(subject, format!("no answer on {}: {error}", at(port)), blocked),
    };
    let mut checks = vec![
        said("http", listen.http_port, http(at(listen.http_port))),
        said(
            "https",
            listen.https_port,
            TcpStream::connect_timeout(&at(listen.https_port), PATIENCE).map(drop),
        ),
    ];
    checks.push(match listen.tftp_port {
        Some(port) => said("tftp", port, tftp(at(port))),
        None => Check::warning(
            "tftp",
            "is switched off",
            "only UEFI HTTP boot works without it; set listen.tftp_port",
        ),
    });
    checks
}

fn http(at: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"HEAD /boot/undionly.kpxe HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")?;
    let mut start = [0; 5];
    stream.read_exact(&mut start)?;
    if &start == b"HTTP/" { Ok(()) } else { Err(io::Error::other("what answers is not HTTP")) }
}

fn tftp(at: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((at.ip(), 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(READ_REQUEST, at)?;
    let mut reply = [0; 1024];
    let (length, from) = socket.recv_from(&mut reply)?;
    match reply[..length] {
        [0, TFTP_ERROR, ..] => Err(io::Error::other("undionly.kpxe is not served")),
        _ => socket.send_to(END_TRANSFER, from).map(drop),
    }
}
