//! What fuzzing calls: bytes from anybody as one packet. In no build but those of tests and `cargo fuzz`.

use crate::negotiate::negotiate;
use crate::packet::Packet;

/// A packet, and what is agreed on when it is a request.
pub fn tftp_packet(bytes: &[u8]) {
    let Ok(packet) = Packet::parse(bytes) else { return };
    if let Packet::Read(request) | Packet::Write(request) = &packet {
        for size in [0, 1, u64::MAX] {
            let terms = negotiate(&request.options, size, 1428);
            assert!((8..=1428).contains(&terms.block_size) && (1..=64).contains(&terms.window));
        }
    }
    let mut written = Vec::new();
    packet.encode_into(&mut written);
    assert_eq!(Packet::parse(&written).as_ref(), Ok(&packet));
}

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    #[test]
    fn inputs_that_are_kept_hold() {
        super::replay::replay("tftp_packet", super::tftp_packet);
    }
}
