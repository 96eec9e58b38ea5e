//! A packet that makes the code fail costs that packet only.

use std::net::SocketAddr;
use std::sync::Arc;

use super::packet::{Packet, facts};
use crate::dhcp::serve::Door;
use crate::dhcp::{Directory, Listen, Reservation, Server};
use sysclone_protocol::names::Mac;

/// Fails for one machine and knows no other.
struct Failing(Mac);

impl Directory for Failing {
    fn by_mac(&self, mac: &Mac) -> Option<Reservation> {
        assert_ne!(*mac, self.0, "this panic is part of the test");
        None
    }
}

#[tokio::test]
async fn a_failure_on_one_packet_is_counted_and_the_next_is_served() {
    let bad = Packet::fixture("ipxe-discover");
    let good = Packet::fixture("dhclient-discover");
    let listen = Listen { interface: None, port: 0 };
    let mut server = Server::bind(&listen, facts(), Arc::new(Failing(bad.mac()))).unwrap();
    let from = SocketAddr::from(([127, 0, 0, 1], 68));
    for packet in [&bad, &good, &bad] {
        server.take(Door::Dhcp, &packet.bytes(), from).await;
    }
    let counts = server.counters().now();
    assert_eq!((counts.received, counts.panics, counts.unknown), (3, 2, 1));
}
