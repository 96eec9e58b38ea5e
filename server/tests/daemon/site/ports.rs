//! Ports that nobody uses.

use std::net::{TcpListener, UdpSocket};

/// Four ports that are free for TCP and UDP. All are held while they are chosen, so that they differ.
pub(super) fn free() -> [u16; 4] {
    let held: Vec<(TcpListener, UdpSocket)> = std::iter::repeat_with(one).flatten().take(4).collect();
    std::array::from_fn(|n| held[n].0.local_addr().unwrap().port())
}

fn one() -> Option<(TcpListener, UdpSocket)> {
    let tcp = TcpListener::bind("127.0.0.1:0").ok()?;
    let udp = UdpSocket::bind(("0.0.0.0", tcp.local_addr().ok()?.port())).ok()?;
    Some((tcp, udp))
}
