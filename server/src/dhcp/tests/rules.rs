//! The rules of RFC 2131 and of PXE, one by one.

use std::collections::HashMap;

use super::packet::{Packet, facts, option, options, reply, reservation};
use crate::dhcp::proxy::answer_on_boot_port;
use crate::dhcp::{
    Architecture, Client, Decision, Destination, Directory, Kind, Mode, NetBoot, ParseError, Program,
    Reservation, Silence, answer,
};
use sysclone_protocol::names::Mac;

const OWN: [u8; 4] = [10, 77, 0, 12];
const OTHER: [u8; 4] = [10, 77, 0, 99];
const NONE: [u8; 4] = [0; 4];
const SERVER: [u8; 4] = [10, 77, 0, 1];
const CIADDR: usize = 12;
const GIADDR: usize = 24;

/// A REQUEST with these fields; zero means absent.
fn request(server: [u8; 4], requested: [u8; 4], ciaddr: [u8; 4]) -> Packet {
    let mut packet = Packet::fixture("dhclient-request").without(54).without(50).at(CIADDR, ciaddr);
    for (code, value) in [(54, server), (50, requested)] {
        if value != NONE {
            packet = packet.with(code, &value);
        }
    }
    packet
}

fn silence(decision: Decision) -> Silence {
    match decision {
        Decision::Silent { reason, .. } => reason,
        Decision::Reply { what, .. } => panic!("answered with {}", what.kind),
    }
}

#[test]
fn each_state_of_a_client_gets_what_the_rfc_says() {
    let broadcast = Destination::Broadcast;
    let unicast = |address: [u8; 4]| Destination::Client(address.into());
    for (state, server, requested, ciaddr, kind, to) in [
        ("selecting", SERVER, OWN, NONE, "ACK", broadcast),
        ("selecting another address", SERVER, OTHER, NONE, "NAK", broadcast),
        ("init-reboot", NONE, OWN, NONE, "ACK", broadcast),
        ("init-reboot elsewhere", NONE, OTHER, NONE, "NAK", broadcast),
        ("renewing", NONE, NONE, OWN, "ACK", unicast(OWN)),
        ("renewing an old address", NONE, NONE, OTHER, "NAK", broadcast),
    ] {
        let Decision::Reply { destination, what, bytes } =
            request(server, requested, ciaddr).decide(NetBoot::Xnba)
        else {
            panic!("{state}: silent");
        };
        assert_eq!((what.kind.to_string().as_str(), destination), (kind, to), "{state}");
        if kind == "NAK" {
            assert_eq!(bytes[16..24], [0; 8], "{state}: a NAK names no address");
        } else {
            assert_eq!(bytes[16..20], OWN, "{state}");
            assert_eq!(bytes[12..16], ciaddr, "{state}");
        }
    }
}

#[test]
fn who_chose_another_server_or_names_no_address_is_left_alone() {
    let elsewhere = request([10, 77, 0, 77], OWN, NONE).decide(NetBoot::Xnba);
    assert_eq!(silence(elsewhere), Silence::OtherServer([10, 77, 0, 77].into()));
    assert_eq!(silence(request(NONE, NONE, NONE).decide(NetBoot::Xnba)), Silence::NoAddress);
}

#[test]
fn release_and_decline_are_noted_and_not_answered() {
    let release = request(SERVER, NONE, OWN).with(53, &[7]).decide(NetBoot::Xnba);
    assert!(matches!(silence(release), Silence::Released { ip, .. } if ip.octets() == OWN));
    let decline = request(SERVER, OWN, NONE).with(53, &[4]).decide(NetBoot::Xnba);
    let reason = silence(decline);
    assert!(reason.to_string().contains("another machine on the network uses it"), "{reason}");
}

#[test]
fn an_inform_is_answered_without_address_and_times() {
    let decision = request(NONE, NONE, OTHER).with(53, &[8]).decide(NetBoot::Xnba);
    assert_eq!(reply(&decision)[16..20], [0; 4]);
    for code in [51, 58, 59] {
        assert_eq!(option(&decision, code), None, "option {code}");
    }
    assert_eq!(option(&decision, 1), Some(vec![255, 255, 255, 0]));
    let Decision::Reply { destination, .. } = decision else { unreachable!("it was a reply above") };
    assert_eq!(destination, Destination::Client(OTHER.into()));
}

