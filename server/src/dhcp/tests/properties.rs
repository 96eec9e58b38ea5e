//! Whatever comes, the server neither fails nor answers with something malformed.

use proptest::prelude::*;

use super::packet::{Packet, facts, options, reservation};
use crate::dhcp::{Decision, Directory, NetBoot, Reservation, answer};
use sysclone_protocol::names::Mac;

/// Knows everybody, so that every packet that can be answered is.
struct Everybody;

impl Directory for Everybody {
    fn by_mac(&self, mac: &Mac) -> Option<Reservation> {
        Some(reservation(*mac, [NetBoot::Xnba, NetBoot::Pxe, NetBoot::Grub2][usize::from(mac.0[5]) % 3]))
    }
}

/// Any reply is a BOOTP reply of legal size whose options can be read.
fn check(bytes: &[u8]) {
    if let Decision::Reply { bytes, .. } = answer(bytes, &Everybody, &facts()) {
        assert_eq!(bytes[0], 2);
        assert!((300..=1472).contains(&bytes.len()), "{} bytes", bytes.len());
        options(&bytes);
    }
}

fn fixture() -> impl Strategy<Value = Packet> {
    let names = ["ipxe-discover", "edk2-pxe-request", "slof-request", "dhclient-request", "bootp"];
    prop::sample::select(names.to_vec()).prop_map(Packet::fixture)
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        check(&bytes);
    }

    #[test]
    fn arbitrary_options_never_panic(
        packet in fixture(),
        changes in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..255)), 0..8),
        repeats in 1usize..4,
    ) {
        let mut packet = packet;
        for _ in 0..repeats {
            for (code, value) in &changes {
                packet.options.push((*code, value.clone()));
            }
        }
        check(&packet.bytes());
    }

    #[test]
    fn a_flipped_or_cut_packet_never_panics(
        packet in fixture(), at in any::<prop::sample::Index>(), byte: u8, length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = packet.bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        check(&bytes);
        bytes.truncate(length.index(bytes.len()));
        check(&bytes);
    }
}
