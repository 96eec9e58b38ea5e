//! Three namespaces: the server under test, a client, and between them a bridge where another server may run.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sysclone_protocol::names::Mac;
use sysclone_server::dhcp::{
    Counters, Directory, Events, Listen, Mode, NetBoot, Replied, Reservation, Server, ServerFacts, Silence,
};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// The client's interface.
pub(crate) const CLIENT: Mac = Mac([0x52, 0x54, 0, 0x77, 0, 0x05]);

/// The other server's address on the bridge.
const FOREIGN: &str = "10.77.0.9/16";

/// What the server decided, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Replied(Replied),
    Silent(Silence),
}

/// The reservations, which a test may change while the server runs.
#[derive(Default)]
pub(crate) struct Book(Mutex<HashMap<Mac, Reservation>>);

impl Book {
    pub(crate) fn set(&self, node: Reservation) {
        self.0.lock().unwrap().insert(node.mac, node);
    }
}

impl Directory for Book {
    fn by_mac(&self, mac: &Mac) -> Option<Reservation> {
        self.0.lock().unwrap().get(mac).cloned()
    }
}

/// A node with this address.
pub(crate) fn node(mac: Mac, ip: [u8; 4]) -> Reservation {
    Reservation {
        is_power: false,
        node: "target".parse().unwrap(),
        mac,
        ip: ip.into(),
        prefix: 16,
        gateway: Some(Ipv4Addr::new(10, 77, 255, 254)),
        nameservers: vec![Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)],
        domain: Some("cluster.example".to_owned()),
        hostname: "target".to_owned(),
        netboot: NetBoot::Xnba,
        mode: Mode::Full,
    }
}

struct Report(Mutex<Sender<Event>>);

impl Events for Report {
    fn replied(&self, what: &Replied) {
        // The test may have ended.
        let _ = self.0.lock().unwrap().send(Event::Replied(what.clone()));
    }
    fn silent(&self, _mac: Option<Mac>, reason: &Silence) {
        let _ = self.0.lock().unwrap().send(Event::Silent(reason.clone()));
    }
}

/// The running server and the network around it; all of it goes away when dropped.
pub(crate) struct Net {
    pub(crate) book: Arc<Book>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) directory: tempfile::TempDir,
    events: Receiver<Event>,
    cancel: CancellationToken,
    server: Option<JoinHandle<()>>,
    names: [String; 3],
}