#[test]
fn replies_go_where_the_client_can_hear_them() {
    let relay = [10, 78, 0, 1];
    for (what, packet, expected) in [
        ("no address", request(SERVER, OWN, NONE), Destination::Broadcast),
        ("renewing, wants broadcast", request(NONE, NONE, OWN).flags(0x8000), Destination::Broadcast),
        ("relayed", request(SERVER, OWN, NONE).at(GIADDR, relay), Destination::Relay(relay.into())),
        ("relayed NAK", request(SERVER, OTHER, NONE).at(GIADDR, relay), Destination::Relay(relay.into())),
    ] {
        let Decision::Reply { destination, bytes, .. } = packet.decide(NetBoot::Xnba) else {
            panic!("{what}: silent");
        };
        assert_eq!(destination, expected, "{what}");
        assert_eq!(bytes[24..28], packet.header[24..28], "{what}: giaddr");
        if what == "relayed NAK" {
            assert_eq!(bytes[10] & 0x80, 0x80, "the relay has to broadcast it");
        }
    }
}

#[test]
fn a_stranger_gets_silence_and_the_administrator_the_command() {
    let packet = Packet::fixture("ipxe-discover");
    let decision = answer(&packet.bytes(), &HashMap::new(), &facts());
    let Decision::Silent { reason, mac } = decision else { panic!("answered") };
    assert_eq!(mac, Some(packet.mac()));
    assert!(
        reason.to_string().contains("mkdef -t node -o <name> groups=all mac=52:54:00:77:00:02"),
        "{reason}"
    );
}

#[test]
fn what_the_directory_knows_about_an_incomplete_node_is_said() {
    struct Incomplete;
    impl Directory for Incomplete {
        fn by_mac(&self, _mac: &Mac) -> Option<Reservation> {
            None
        }
        fn why_not(&self, _mac: &Mac) -> Option<String> {
            Some("node n1 has no ip; set it: chdef n1 ip=<address>".to_owned())
        }
    }
    let reason = silence(answer(&Packet::fixture("ipxe-discover").bytes(), &Incomplete, &facts()));
    assert_eq!(reason.to_string(), "node n1 has no ip; set it: chdef n1 ip=<address>");
}

#[test]
fn packets_that_are_no_requests_are_named_for_what_they_are() {
    let good = Packet::fixture("ipxe-discover");
    let edit = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.bytes();
        change(&mut bytes);
        bytes
    };
    for (bytes, expected) in [
        (vec![], ParseError::Short(0)),
        (vec![1; 235], ParseError::Short(235)),
        (edit(&|b| b[0] = 2), ParseError::NotARequest),
        (edit(&|b| b[1] = 32), ParseError::Hardware { htype: 32, hlen: 6 }),
        (edit(&|b| b[2] = 200), ParseError::Hardware { htype: 1, hlen: 200 }),
        (edit(&|b| b[28..34].fill(0)), ParseError::NotAnInterface(Mac([0; 6]))),
        (edit(&|b| b[28..34].fill(255)), ParseError::NotAnInterface(Mac([255; 6]))),
        (edit(&|b| b.truncate(b.len() - 2)), ParseError::Cut(97)),
        (good.clone().with(53, &[]).bytes(), ParseError::Length { code: 53, length: 0 }),
        (good.clone().with(53, &[9]).bytes(), ParseError::MessageType(9)),
        (good.clone().with(50, &[1, 2]).bytes(), ParseError::Length { code: 50, length: 2 }),
        (good.clone().with(54, &[0; 8]).bytes(), ParseError::Length { code: 54, length: 8 }),
        (good.clone().with(52, &[]).bytes(), ParseError::Length { code: 52, length: 0 }),
    ] {
        assert_eq!(silence(answer(&bytes, &HashMap::new(), &facts())), Silence::Malformed(expected));
    }
    for server_message in [2, 5, 6] {
        assert_eq!(
            silence(good.clone().with(53, &[server_message]).decide(NetBoot::Xnba)),
            Silence::FromServer
        );
    }
}

