//! Packets for the tests: fixtures, edited ones, and replies in readable form.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

use sysclone_protocol::names::Mac;

use crate::dhcp::{Decision, Mode, NetBoot, Reservation, ServerFacts, answer};

/// Where BOOTP's vendor area begins.
const AREA: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// A request that can be changed before it is sent.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) header: Vec<u8>,
    pub(super) options: Vec<(u8, Vec<u8>)>,
}

impl Packet {
    /// The fixture of that name.
    pub(super) fn fixture(name: &str) -> Self {
        let path = format!("{}/src/dhcp/fixtures/{name}.hex", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
        let bytes: Vec<u8> = (0..digits.len() / 2)
            .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        Self { header: bytes[..AREA].to_vec(), options: options(&bytes) }
    }

    pub(super) fn with(mut self, code: u8, value: &[u8]) -> Self {
        self = self.without(code);
        self.options.push((code, value.to_vec()));
        self
    }

    pub(super) fn without(mut self, code: u8) -> Self {
        self.options.retain(|(c, _)| *c != code);
        self
    }

    /// Sets an address field of the header: 12 ciaddr, 24 giaddr.
    pub(super) fn at(mut self, offset: usize, address: [u8; 4]) -> Self {
        self.header[offset..offset + 4].copy_from_slice(&address);
        self
    }

    pub(super) fn flags(mut self, flags: u16) -> Self {
        self.header[10..12].copy_from_slice(&flags.to_be_bytes());
        self
    }

    pub(super) fn mac(&self) -> Mac {
        Mac(self.header[28..34].try_into().unwrap())
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.clone();
        bytes.extend(COOKIE);
        for (code, value) in &self.options {
            bytes.extend([*code, value.len() as u8]);
            bytes.extend(value);
        }
        bytes.push(255);
        bytes
    }

    /// What the server decides when this packet's sender is `target` and boots by `netboot`.
    pub(super) fn decide(&self, netboot: NetBoot) -> Decision {
        let directory = HashMap::from([(self.mac(), reservation(self.mac(), netboot))]);
        answer(&self.bytes(), &directory, &facts())
    }
}

pub(super) fn facts() -> ServerFacts {
    ServerFacts {
        address: Ipv4Addr::new(10, 77, 0, 1),
        http_port: 8080,
        lease: Duration::from_secs(24 * 3600),
    }
}

/// The node `target` at 10.77.0.12.
pub(super) fn reservation(mac: Mac, netboot: NetBoot) -> Reservation {
    Reservation {
        is_power: false,
        node: "target".parse().unwrap(),
        mac,
        ip: Ipv4Addr::new(10, 77, 0, 12),
        prefix: 24,
        gateway: Some(Ipv4Addr::new(10, 77, 0, 254)),
        nameservers: vec![Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)],
        domain: Some("cluster.example".to_owned()),
        hostname: "target".to_owned(),
        netboot,
        mode: Mode::Full,
    }
}

/// The bytes of a reply.
pub(super) fn reply(decision: &Decision) -> &[u8] {
    match decision {
        Decision::Reply { bytes, .. } => bytes,
        Decision::Silent { reason, .. } => panic!("no reply: {reason}"),
    }
}

/// The options of a packet in their order.
pub(super) fn options(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    let Some(mut area) = bytes[AREA..].strip_prefix(&COOKIE) else { return found };
    loop {
        match *area {
            [0, ref rest @ ..] => area = rest,
            [255, ref rest @ ..] => {
                assert!(rest.iter().all(|b| *b == 0), "only padding may follow the end");
                return found;
            }
            [code, length, ref rest @ ..] => {
                let (value, rest) = rest.split_at(length.into());
                found.push((code, value.to_vec()));
                area = rest;
            }
            _ => panic!("options do not end"),
        }
    }
}

/// One option's value in a reply.
pub(super) fn option(decision: &Decision, code: u8) -> Option<Vec<u8>> {
    options(reply(decision)).into_iter().find(|(c, _)| *c == code).map(|(_, value)| value)
}

/// A decision as text for golden files.
pub(super) fn show(decision: &Decision) -> String {
    let (destination, bytes, what) = match decision {
        Decision::Silent { reason, mac } => return format!("silent: {reason}\nmac: {mac:?}\n"),
        Decision::Reply { destination, bytes, what } => (destination, bytes, what),
    };
    let address = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
    let text = |range: std::ops::Range<usize>| {
        String::from_utf8_lossy(bytes[range].split(|b| *b == 0).next().unwrap()).into_owned()
    };
    let mut out = String::new();
    let no_loader = if what.no_loader { ", no loader" } else { "" };
    let mut line = |line: String| writeln!(out, "{line}").unwrap();
    line(format!("{} for {} ({}{no_loader}) to {destination:?}", what.kind, what.node, what.client));
    line(format!(
        "{} bytes, op {} htype {} hlen {} hops {}",
        bytes.len(),
        bytes[0],
        bytes[1],
        bytes[2],
        bytes[3]
    ));
    line(format!("flags {:02x}{:02x} secs {}{}", bytes[10], bytes[11], bytes[8], bytes[9]));
    line(format!(
        "ciaddr {} yiaddr {} siaddr {} giaddr {}",
        address(12),
        address(16),
        address(20),
        address(24)
    ));
    line(format!("sname '{}' file '{}'", text(44..108), text(108..236)));
    for (code, value) in options(bytes) {
        line(format!("option {code:3}  {}", value_text(&value)));
    }
    out
}

fn value_text(value: &[u8]) -> String {
    let printable = value.len() > 2 && value.iter().all(|b| (0x20..0x7f).contains(b));
    if printable {
        return format!("'{}'", String::from_utf8_lossy(value));
    }
    let bytes: Vec<String> = value.iter().map(|b| format!("{b:02x}")).collect();
    bytes.join(" ")
}