impl Net {
    /// A server at 10.77.0.1/16 that knows nobody, and a client interface `c0` without address.
    pub(crate) fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "network namespaces need root: run this test as root");
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let names = ["s", "c", "f"].map(|end| format!("sysclone-dhcp-{}-{number}{end}", std::process::id()));
        let (report, events) = channel();
        let cancel = CancellationToken::new();
        let book = Arc::<Book>::default();
        let mut net = Self {
            book: Arc::clone(&book),
            counters: Arc::default(),
            directory: tempfile::tempdir().unwrap(),
            events,
            cancel,
            server: None,
            names,
        };
        net.wire();
        net.serve(book, report);
        net
    }

    fn wire(&self) {
        let [server, client, between] = &self.names;
        let mac = CLIENT.to_string();
        ip(&["netns", "add", server]);
        ip(&["netns", "add", client]);
        ip(&["netns", "add", between]);
        ip(&["-n", between, "link", "add", "br0", "type", "bridge"]);
        for (end, port, namespace) in [("s0", "p0", server), ("c0", "p1", client)] {
            ip(&[
                "link", "add", end, "netns", namespace, "type", "veth", "peer", "name", port, "netns",
                between,
            ]);
            ip(&["-n", between, "link", "set", port, "master", "br0", "up"]);
        }
        ip(&["-n", between, "addr", "add", FOREIGN, "dev", "br0"]);
        // iPXE looks for an IPv6 router for 15 s before it goes on; dnsmasq can be one on this network.
        ip(&["-n", between, "addr", "add", "fd77::9/64", "dev", "br0", "nodad"]);
        ip(&["-n", between, "link", "set", "br0", "up"]);
        ip(&["-n", server, "addr", "add", "10.77.0.1/16", "dev", "s0"]);
        ip(&["-n", server, "link", "set", "s0", "up"]);
        ip(&["-n", client, "link", "set", "c0", "address", &mac, "up"]);
        ip(&["-n", client, "link", "set", "lo", "up"]);
    }

    /// Starts the server in a thread that lives in its namespace: the socket it opens belongs there.
    fn serve(&mut self, book: Arc<Book>, report: Sender<Event>) {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.names[0])).unwrap();
        let cancel = self.cancel.clone();
        let (ready, started) = channel();
        self.server = Some(std::thread::spawn(move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind)).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listen = Listen { interface: Some("s0".to_owned()), port: 67 };
                let facts = ServerFacts {
                    address: Ipv4Addr::new(10, 77, 0, 1),
                    http_port: 8080,
                    lease: Duration::from_secs(3600),
                };
                let server = Server::bind(&listen, facts, book).unwrap();
                let server = server.with_events(Arc::new(Report(Mutex::new(report))));
                ready.send(server.counters()).unwrap();
                server.run(cancel).await;
            });
        }));
        self.counters = started.recv_timeout(DEADLINE).unwrap();
    }

    /// The next decision of the server that fits; others are passed over.
    pub(crate) fn wait_for(&self, what: &str, fits: impl Fn(&Event) -> bool) -> Event {
        let mut seen = Vec::new();
        loop {
            match self.events.recv_timeout(DEADLINE) {
                Ok(event) if fits(&event) => return event,
                Ok(event) => seen.push(event),
                Err(_) => panic!("the server never came to: {what}; it did {seen:?}"),
            }
        }
    }

    /// A command in the client's namespace. Panics with the package's name if the program is missing.
    pub(crate) fn client(&self, package: &str, program: &str) -> Command {
        self.command(1, package, program)
    }

    /// A command between the two, on the bridge `br0` with the address 10.77.0.9: another server of the network.
    pub(crate) fn between(&self, package: &str, program: &str) -> Command {
        self.command(2, package, program)
    }

    /// Something listening in the server's namespace.
    pub(crate) fn listen(&self, address: &str) -> std::net::TcpListener {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.names[0])).unwrap();
        std::thread::scope(|scope| {
            let open = || {
                let kind = rustix::thread::LinkNameSpaceType::Network;
                rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind)).unwrap();
                std::net::TcpListener::bind(address).unwrap()
            };
            scope.spawn(open).join().unwrap()
        })
    }

    fn command(&self, namespace: usize, package: &str, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap() + ":/usr/sbin:/sbin";
        let there = path.split(':').any(|dir| std::path::Path::new(dir).join(program).is_file());
        assert!(there, "{program} is needed: apt-get install {package}");
        let mut command = Command::new("ip");
        // ip becomes the program, so that its process is the child itself.
        command.env("PATH", path).args(["netns", "exec", &self.names[namespace], program]);
        command.stdin(Stdio::null()).current_dir(self.directory.path());
        command
    }

    /// Configures the client's namespace.
    pub(crate) fn client_ip(&self, args: &[&str]) {
        ip(&[&["-n", self.names[1].as_str()], args].concat());
    }

    /// A tap on the bridge, for a machine.
    pub(crate) fn tap(&self, name: &str) {
        ip(&["-n", &self.names[2], "tuntap", "add", "dev", name, "mode", "tap"]);
        ip(&["-n", &self.names[2], "link", "set", name, "master", "br0", "up"]);
    }

    /// An executable script in the test's directory; gives its path.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.directory.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(Err(panic)) = self.server.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
        for name in &self.names {
            // It is there unless making it failed, which was reported then.
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("ip is needed: apt-get install iproute2");
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program that runs beside the test; it is ended when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    /// Lines that came while others were waited for: its two outputs are read side by side, in any order.
    passed: RefCell<Vec<String>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (send, lines) = channel();
        let output: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in output {
            let send = send.clone();
            // Ends with the program's output.
            std::thread::spawn(move || {
                BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| send.send(line))
            });
        }
        Self { child, lines, passed: RefCell::default() }
    }

    /// A line of its output that fits and was not given before.
    pub(crate) fn line(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let mut seen = self.passed.borrow_mut();
        if let Some(at) = seen.iter().position(|line| fits(line)) {
            return seen.remove(at);
        }
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) if fits(&line) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("the client never said: {what}; it said {seen:?}"),
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// All of its output, and whether it was content.
    pub(crate) fn finish(mut self) -> (String, bool) {
        let mut text = String::new();
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) => text += &(line + "\n"),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the client did not end; it said {text}"),
            }
        }
        let status = self.child.wait().unwrap();
        (text, status.success())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
