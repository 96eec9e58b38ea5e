//! dnsmasq gives the addresses; the server says only what to boot, or nothing at all.

use std::io::{Read, Write};

use sysclone_server::dhcp::{Mode, Silence};

use crate::net::{CLIENT, Event, Net, Running, node};

/// A network where dnsmasq gives addresses from 10.77.50.1 on; `extra` are more options for it.
fn beside_dnsmasq(mode: Mode, extra: &[&str]) -> (Net, Running) {
    let net = Net::new();
    let mut reservation = node(CLIENT, [10, 77, 0, 12]);
    reservation.mode = mode;
    net.book.set(reservation);
    let mut command = net.between("dnsmasq-base", "dnsmasq");
    command.args([
        "--no-daemon",
        "--conf-file=/dev/null",
        "--port=0",
        "--interface=br0",
        "--bind-interfaces",
    ]);
    command.args(["--dhcp-range=10.77.50.1,10.77.50.9,255.255.0.0,1h", "--leasefile-ro", "--no-ping"]);
    command.args(["--enable-ra", "--dhcp-range=fd77::,ra-only"]);
    command.args(["--user=root", "--log-dhcp", "--pid-file="]).args(extra);
    let dnsmasq = Running::start(&mut command);
    dnsmasq.line("that it serves", |line| line.contains("sockets bound exclusively"));
    (net, dnsmasq)
}

/// Starts a machine with QEMU's iPXE ROM and gives the HTTP request that it makes, with the address it comes from.
fn ipxe_asks(net: &Net) -> (String, String) {
    let http = net.listen("10.77.0.1:8080");
    net.tap("tap0");
    let mut command = net.between("qemu-system-x86", "qemu-system-x86_64");
    command.args([
        "-M",
        "pc,accel=tcg",
        "-m",
        "64",
        "-display",
        "none",
        "-serial",
        "none",
        "-monitor",
        "none",
    ]);
    command.args(["-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no", "-boot", "n"]);
    let card = format!("virtio-net-pci,netdev=n0,mac={CLIENT}");
    let _machine = Running::start(command.args(["-device", &card]));
    let (mut stream, from) = accept(&http);
    let mut request = [0; 256];
    let length = stream.read(&mut request).unwrap();
    stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
    (String::from_utf8_lossy(&request[..length]).into_owned(), from)
}

/// The next connection; the deadline keeps a machine that never comes from holding up the suite.
fn accept(http: &std::net::TcpListener) -> (std::net::TcpStream, String) {
    let mut ready = [rustix::event::PollFd::new(http, rustix::event::PollFlags::IN)];
    let deadline = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
    let count = rustix::event::poll(&mut ready, Some(&deadline)).unwrap();
    assert_eq!(count, 1, "the machine never asked for its script");
    let (stream, from) = http.accept().unwrap();
    (stream, from.ip().to_string())
}

/// Whether it is a boot file told.
fn told(event: &Event) -> bool {
    matches!(event, Event::Replied(what) if what.kind.to_string() == "boot file")
}

#[test]
fn ipxe_takes_its_address_from_dnsmasq_and_its_script_from_us() {
    let (net, dnsmasq) = beside_dnsmasq(Mode::Proxy, &[]);
    let (request, from) = ipxe_asks(&net);
    assert!(request.starts_with("GET /boot/ipxe/52-54-00-77-00-05 HTTP/1.1"), "{request}");
    assert!(from.starts_with("10.77.50."), "its address is {from}");
    dnsmasq.line("the lease", |line| line.contains("DHCPACK(br0)"));
    net.wait_for("offer", told);
    let counts = net.counters.now();
    assert_eq!((counts.offers, counts.acks, counts.naks, counts.panics), (0, 0, 0, 0), "{counts:?}");
}

