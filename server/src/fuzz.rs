//! What fuzzing calls: each function gives bytes from anybody to one parser and holds it to its promises. In no
//! build but those of tests and `cargo fuzz`.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use sysclone_protocol::names::Mac;

use crate::config::parse_config;
use crate::define::parse_disk_rules;
use crate::dhcp::{Decision, Directory, Mode, NetBoot, Reservation, ServerFacts, answer};
use crate::http::{Wanted, parse_range};
use crate::noderange::{MAX_NAMES, NodeSource, Range};
use crate::wire::{ChangeRequest, NodesetRequest, RangeRequest};

/// Every packet that can be answered is: all machines are known.
struct Everybody;

impl Directory for Everybody {
    fn by_mac(&self, mac: &Mac) -> Option<Reservation> {
        Some(Reservation {
            is_power: mac.0[4] % 2 == 1,
            node: "target".parse().expect("this is a name"),
            mac: *mac,
            ip: Ipv4Addr::new(10, 77, 0, 12),
            prefix: 24,
            gateway: Some(Ipv4Addr::new(10, 77, 0, 254)),
            nameservers: vec![Ipv4Addr::new(10, 77, 0, 1)],
            domain: Some("cluster.example".to_owned()),
            hostname: "target".to_owned(),
            netboot: [NetBoot::Xnba, NetBoot::Pxe, NetBoot::Grub2][usize::from(mac.0[5]) % 3],
            mode: [Mode::Full, Mode::Proxy, Mode::Off][usize::from(mac.0[4]) % 3],
        })
    }
}

/// A DHCP packet.
pub fn dhcp_packet(bytes: &[u8]) {
    let facts = ServerFacts {
        address: Ipv4Addr::new(10, 77, 0, 1),
        http_port: 8080,
        lease: Duration::from_secs(86400),
    };
    if let Decision::Reply { bytes: reply, .. } = answer(bytes, &Everybody, &facts) {
        assert!((300..=1472).contains(&reply.len()), "{} bytes", reply.len());
        assert_eq!((reply[0], &reply[4..8], &reply[28..34]), (2, &bytes[4..8], &bytes[28..34]));
    }
}

/// A few nodes.
struct Rack;

impl NodeSource for Rack {
    fn nodes(&self) -> Vec<String> {
        (1..=4).map(|n| format!("node{n}")).collect()
    }

    fn has_node(&self, name: &str) -> bool {
        self.nodes().iter().any(|node| node == name)
    }

    fn group(&self, name: &str) -> Option<Vec<String>> {
        (name == "all").then(|| self.nodes())
    }

    fn has_attribute(&self, name: &str) -> bool {
        name == "arch"
    }

    fn attribute(&self, node: &str, _: &str) -> Option<String> {
        (node != "node4").then(|| "x86_64".to_owned())
    }
}

/// A node range: read and evaluated, or refused with a reason.
pub fn node_range(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let selected = text.parse::<Range>().and_then(|range| range.evaluate(&Rack));
    match selected {
        Ok(selection) => {
            assert!(selection.nodes.len() <= 4 && selection.unknown.len() as u64 <= MAX_NAMES);
            assert!(selection.nodes.is_sorted());
        }
        Err(refusal) => drop(refusal.to_string()),
    }
}

/// The length of a content, then the header of a request for a part of it.
pub fn http_range(bytes: &[u8]) {
    let Some((length, header)) = bytes.split_first_chunk() else { return };
    let length = u64::from_le_bytes(*length);
    if let Wanted::Part(range) = parse_range(&String::from_utf8_lossy(header), length) {
        assert!(range.start < range.end && range.end <= length, "{range:?} of {length}");
    }
}

/// What an administrator writes: a rule for disks, the configuration, or what the command line sends.
pub fn definition(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    drop(parse_disk_rules(&text));
    drop(parse_config(&text, Path::new("/etc/sysclone/sysclone.toml")));
    drop(serde_json::from_slice::<ChangeRequest>(bytes));
    drop(serde_json::from_slice::<NodesetRequest>(bytes));
    drop(serde_json::from_slice::<RangeRequest>(bytes));
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_are_kept_hold() {
        replay::replay("dhcp_packet", dhcp_packet);
        replay::replay("node_range", node_range);
        replay::replay("http_range", http_range);
        replay::replay("definition", definition);
    }
}
