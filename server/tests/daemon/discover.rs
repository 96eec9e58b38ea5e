//! Machines that are nobody's, from their first packet until they are nodes, as the daemon sees it on loopback: it is
//! asked by a relay, which is this test.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::site::{Site, outcomes};

const RELAY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const STRANGER: &str = "52:54:00:77:00:99";
const UUID: &str = "11111111-2222-3333-4444-555555555555";
const SERIAL: &str = "LAB-1";
const LIMIT: Duration = Duration::from_secs(60);
/// Nothing comes in this time when nothing is to come: the server answers in microseconds.
const SILENCE: Duration = Duration::from_millis(700);

/// A network for all of loopback with three addresses to lend.
fn site(discovery: &str) -> Site {
    let site = Site::started();
    site.define(
        "network",
        "lo",
        &[
            ("net", "127.0.0.0"),
            ("mask", "255.0.0.0"),
            ("dynamicrange", "127.0.9.1-127.0.9.3"),
            ("discovery", discovery),
        ],
    );
    site
}

struct Relay(UdpSocket, u16);

impl Relay {
    fn new(site: &Site) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        // The server has the port, too, on all addresses.
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((RELAY, site.dhcp)).into()).unwrap();
        Self(socket.into(), site.dhcp)
    }

    /// The address in the answer to a packet of this kind; with `boots` it comes from a PXE ROM.
    fn ask(&self, mac: &str, kind: u8, limit: Duration) -> Option<(u8, Ipv4Addr)> {
        let mac: sysclone_protocol::names::Mac = mac.parse().unwrap();
        let mut packet = vec![0; 236];
        packet[..4].copy_from_slice(&[1, 1, 6, 1]);
        packet[24..28].copy_from_slice(&RELAY.octets());
        packet[28..34].copy_from_slice(&mac.0);
        packet.extend([99, 130, 83, 99, 53, 1, kind, 55, 4, 1, 3, 66, 67, 93, 2, 0, 0, 60, 9]);
        packet.extend(b"PXEClient");
        if kind == 3 {
            packet.extend([54, 4, 127, 0, 0, 1, 50, 4]);
            packet.extend(self.ask(&mac.to_string(), 1, limit)?.1.octets());
        }
        packet.push(255);
        self.0.send_to(&packet, (Ipv4Addr::LOCALHOST, self.1)).unwrap();
        self.0.set_read_timeout(Some(limit)).unwrap();
        let mut answer = [0; 1500];
        let length = self.0.recv(&mut answer).ok()?;
        let options = &answer[240..length];
        assert_eq!(&options[..2], [53, 1]);
        Some((options[2], Ipv4Addr::new(answer[16], answer[17], answer[18], answer[19])))
    }

    /// The address that a machine is lent for good. The first answer waits for the disk.
    fn lease(&self, mac: &str) -> Ipv4Addr {
        let began = Instant::now();
        loop {
            match self.ask(mac, 3, SILENCE) {
                Some((5, ip)) => return ip,
                other => assert!(began.elapsed() < LIMIT, "{other:?}"),
            }
        }
    }
}

fn config(mac: &str) -> String {
    format!("ipxe/{}", mac.replace(':', "-"))
}

/// A booted machine: what its kernel command line says, as its report.
fn report(site: &Site, mac: &str, ip: Ipv4Addr) -> Value {
    let config = site.boot_config(&config(mac), &ip.to_string());
    assert!(config.contains("x86_64/kernel") && config.contains(&format!("sysclone.ip={ip}/8")), "{config}");
    assert!(!config.contains("sysclone.ticket"), "{config}");
    let token = config.split_ascii_whitespace().find_map(|word| word.strip_prefix("sysclone.discover="));
    json!({ "mac": mac, "token": token.expect("it is to be discovered") })
}

