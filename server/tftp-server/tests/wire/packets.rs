//! Packet by packet: what firmware does that no command-line client does.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{Running, content};
use tftp_server::packet::{ErrorCode, Packet, Request};
use tftp_server::{Failure, Outcome};
use tokio::net::UdpSocket;

/// A client that does what the test says.
struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    transfer: Option<SocketAddr>,
    last: String,
}

impl Client {
    async fn new(server: &Running) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Self { socket, server: server.address, transfer: None, last: String::new() }
    }

    async fn ask(&mut self, name: &str, options: &[(&str, &str)]) {
        let options = options.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        self.transfer = None;
        let request = Request { name: name.as_bytes(), mode: b"octet", options };
        self.send_to(&Packet::Read(request), self.server).await;
    }

    async fn send(&self, packet: &Packet<'_>) {
        self.send_to(packet, self.transfer.expect("the server has answered")).await;
    }

    async fn send_to(&self, packet: &Packet<'_>, to: SocketAddr) {
        let mut bytes = Vec::new();
        packet.encode_into(&mut bytes);
        self.socket.send_to(&bytes, to).await.unwrap();
    }

    /// The next packet in a short form: `data 1 [512]`, `oack tsize=5`, `error 1 text`. A copy of the packet before is
    /// passed over: on a busy machine the server may send one.
    async fn next(&mut self) -> String {
        loop {
            let before = self.last.clone();
            let packet = self.next_or_copy().await;
            if packet != before {
                return packet;
            }
        }
    }

    async fn next_or_copy(&mut self) -> String {
        let received = tokio::time::timeout(Duration::from_secs(10), self.receive()).await;
        self.last = received.expect("the server answers in time");
        self.last.clone()
    }

    async fn receive(&mut self) -> String {
        let mut bytes = vec![0; 70_000];
        let (length, from) = self.socket.recv_from(&mut bytes).await.unwrap();
        assert_ne!(from, self.server, "a transfer has a port of its own");
        assert_eq!(from.ip(), self.server.ip(), "data comes from the address that was asked");
        self.transfer = Some(from);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match Packet::parse(&bytes[..length]).unwrap() {
            Packet::Data { block, payload } => format!("data {block} [{}]", payload.len()),
            Packet::OptionAck(options) => {
                let options: Vec<String> =
                    options.iter().map(|(n, v)| format!("{}={}", text(n), text(v))).collect();
                format!("oack {}", options.join(" "))
            }
            Packet::Error { code, message } => format!("error {} {}", code.0, text(message)),
            other => panic!("a server never sends {other:?}"),
        }
    }

    /// What has come and was not read is of the transfer at hand: copies, which a busy machine made the server send.
    fn nothing_new(&self) {
        let mut bytes = [0; 1500];
        while let Ok((length, from)) = self.socket.try_recv_from(&mut bytes) {
            assert_eq!(Some(from), self.transfer, "unexpected packet {:?}", Packet::parse(&bytes[..length]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edk2_asks_the_size_ends_with_error_8_and_reads_from_the_same_port() {
    let server = Running::start(&[("file", content(600))], |server| server);
    let mut client = Client::new(&server).await;
    client.ask("file", &[("tsize", "0"), ("blksize", "1468")]).await;
    assert_eq!(client.next().await, "oack blksize=1468 tsize=600");
    client.send(&Packet::Error { code: ErrorCode::OPTIONS, message: b"User aborted the transfer" }).await;
    assert_eq!(server.log.transfer(0).await.outcome, Outcome::SizeOnly);
    client.ask("file", &[("blksize", "1468")]).await;
    assert_eq!(client.next().await, "oack blksize=1468");
    client.send(&Packet::Ack(0)).await;
    assert_eq!(client.next().await, "data 1 [600]");
    client.send(&Packet::Ack(1)).await;
    assert_eq!(server.log.transfer(1).await.outcome, Outcome::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_error_ends_the_transfer_at_once() {
    let server = Running::start(&[("file", content(6000))], |server| server);
    let mut client = Client::new(&server).await;
    client.ask("file", &[]).await;
    assert_eq!(client.next().await, "data 1 [512]");
    client.send(&Packet::Error { code: ErrorCode(3), message: b"disk full" }).await;
    let transfer = server.log.transfer(0).await;
    let failure = Failure::Client { code: ErrorCode(3), message: "disk full".to_owned() };
    assert_eq!(transfer.outcome, Outcome::Failed(failure));
    assert!(transfer.elapsed < Duration::from_secs(1), "{:?}", transfer.elapsed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_does_not_begin_a_second_transfer() {
    let server = Running::start(&[("file", content(600))], |server| server);
    let mut client = Client::new(&server).await;
    client.ask("file", &[]).await;
    client.ask("file", &[]).await;
    assert_eq!(client.next().await, "data 1 [512]");
    let transfer = client.transfer;
    client.send(&Packet::Ack(1)).await;
    assert_eq!(client.next().await, "data 2 [88]");
    client.ask("file", &[]).await;
    // Requests are answered in order: this answer says that the one before it was seen, with the transfer still open.
    let mut other = Client::new(&server).await;
    other.ask("missing", &[]).await;
    assert_eq!(other.next().await, "error 1 file not found");
    client.transfer = transfer;
    client.send(&Packet::Ack(2)).await;
    // The refusal is logged once it is sent, which may be after the other transfer is done.
    let outcomes = [server.log.transfer(0).await.outcome, server.log.transfer(1).await.outcome];
    assert!(outcomes.contains(&Outcome::Done), "{outcomes:?}");
    client.nothing_new();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_from_the_same_port_replaces_the_first() {
    let server = Running::start(&[("one", content(6000)), ("two", content(5))], |server| server);
    let mut client = Client::new(&server).await;
    client.ask("one", &[]).await;
    assert_eq!(client.next().await, "data 1 [512]");
    client.ask("two", &[]).await;
    assert_eq!(server.log.transfer(0).await.outcome, Outcome::Failed(Failure::Superseded));
    assert_eq!(client.next().await, "data 1 [5]");
    client.send(&Packet::Ack(1)).await;
    assert_eq!(server.log.transfer(1).await.outcome, Outcome::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_data_is_sent_again_and_a_repeated_ack_sends_nothing() {
    let server = Running::start(&[("file", content(1200))], |server| server);
    let mut client = Client::new(&server).await;
    client.ask("file", &[]).await;
    assert_eq!(client.next().await, "data 1 [512]");
    client.send(&Packet::Ack(1)).await;
    assert_eq!(client.next().await, "data 2 [512]");
    // Not acknowledged: it comes again by itself.
    assert_eq!(client.next_or_copy().await, "data 2 [512]");
    client.send(&Packet::Ack(2)).await;
    client.send(&Packet::Ack(2)).await;
    assert_eq!(client.next().await, "data 3 [176]");
    client.send(&Packet::Ack(3)).await;
    let transfer = server.log.transfer(0).await;
    assert_eq!(transfer.outcome, Outcome::Done);
    assert!(transfer.retransmitted >= 1, "{transfer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanished_is_noticed_by_its_closed_port() {
    let server = Running::start(&[("file", content(6000))], |server| server);
    let mut client = Client::new(&server).await;
    client.ask("file", &[]).await;
    assert_eq!(client.next().await, "data 1 [512]");
    drop(client);
    let transfer = server.log.transfer(0).await;
    assert_eq!(transfer.outcome, Outcome::Failed(Failure::Gone));
    assert!(transfer.elapsed < Duration::from_secs(5), "{:?}", transfer.elapsed);
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_are_no_requests_get_no_answer() {
    let server = Running::start(&[("file", content(5))], |server| server);
    let mut client = Client::new(&server).await;
    for junk in [&b""[..], b"\0", b"\0\x01", b"\0\x01file", b"\0\x04\0\x01", b"\0\x05\0\x01x\0", &[0xff; 600]]
    {
        client.socket.send_to(junk, server.address).await.unwrap();
    }
    client.ask("file", &[]).await;
    assert_eq!(client.next().await, "data 1 [5]");
    client.send(&Packet::Ack(1)).await;
    assert_eq!(server.log.transfer(0).await.outcome, Outcome::Done);
    client.nothing_new();
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_are_read_in_any_case_and_names_that_are_no_text_are_not_found() {
    let server = Running::start(&[("file", content(5))], |server| server);
    for (name, mode, answer) in [
        (&b"file"[..], &b"OCTET"[..], "data 1 [5]"),
        (b"file", b"mail", "error 4 mode mail is not supported, use octet (binary)"),
        (b"file", b"x\xff", "error 4 mode x\\xff is not supported, use octet (binary)"),
        (b"\xff\xfe", b"octet", "error 1 file not found"),
        (b"", b"octet", "error 1 file not found"),
    ] {
        let mut client = Client::new(&server).await;
        let request = Request { name, mode, options: vec![] };
        client.send_to(&Packet::Read(request), server.address).await;
        assert_eq!(client.next().await, answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limit_clients_wait_until_there_is_room() {
    let server =
        Running::start(&[("file", content(600)), ("b", content(5))], |server| server.with_max_sessions(1));
    let mut first = Client::new(&server).await;
    first.ask("file", &[]).await;
    assert_eq!(first.next().await, "data 1 [512]");
    let mut second = Client::new(&server).await;
    second.ask("b", &[]).await;
    first.send(&Packet::Ack(1)).await;
    assert_eq!(first.next().await, "data 2 [88]");
    second.nothing_new();
    first.send(&Packet::Ack(2)).await;
    assert_eq!(server.log.transfer(0).await.outcome, Outcome::Done);
    // The client's own repetition finds room, as soon as the server has taken note of the end.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        second.ask("b", &[]).await;
        match tokio::time::timeout(Duration::from_millis(100), second.receive()).await {
            Ok(answer) => break assert_eq!(answer, "data 1 [5]"),
            Err(_) => assert!(tokio::time::Instant::now() < deadline, "never served"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_transfers_end_and_tells_those_that_do_not() {
    let grace = Duration::from_millis(500);
    let mut server = Running::start(&[("file", content(1200))], |server| server.with_grace(grace));
    let (mut quick, mut slow) = (Client::new(&server).await, Client::new(&server).await);
    quick.ask("file", &[]).await;
    assert_eq!(quick.next().await, "data 1 [512]");
    slow.ask("file", &[]).await;
    assert_eq!(slow.next().await, "data 1 [512]");
    server.cancel.cancel();
    for (ack, data) in [(1, "data 2 [512]"), (2, "data 3 [176]")] {
        quick.send(&Packet::Ack(ack)).await;
        assert_eq!(quick.next().await, data);
    }
    quick.send(&Packet::Ack(3)).await;
    assert_eq!(server.log.transfer(0).await.outcome, Outcome::Done);
    assert_eq!(slow.next().await, "error 0 the server is shutting down");
    assert_eq!(server.log.transfer(1).await.outcome, Outcome::Failed(Failure::ShuttingDown));
    server.task.take().unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_disturb_a_transfer() {
    let server = Running::start(&[("file", content(600))], |server| server);
    let mut client = Client::new(&server).await;
    client.ask("file", &[]).await;
    assert_eq!(client.next().await, "data 1 [512]");
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.send_to(b"\0\x05\0\x00stop\0", client.transfer.unwrap()).await.unwrap();
    client.send(&Packet::Ack(1)).await;
    assert_eq!(client.next().await, "data 2 [88]");
    client.send(&Packet::Ack(2)).await;
    assert_eq!(server.log.transfer(0).await.outcome, Outcome::Done);
}