/// The boot port answers from itself to the port that asked; both are what PXE ROMs check.
#[test]
fn the_boot_port_answers_whoever_asks_it() {
    let (net, _dnsmasq) = beside_dnsmasq(Mode::Proxy, &[]);
    net.client_ip(&["addr", "add", "10.77.50.8/16", "dev", "c0"]);
    let mut ask = net.client("python3", "python3");
    let packet = format!(
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 4011)); s.settimeout(30)\n\
         mac = bytes.fromhex('{}')\n\
         s.sendto(bytes([1, 1, 6, 0]) + b'abcd' + bytes(4) + bytes([10, 77, 50, 8]) + bytes(12) + mac + bytes(202)\n\
         + bytes.fromhex('63825363350103') + b'<\\x09PXEClient' + b'\\x5d\\x02\\x00\\x00\\xff', ('10.77.0.1', 4011))\n\
         reply, sender = s.recvfrom(2048); print(sender, reply[108:236].rstrip(bytes(1)))",
        CLIENT.to_string().replace(':', "")
    );
    let (text, content) = Running::start(ask.args(["-c", &packet])).finish();
    assert!(content && text.contains("('10.77.0.1', 4011) b'undionly.kpxe'"), "{text}");
}

/// The example that we ship for dnsmasq says what we would say, to each kind of client; we stay silent.
#[test]
fn dnsmasq_says_what_to_boot_where_we_are_off() {
    let example = include_str!("../../dhcp-examples/dnsmasq.conf").replace("10.0.0.1", "10.77.0.1");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("example.conf");
    std::fs::write(&path, example).unwrap();
    let (net, _dnsmasq) = beside_dnsmasq(Mode::Off, &[&format!("--conf-file={}", path.display())]);
    let script = net.script("event", r#"[ "$1" = bound ] && echo "<$boot_file$bootfile> from $siaddr""#);
    for (options, class, told) in [
        (&["0x5d:0000"][..], "PXEClient:Arch:00000", "<undionly.kpxe> from 10.77.0.1"),
        (&["0x5d:0007"], "PXEClient:Arch:00007", "<efi/shimx64.efi> from 10.77.0.1"),
        (&["0x5d:0010"], "HTTPClient:Arch:00016", "<http://10.77.0.1:8080/boot/snponly.efi>"),
        (
            &["0x5d:0000", "0x4d:69505845"],
            "PXEClient:Arch:00000",
            "<http://10.77.0.1:8080/boot/ipxe/${net0/mac:hexhyp}>",
        ),
    ] {
        let mut command = net.client("busybox-static", "busybox");
        command.args(["udhcpc", "-i", "c0", "-f", "-n", "-q", "-s", &script, "-V", class]);
        command.args(options.iter().flat_map(|option| ["-x", *option]));
        let (text, content) = Running::start(&mut command).finish();
        assert!(content && text.contains(told), "{class} {options:?}: {text}");
    }
    let counts = net.counters.now();
    assert_eq!((counts.offers, counts.boot_files, counts.acks), (0, 0, 0), "{counts:?}");
}

/// An operating system that renews, or comes back with the other server's address, must never hear from us.
#[test]
fn udhcpc_hears_of_dnsmasq_only() {
    let (net, _dnsmasq) = beside_dnsmasq(Mode::Proxy, &[]);
    let script = net.script("event", r#"[ "$1" = bound ] && echo "$ip by $serverid boots <$boot_file>""#);
    let mut command = net.client("busybox-static", "busybox");
    command.args(["udhcpc", "-i", "c0", "-f", "-n", "-q", "-s", &script]);
    let (text, content) = Running::start(&mut command).finish();
    assert!(content && text.contains("10.77.50.") && text.contains("by 10.77.0.9 boots <>"), "{text}");
    net.wait_for("silence", |event| matches!(event, Event::Silent(Silence::Foreign { .. })));
    let counts = net.counters.now();
    assert_eq!((counts.offers, counts.boot_files, counts.ignored > 1), (0, 0, true), "{counts:?}");
}
