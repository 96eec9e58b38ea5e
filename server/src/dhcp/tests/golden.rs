//! Replies to what real clients sent (fixtures/), as golden files (snapshots/).

use super::packet::{Packet, show};
use crate::dhcp::NetBoot;

/// Compares with the golden file `name`.
fn golden(name: &str, packet: &Packet, netboot: NetBoot) {
    insta::assert_snapshot!(name, show(&packet.decide(netboot)));
}

#[test]
fn ipxe_gets_its_script_by_http() {
    golden("ipxe-discover-xnba", &Packet::fixture("ipxe-discover"), NetBoot::Xnba);
    let request = Packet::fixture("ipxe-request").with(50, &[10, 77, 0, 12]);
    golden("ipxe-request-xnba", &request, NetBoot::Xnba);
}

#[test]
fn ipxe_is_sent_to_another_loader_if_the_node_says_so() {
    golden("ipxe-discover-pxe", &Packet::fixture("ipxe-discover"), NetBoot::Pxe);
    golden("ipxe-discover-pxe-http", &Packet::fixture("ipxe-discover"), NetBoot::PxeHttp);
    golden("ipxe-discover-grub2", &Packet::fixture("ipxe-discover"), NetBoot::Grub2);
}

/// A ROM that is not iPXE: the same packet without what only iPXE sends.
#[test]
fn a_pxe_rom_is_given_ipxe_first() {
    let rom = Packet::fixture("ipxe-discover").without(77).without(175);
    golden("pxe-rom-discover-xnba", &rom, NetBoot::Xnba);
}

#[test]
fn what_fits_the_firmware_is_chosen_when_the_node_says_nothing() {
    golden("ipxe-discover-auto", &Packet::fixture("ipxe-discover"), NetBoot::Auto);
    golden("edk2-pxe-discover-auto", &Packet::fixture("edk2-pxe-discover"), NetBoot::Auto);
    golden("edk2-http-discover-auto", &Packet::fixture("edk2-http-discover"), NetBoot::Auto);
}

#[test]
fn uefi_is_given_ipxe_first_if_the_node_says_so() {
    golden("edk2-pxe-discover-xnba", &Packet::fixture("edk2-pxe-discover"), NetBoot::Xnba);
    golden("edk2-http-discover-xnba", &Packet::fixture("edk2-http-discover"), NetBoot::Xnba);
    let ipxe = Packet::fixture("edk2-pxe-discover").with(77, b"iPXE");
    golden("ipxe-on-uefi-discover-xnba", &ipxe, NetBoot::Xnba);
}

#[test]
fn slof_gets_its_address_and_grub() {
    golden("slof-discover", &Packet::fixture("slof-discover"), NetBoot::Grub2);
    let request = Packet::fixture("slof-request").with(50, &[10, 77, 0, 12]);
    golden("slof-request", &request, NetBoot::Grub2);
}

#[test]
fn a_system_gets_its_network_and_nothing_about_booting() {
    golden("dhclient-discover", &Packet::fixture("dhclient-discover"), NetBoot::Xnba);
    golden("udhcpc-discover", &Packet::fixture("udhcpc-discover"), NetBoot::Xnba);
}

#[test]
fn an_address_that_is_not_the_nodes_own_is_refused() {
    golden("dhclient-init-reboot-elsewhere", &Packet::fixture("dhclient-init-reboot"), NetBoot::Xnba);
}

#[test]
fn a_bootp_client_gets_a_reply_without_dhcp() {
    golden("bootp", &Packet::fixture("bootp"), NetBoot::Pxe);
}

#[test]
fn through_a_relay_its_information_comes_back_last() {
    let relayed = Packet::fixture("ipxe-discover").at(24, [10, 78, 0, 1]).with(82, b"\x01\x04port\x02\x02id");
    golden("ipxe-discover-relayed", &relayed, NetBoot::Xnba);
}

#[test]
fn a_release_needs_no_answer() {
    golden("dhclient-release", &Packet::fixture("dhclient-release"), NetBoot::Xnba);
}
