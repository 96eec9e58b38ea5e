//! Machines that are nobody's: silence, or an address on loan.

use std::time::Duration;

use super::packet::{Packet, facts, option, reservation};
use crate::dhcp::{Asks, Decision, Directory, Lent, NetBoot, Reservation, Silence, Step, answer};
use sysclone_protocol::names::Mac;

/// Lends what it is told to, to whoever asks as expected.
struct Lender(Step, fn(Reservation) -> Lent);

impl Directory for Lender {
    fn by_mac(&self, _mac: &Mac) -> Option<Reservation> {
        None
    }

    fn lend(&self, asks: &Asks) -> Lent {
        assert_eq!((asks.step, asks.relay), (self.0, None));
        self.1(Reservation { is_power: asks.is_power, ..reservation(asks.mac, NetBoot::Auto) })
    }
}

fn hour(reservation: Reservation) -> Lent {
    Lent::Address(reservation, Duration::from_secs(3600))
}

fn decide(packet: &Packet, lender: &Lender) -> Decision {
    answer(&packet.bytes(), lender, &facts())
}

fn silence(decision: &Decision) -> &Silence {
    match decision {
        Decision::Silent { reason, .. } => reason,
        Decision::Reply { what, .. } => panic!("answered with {}", what.kind),
    }
}

#[test]
fn what_boots_is_lent_an_address_for_the_time_of_the_loan() {
    for (fixture, step, kind) in [
        ("ipxe-discover", Step::Looks, "OFFER"),
        ("edk2-pxe-discover", Step::Looks, "OFFER"),
        ("slof-discover", Step::Looks, "OFFER"),
        ("ipxe-request", Step::Has, "ACK"),
    ] {
        let mut packet = Packet::fixture(fixture);
        if step == Step::Has {
            packet = packet.with(50, &[10, 77, 0, 12]);
        }
        let decision = decide(&packet, &Lender(step, hour));
        let Decision::Reply { what, .. } = &decision else { panic!("{fixture}: silent") };
        assert_eq!(what.kind.to_string(), kind, "{fixture}");
        assert!(what.boot_file.is_some(), "{fixture}");
        assert_eq!(option(&decision, 51), Some(3600_u32.to_be_bytes().to_vec()), "{fixture}");
    }
}

#[test]
fn what_does_not_boot_or_cannot_give_back_is_lent_nothing() {
    let never = Lender(Step::Looks, |_| panic!("it asked for an address"));
    for fixture in ["dhclient-discover", "udhcpc-discover", "bootp", "dhclient-request"] {
        let decision = decide(&Packet::fixture(fixture), &never);
        assert!(matches!(silence(&decision), Silence::Unknown { .. }), "{fixture}");
    }
}

#[test]
fn every_other_answer_of_the_directory_is_silence_with_its_reason() {
    let packet = Packet::fixture("ipxe-discover");
    let says = |lent: fn(Reservation) -> Lent| silence(&decide(&packet, &Lender(Step::Looks, lent))).clone();
    assert_eq!(says(|_| Lent::Nothing), Silence::Unknown { mac: packet.mac() });
    assert_eq!(says(|_| Lent::Soon), Silence::Lending { mac: packet.mac() });
    assert_eq!(says(|_| Lent::Refused("all are lent".into())), Silence::NotLent("all are lent".into()));
}

#[test]
fn an_address_that_is_in_use_is_given_back() {
    let decline = Packet::fixture("dhclient-request").with(53, &[4]);
    let decision = decide(&decline, &Lender(Step::Declines, hour));
    assert!(matches!(silence(&decision), Silence::Declined { .. }));
}