#[test]
fn options_hidden_in_the_file_and_name_fields_are_found() {
    let mut packet = Packet::fixture("dhclient-request").without(50).with(52, &[3]);
    packet.header[108..115].copy_from_slice(&[50, 4, 10, 77, 0, 12, 255]);
    packet.header[44..49].copy_from_slice(&[60, 2, b'h', b'i', 255]);
    let Decision::Reply { what, .. } = packet.decide(NetBoot::Xnba) else { panic!("silent") };
    assert_eq!(what.kind, Kind::Ack);
}

fn client_of(packet: &Packet) -> Client {
    match packet.decide(NetBoot::Xnba) {
        Decision::Reply { what, .. } => what.client,
        Decision::Silent { reason, .. } => panic!("{reason}"),
    }
}

#[test]
fn clients_are_told_apart_by_what_they_say() {
    let booting = |program, architecture| Client::Booting { program, architecture };
    let plain = || Packet::fixture("dhclient-discover");
    let number = Architecture::Number;
    for (what, packet, expected) in [
        ("dhclient", plain(), Client::System),
        ("iPXE as text", plain().with(77, b"iPXE"), booting(Program::Ipxe, Architecture::Unsaid)),
        ("iPXE by RFC 3004", plain().with(77, b"\x04iPXE"), booting(Program::Ipxe, Architecture::Unsaid)),
        ("xNBA", plain().with(77, b"xNBA").with(93, &[0, 0]), booting(Program::Ipxe, number(0))),
        ("another class", plain().with(77, b"\x04linux"), Client::System),
        ("an empty class", plain().with(77, b""), Client::System),
        (
            "PXE by class only",
            plain().with(60, b"PXEClient:Arch:00007:UNDI"),
            booting(Program::Pxe, number(7)),
        ),
        (
            "PXE without digits",
            plain().with(60, b"PXEClient:Arch:x"),
            booting(Program::Pxe, Architecture::Unsaid),
        ),
        ("bare PXE", plain().with(60, b"PXEClient"), booting(Program::Pxe, Architecture::Unsaid)),
        (
            "first of several",
            plain().with(60, b"PXEClient").with(93, &[0, 9, 0, 7]),
            booting(Program::Pxe, number(9)),
        ),
        (
            "BIOS among several",
            plain().with(60, b"PXEClient").with(93, &[0, 7, 0, 0]),
            booting(Program::Pxe, number(0)),
        ),
        (
            "odd bytes",
            plain().with(60, b"PXEClient").with(93, &[0]),
            booting(Program::Pxe, Architecture::Unsaid),
        ),
        (
            "U-Boot",
            plain().with(60, b"U-Boot.armv8").with(55, &[1, 67]),
            booting(Program::Other, Architecture::Unsaid),
        ),
        ("EDK2 HTTP", Packet::fixture("edk2-http-discover"), booting(Program::HttpBoot, number(16))),
        ("SLOF", Packet::fixture("slof-request").with(50, &OWN), booting(Program::Other, number(12))),
    ] {
        assert_eq!(client_of(&packet), expected, "{what}");
    }
}