fn machine(mac: &str, serial: &str, uuid: &str) -> Value {
    json!({
        "inventory": {
            "arch": "x86_64", "uuid": uuid, "serial": serial, "model": "QEMU PC\u{1b}[31m",
            "nics": [{ "name": "eth0", "mac": mac }],
        },
        "product": "PC",
    })
}

fn say(site: &Site, report: &Value) -> Value {
    let answer = site.agent_json("discover", None, report);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Boots and says what it is.
fn discovered(site: &Site, relay: &Relay, (mac, serial, uuid): (&str, &str, &str)) -> Value {
    let ip = relay.lease(mac);
    let mut report = report(site, mac, ip);
    assert_eq!(say(site, &report)["tell"], json!(true));
    report["machine"] = machine(mac, serial, uuid);
    assert_eq!(say(site, &report)["tell"], json!(false));
    report.as_object_mut().unwrap().remove("machine");
    report
}

fn attribute(site: &Site, node: &str, name: &str) -> Option<String> {
    let objects = site.admin("GET", &format!("objects/node?names={node}"), None).json();
    objects[node][name].as_str().map(str::to_owned)
}

#[test]
fn nothing_is_lent_while_discovery_is_off() {
    for off in ["no", ""] {
        let site = site(off);
        let relay = Relay::new(&site);
        assert_eq!(relay.ask(STRANGER, 1, SILENCE), None);
        assert!(site.has_event("dhcp-unknown", STRANGER));
        let answer = site.get(&format!("/boot/{}", config(STRANGER)), &[]);
        assert_eq!(answer.status, 404);
    }
}

#[test]
fn a_stranger_is_listed_and_becomes_the_node_that_it_is_given() {
    let site = site("yes");
    let relay = Relay::new(&site);
    let mut report = discovered(&site, &relay, (STRANGER, SERIAL, UUID));
    let listed = site.admin("GET", "discovered", None).json();
    let [found] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert_eq!((&found["uuid"], &found["mac"]), (&json!(UUID), &json!(STRANGER)));
    assert_eq!((&found["method"], &found["node"]), (&json!("undef"), &Value::Null));
    assert_eq!(found["machine"]["inventory"]["model"], json!("QEMU PC?[31m"));
    assert!(site.has_event("discovered", &format!("nodediscoverdef -u {UUID}")));

    // Nobody else's word counts, and an image or a ticket is not to be had for this one.
    let token = std::mem::replace(&mut report["token"], json!("x"));
    assert_eq!(site.agent_json("discover", None, &report).status, 403);
    report["token"] = token.clone();
    let answer = site.agent("GET", "manifest", token.as_str(), None);
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert_eq!(site.get(&format!("/boot/{}", config(STRANGER)), &["--interface", "127.0.9.200"]).status, 404);

    site.define("node", "found", &[("ip", "127.0.0.30")]);
    let change = |node: Option<&str>| json!({ "which": { "uuid": UUID }, "node": node });
    let done = outcomes(&site.admin("POST", "discovered", Some(change(Some("found")))));
    assert_eq!(done, [Ok(UUID.to_owned())]);
    for (name, value) in [("mac", STRANGER), ("uuid", UUID), ("serial", SERIAL), ("mtm", "PC")] {
        assert_eq!(attribute(&site, "found", name).as_deref(), Some(value), "{name}");
    }
    let again = outcomes(&site.admin("POST", "discovered", Some(change(Some("found")))));
    assert!(again[0].as_ref().is_err_and(|why| why.contains("has mac=")), "{again:?}");

    assert_eq!(say(&site, &report)["restart"], json!(false), "there is nothing to do for it yet");
    assert_eq!(site.nodeset(&["found"], "shell"), [Ok("shell".to_owned())]);
    assert_eq!(say(&site, &report)["restart"], json!(true));
    assert_eq!(relay.ask(STRANGER, 1, LIMIT), Some((2, Ipv4Addr::new(127, 0, 0, 30))));
    assert!(site.boot_config(&config(STRANGER), "127.0.0.30").contains("sysclone.node=found"));

    let removed = outcomes(&site.admin("POST", "discovered", Some(change(None))));
    assert_eq!(removed, [Ok(UUID.to_owned())]);
    assert_eq!(site.admin("GET", "discovered", None).json(), json!([]));
    assert_eq!(attribute(&site, "found", "mac").as_deref(), Some(STRANGER));
}

#[test]
fn a_machine_becomes_the_node_that_says_its_serial_number_also_when_that_is_said_later() {
    let site = site("yes");
    site.define("node", "n1", &[("ip", "127.0.0.31"), ("serial", "lab-1")]);
    let relay = Relay::new(&site);
    discovered(&site, &relay, (STRANGER, SERIAL, UUID));
    assert_eq!(attribute(&site, "n1", "mac").as_deref(), Some(STRANGER));
    assert!(site.has_event("discovery-matched", "(mtms)"));

    let other = "52:54:00:77:00:98";
    let report = discovered(&site, &relay, (other, "LAB-2", "21111111-2222-3333-4444-555555555555"));
    site.define("node", "n2", &[("serial", "LAB-2")]);
    site.define("node", "n3", &[("uuid", "21111111-2222-3333-4444-555555555555")]);
    say(&site, &report);
    assert!(site.has_event("discovery-ambiguous", "n2, n3"));
    site.define("node", "n3", &[("uuid", "")]);
    say(&site, &report);
    assert_eq!(attribute(&site, "n2", "mac").as_deref(), Some(other));
    let methods: Vec<Value> = site.admin("GET", "discovered", None).json().as_array().unwrap().clone();
    assert!(methods.iter().all(|found| found["method"] == json!("mtms")), "{methods:?}");
}

#[test]
fn machines_become_the_chosen_nodes_one_after_the_other() {
    let site = site("no");
    for (name, ip) in [("n1", "127.0.0.31"), ("n2", "127.0.0.32")] {
        site.define("node", name, &[("ip", ip)]);
    }
    let start = json!({ "on": true, "nodes": ["n1", "n2"] });
    let status = site.admin("POST", "discovery", Some(start)).json();
    assert_eq!((&status["networks"], &status["nodes"]), (&json!(["lo"]), &json!(["n1", "n2"])));
    let relay = Relay::new(&site);
    for (mac, node) in [("52:54:00:77:00:91", "n1"), ("52:54:00:77:00:92", "n2")] {
        discovered(&site, &relay, (mac, "none", ""));
        assert_eq!(attribute(&site, node, "mac").as_deref(), Some(mac));
    }
    discovered(&site, &relay, ("52:54:00:77:00:93", "none", ""));
    let status = site.admin("POST", "discovery", Some(json!({ "on": false }))).json();
    assert_eq!(status, json!({ "networks": [], "nodes": [], "undefined": 1 }));
    assert_eq!(relay.ask("52:54:00:77:00:94", 1, SILENCE), None);
}

#[test]
fn no_address_is_lent_twice_nor_a_nodes_also_after_a_restart() {
    let mut site = site("yes");
    site.define("node", "n1", &[("ip", "127.0.9.2")]);
    let relay = Relay::new(&site);
    let first = relay.lease("52:54:00:77:00:91");
    drop(relay);
    site.kill();
    site.start();
    let relay = Relay::new(&site);
    let second = relay.lease("52:54:00:77:00:92");
    let mut lent = [first, second];
    lent.sort_unstable();
    assert_eq!(lent, [Ipv4Addr::new(127, 0, 9, 1), Ipv4Addr::new(127, 0, 9, 3)]);
    assert_eq!(relay.lease("52:54:00:77:00:91"), first);
    assert_eq!(relay.ask("52:54:00:77:00:93", 1, SILENCE), None);
    assert!(site.has_event("discovery-refused", "all 2 addresses"), "{:?}", site.events());
}
