//! What each client makes of the server's replies.

use rustix::process::Signal;
use sysclone_protocol::names::Mac;
use sysclone_server::dhcp::{Kind, Silence};

use crate::net::{CLIENT, Event, Net, Running, node};

const OWN: [u8; 4] = [10, 77, 0, 12];

/// Whether an event is a reply of this kind.
fn replied(event: &Event, name: &str) -> bool {
    matches!(event, Event::Replied(what) if what.kind.to_string() == name)
}

#[test]
fn udhcpc_learns_its_whole_network() {
    let net = Net::new();
    net.book.set(node(CLIENT, OWN));
    let script = net.script(
        "event",
        r#"[ "$1" = bound ] && echo "$ip/$mask via $router dns $dns in $domain as $hostname for $lease by $serverid boots <$boot_file>""#,
    );
    let mut command = net.client("busybox-static", "busybox");
    command.args(["udhcpc", "-i", "c0", "-f", "-n", "-q", "-s", &script]);
    let (text, content) = Running::start(&mut command).finish();
    let expected = "10.77.0.12/16 via 10.77.255.254 dns 10.77.0.1 10.77.0.2 in cluster.example as target \
                    for 3600 by 10.77.0.1 boots <>";
    assert!(content && text.contains(expected), "{text}");
    let counts = net.counters.now();
    assert_eq!((counts.offers, counts.acks, counts.naks), (1, 1, 0));
}

#[test]
fn udhcpc_renews_by_unicast_and_releases() {
    let net = Net::new();
    net.book.set(node(CLIENT, OWN));
    let script = net.script(
        "event",
        "[ $1 = bound ] && ip addr replace $ip/$mask dev $interface\n[ -z \"$ip\" ] || echo $1 $ip",
    );
    let mut command = net.client("busybox-static", "busybox");
    let client = Running::start(command.args(["udhcpc", "-i", "c0", "-f", "-s", &script]));
    client.line("its lease", |line| line == "bound 10.77.0.12");
    net.wait_for("first lease", |event| replied(event, "ACK"));
    client.signal(Signal::USR1);
    client.line("its renewal", |line| line == "renew 10.77.0.12");
    net.wait_for("renewal", |event| replied(event, "ACK"));
    assert_eq!(net.counters.now().offers, 1, "a renewal needs no offer");
    client.signal(Signal::USR2);
    net.wait_for("release", |event| matches!(event, Event::Silent(Silence::Released { .. })));
}

#[test]
fn an_unknown_machine_gets_nothing() {
    let net = Net::new();
    let mut command = net.client("busybox-static", "busybox");
    command.args(["udhcpc", "-i", "c0", "-f", "-n", "-q", "-t", "2", "-T", "1", "-s", "/bin/true"]);
    let (text, content) = Running::start(&mut command).finish();
    assert!(!content, "{text}");
    let Event::Silent(reason) = net.wait_for("silence", |_| true) else { panic!("it was answered") };
    assert_eq!(reason, Silence::Unknown { mac: CLIENT });
    let counts = net.counters.now();
    assert_eq!((counts.received, counts.unknown, counts.offers), (2, 2, 0));
}

#[test]
fn dhclient_moves_to_a_new_address_after_the_nak() {
    let net = Net::new();
    let script = net.script("event", r#"[ -z "$new_ip_address" ] || echo "$reason $new_ip_address""#);
    std::fs::write(net.directory.path().join("leases"), "").unwrap();
    let dhclient = || {
        let mut command = net.client("isc-dhcp-client", "dhclient");
        command.args([
            "-4",
            "-1",
            "-d",
            "-cf",
            "/dev/null",
            "-lf",
            "leases",
            "-pf",
            "pid",
            "-sf",
            &script,
            "c0",
        ]);
        let client = Running::start(&mut command);
        let got = client.line("its address", |line| line.starts_with("BOUND") || line.starts_with("REBOOT"));
        // It writes its lease after the script has run and before it says so.
        client.line("that it is ready", |line| line.starts_with("bound to"));
        got
    };
    net.book.set(node(CLIENT, OWN));
    assert_eq!(dhclient(), "BOUND 10.77.0.12");
    assert_eq!(dhclient(), "REBOOT 10.77.0.12");
    assert_eq!(net.counters.now().offers, 1, "a known lease needs no offer");

    net.book.set(node(CLIENT, [10, 77, 0, 13]));
    assert_eq!(dhclient(), "BOUND 10.77.0.13");
    let nak = net.wait_for("refusal", |event| replied(event, "NAK"));
    let Event::Replied(what) = nak else { unreachable!("it was a reply") };
    let reason = "10.77.0.12 is not the address of target, which is 10.77.0.13".to_owned();
    assert_eq!(what.kind, Kind::Nak { reason });
}

#[test]
fn a_bootp_client_is_served_without_dhcp() {
    let net = Net::new();
    net.book.set(node(CLIENT, OWN));
    net.client_ip(&["route", "add", "default", "dev", "c0"]);
    let mut command = net.client("bootpc", "bootpc");
    let (text, _) = Running::start(command.args(["--dev", "c0", "--timeoutwait", "20"])).finish();
    for expected in ["IPADDR='10.77.0.12'", "NETMASK='255.255.0.0'", "BOOTFILE='undionly.kpxe'"] {
        assert!(text.contains(expected), "{expected} is missing in {text}");
    }
    let counts = net.counters.now();
    assert_eq!((counts.bootp_replies, counts.offers, counts.acks), (1, 0, 0));
}

/// perfdhcp plays a relay with a thousand machines behind it, first systems, then PXE ROMs.
#[test]
fn perfdhcp_sees_every_exchange_completed() {
    let net = Net::new();
    let mut macs = String::new();
    for number in 0..1000u16 {
        let [high, low] = number.to_be_bytes();
        let mac = Mac([0x00, 0x0c, 0x01, 0x02, high, low]);
        net.book.set(node(mac, [10, 77, 100 + high, low]));
        macs += &format!("{mac}\n");
    }
    std::fs::write(net.directory.path().join("macs"), macs).unwrap();
    net.client_ip(&["addr", "add", "10.77.0.2/16", "dev", "c0"]);
    let pxe = ["-o", "60,505845436c69656e743a417263683a3030303030", "-o", "93,0000"];
    for extra in [&[][..], &pxe] {
        let mut command = net.client("kea-admin", "perfdhcp");
        command.args(["-4", "-l", "c0", "-M", "macs", "-r", "500", "-n", "1000", "-W", "2000000"]);
        let (text, content) = Running::start(command.args(extra).arg("10.77.0.1")).finish();
        assert!(content, "{:?} {text}", net.counters.now());
        // It may send one more than it was told to.
        let whole = text.matches("received packets: 100").count();
        assert_eq!((whole, text.matches("\ndrops: 0\n").count()), (2, 2), "offers and acks, {text}");
    }
    let counts = net.counters.now();
    assert_eq!((counts.naks, counts.malformed, counts.unknown, counts.panics), (0, 0, 0, 0), "{counts:?}");
}