#[test]
fn the_boot_file_fits_the_firmware_and_the_nodes_netboot() {
    let rom = || Packet::fixture("ipxe-discover").without(77);
    let ipxe = || Packet::fixture("ipxe-discover");
    let uefi = || Packet::fixture("edk2-pxe-discover");
    let http = || Packet::fixture("edk2-http-discover");
    // It says what it is by its second message.
    let slof = || Packet::fixture("slof-request").with(50, &OWN);
    let script = "http://10.77.0.1:8080/boot/ipxe/52-54-00-77-00-02";
    let shim = "efi/shimx64.efi";
    for (packet, netboot, expected) in [
        (rom(), NetBoot::Xnba, Some("undionly.kpxe")),
        (ipxe(), NetBoot::Xnba, Some(script)),
        (rom(), NetBoot::Pxe, Some("pxelinux.0")),
        (ipxe(), NetBoot::Pxe, Some("pxelinux.0")),
        (ipxe(), NetBoot::PxeHttp, Some("lpxelinux.0")),
        (uefi(), NetBoot::PxeHttp, Some(shim)),
        (rom(), NetBoot::Grub2, Some("grub2/i386-pc/core.0")),
        (Packet::fixture("bootp"), NetBoot::Xnba, Some("undionly.kpxe")),
        (rom().without(93).with(60, b"PXEClient"), NetBoot::Pxe, Some("pxelinux.0")),
        (rom(), NetBoot::Auto, Some("undionly.kpxe")),
        (ipxe(), NetBoot::Auto, Some(script)),
        (uefi(), NetBoot::Auto, Some(shim)),
        (uefi(), NetBoot::Grub2, Some(shim)),
        (uefi(), NetBoot::Pxe, Some(shim)),
        (uefi(), NetBoot::Xnba, Some("snponly.efi")),
        (uefi().with(77, b"iPXE"), NetBoot::Grub2, Some(shim)),
        (uefi().without(93).with(93, &[0, 11]), NetBoot::Auto, None),
        (http(), NetBoot::Auto, Some("http://10.77.0.1:8080/boot/snponly.efi")),
        (http(), NetBoot::Grub2, Some("http://10.77.0.1:8080/boot/snponly.efi")),
        (http(), NetBoot::Xnba, Some("http://10.77.0.1:8080/boot/snponly.efi")),
        (Packet::fixture("slof-discover"), NetBoot::Grub2, None),
        (slof(), NetBoot::Auto, Some("grub2/powerpc-ieee1275/core.elf")),
        (slof(), NetBoot::Grub2, Some("grub2/powerpc-ieee1275/core.elf")),
        (slof(), NetBoot::Yaboot, Some("yaboot")),
        (slof(), NetBoot::Petitboot, Some("")),
        (Packet::fixture("dhclient-discover"), NetBoot::Pxe, None),
    ] {
        let Decision::Reply { what, .. } = packet.decide(netboot) else { panic!("silent") };
        assert_eq!(what.boot_file.as_deref(), expected, "{} {netboot:?}", what.client);
    }
}

#[test]
fn a_power_machine_is_known_by_its_node_when_it_does_not_say_what_it_is() {
    let core = "grub2/powerpc-ieee1275/core.elf";
    // Whoever says that it is a PC is believed.
    for (fixture, expected) in
        [("slof-discover", core), ("bootp", core), ("ipxe-discover", "grub2/i386-pc/core.0")]
    {
        let packet = Packet::fixture(fixture);
        let node = Reservation { is_power: true, ..reservation(packet.mac(), NetBoot::Grub2) };
        let decision = answer(&packet.bytes(), &HashMap::from([(node.mac, node)]), &facts());
        let Decision::Reply { what, .. } = decision else { panic!("silent") };
        assert_eq!(what.boot_file.as_deref(), Some(expected), "{fixture}");
    }
}

#[test]
fn a_reply_keeps_within_what_the_client_can_take_and_drops_the_least_needed() {
    let long = vec![7; 200];
    let packet = Packet::fixture("ipxe-discover").without(57).with(82, &long).with(61, &[1; 100]);
    let decision = packet.decide(NetBoot::Pxe);
    assert!(reply(&decision).len() <= 576 - 28, "{} bytes", reply(&decision).len());
    assert_eq!(option(&decision, 82), Some(long));
    for needed in [53, 54, 51, 1] {
        assert!(option(&decision, needed).is_some(), "option {needed}");
    }
    assert_eq!(option(&decision, 59), None);
    let roomy = packet.with(57, &1500u16.to_be_bytes()).decide(NetBoot::Pxe);
    assert!(option(&roomy, 59).is_some());
    assert_eq!(options(reply(&roomy)).last().map(|(code, _)| *code), Some(82));
}

#[test]
fn identifiers_come_back_unchanged() {
    let uuid = [&[0u8][..], &[0xab; 16]].concat();
    let decision = Packet::fixture("ipxe-discover").with(97, &uuid).decide(NetBoot::Xnba);
    assert_eq!(option(&decision, 97), Some(uuid));
    assert_eq!(option(&decision, 61), Some(vec![1, 0x52, 0x54, 0, 0x77, 0, 2]));
    let short = Packet::fixture("ipxe-discover").with(97, &[0, 1]).decide(NetBoot::Xnba);
    assert_eq!(option(&short, 97), None, "a UUID of a wrong length is not repeated");
}

