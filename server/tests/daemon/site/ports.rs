//! Ports that nobody uses.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{TcpListener, UdpSocket};

/// Ports below those that the kernel gives away by itself (32768 and more). Between the choice of a port and the
/// server's start, a connection or a test beside would get it sooner or later.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// Ports that are free for TCP and UDP. All are held while they are chosen, so that they differ.
pub(crate) fn free<const N: usize>() -> [u16; N] {
    let held: Vec<(TcpListener, UdpSocket)> = std::iter::repeat_with(one).flatten().take(N).collect();
    std::array::from_fn(|n| held[n].0.local_addr().unwrap().port())
}

fn one() -> Option<(TcpListener, UdpSocket)> {
    let port = FIRST + u16::try_from(RandomState::new().hash_one(()) % u64::from(COUNT)).ok()?;
    let tcp = TcpListener::bind(("127.0.0.1", port)).ok()?;
    let udp = UdpSocket::bind(("0.0.0.0", port)).ok()?;
    Some((tcp, udp))
}