#[test]
fn prefixes_become_masks() {
    for (prefix, mask) in [(0, [0, 0, 0, 0]), (1, [128, 0, 0, 0]), (20, [255, 255, 240, 0]), (32, [255; 4])] {
        let packet = Packet::fixture("dhclient-discover");
        let node = Reservation { prefix, ..reservation(packet.mac(), NetBoot::Xnba) };
        let decision = answer(&packet.bytes(), &HashMap::from([(node.mac, node)]), &facts());
        assert_eq!(option(&decision, 1), Some(mask.to_vec()), "/{prefix}");
    }
}

fn decide_in(mode: Mode, packet: &Packet) -> Decision {
    let node = Reservation { mode, ..reservation(packet.mac(), NetBoot::Auto) };
    answer(&packet.bytes(), &HashMap::from([(node.mac, node)]), &facts())
}

#[test]
fn beside_another_server_only_the_boot_file_is_told() {
    for (name, class, file) in [
        ("ipxe-discover", "PXEClient", "http://10.77.0.1:8080/boot/ipxe/"),
        ("edk2-pxe-discover", "PXEClient", "efi/shimx64.efi"),
        ("edk2-http-discover", "HTTPClient", "http://10.77.0.1:8080/boot/snponly.efi"),
    ] {
        let decision = decide_in(Mode::Proxy, &Packet::fixture(name));
        let bytes = reply(&decision);
        assert_eq!((&bytes[16..20], &bytes[20..24]), (&NONE[..], &SERVER[..]), "{name}");
        assert_eq!(option(&decision, 60).as_deref(), Some(class.as_bytes()), "{name}");
        assert!(option(&decision, 67).is_some_and(|told| told.starts_with(file.as_bytes())), "{name}");
        for network in [1, 3, 6, 12, 15, 51, 58, 59] {
            assert_eq!(option(&decision, network), None, "{name}: option {network} is the other server's");
        }
        let relayed = decide_in(Mode::Proxy, &Packet::fixture(name).at(GIADDR, [10, 9, 0, 1]));
        let Decision::Reply { destination, .. } = relayed else { panic!("{name}: silent") };
        assert_eq!(destination, Destination::Relay([10, 9, 0, 1].into()), "{name}");
    }
}

#[test]
fn what_is_another_servers_is_not_answered() {
    let foreign = |mode, packet: &Packet| matches!(silence(decide_in(mode, packet)), Silence::Foreign { .. });
    let system = Packet::fixture("dhclient-request").with(53, &[1]).without(54);
    assert!(foreign(Mode::Proxy, &system), "an address");
    let refused = request(NONE, OTHER, NONE);
    assert!(foreign(Mode::Proxy, &refused), "a NAK would take the other server's address away");
    assert!(foreign(Mode::Off, &Packet::fixture("ipxe-discover")));
}

/// PXE 2.1: the request on port 4011 is answered to where it came from, on networks with another server only.
#[test]
fn the_boot_port_answers_beside_another_server_only() {
    let packet = Packet::fixture("ipxe-request").without(54).at(CIADDR, [10, 77, 50, 1]);
    let ask = |mode| {
        let node = Reservation { mode, ..reservation(packet.mac(), NetBoot::Auto) };
        answer_on_boot_port(&packet.bytes(), &HashMap::from([(node.mac, node)]), &facts())
    };
    let decision = ask(Mode::Proxy);
    let Decision::Reply { destination, ref bytes, .. } = decision else { panic!("silent") };
    assert_eq!(destination, Destination::Sender);
    assert_eq!((option(&decision, 53), &bytes[16..20]), (Some(vec![5]), &NONE[..]));
    assert!(matches!(silence(ask(Mode::Full)), Silence::Foreign { .. }));
    assert!(matches!(silence(ask(Mode::Off)), Silence::Foreign { .. }));
}
