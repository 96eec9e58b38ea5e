//! The client against real sockets: who is trusted, what is tried again, where a broken read goes on.
#![allow(clippy::unwrap_used, reason = "a failed expectation is the test's result")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::{Authority, Reaction, Request, Server};
use sysclone_agent::client::{CallError, Client, HttpPacks, Patience};
use sysclone_agent::install::Reporter;
use sysclone_image::{PackId, PackSource as _};
use sysclone_protocol::agent::{AgentEventKind, Phase};
use sysclone_protocol::names::Secret;

const SHORT: Patience = Patience::For(Duration::from_millis(1));

fn staged(_: &Request) -> Reaction {
    Reaction::json(200, r#"{"packs":["ab"]}"#)
}

fn client(server: &Server, authority: &Authority, patience: Patience) -> Client {
    let client = Client::new(&server.url("https"), &authority.pem, patience).unwrap();
    client.with_token(Secret::new("token-1".into()))
}

#[test]
fn the_clock_takes_no_part_in_trust() {
    let authority = Authority::new();
    for years in [1990..1991, 2020..2021, 2200..2201] {
        let server = Server::tls(authority.server("127.0.0.1", years.clone()), staged);
        let packs = client(&server, &authority, SHORT).staged().unwrap().packs;
        assert_eq!(packs, ["ab"], "{years:?}");
        assert_eq!(server.requests()[0].authorization.as_deref(), Some("Bearer token-1"));
    }
}

#[test]
fn a_server_of_another_authority_or_another_name_is_not_trusted() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for config in [theirs.server("127.0.0.1", 2020..2040), ours.server("127.0.0.2", 2020..2040)] {
        let server = Server::tls(config, staged);
        let error = client(&server, &ours, SHORT).staged().unwrap_err();
        assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
        assert!(server.requests().is_empty());
    }
}

#[test]
fn a_busy_server_is_asked_again_and_a_refusal_is_final() {
    let authority = Authority::new();
    let calls = AtomicUsize::new(0);
    let server =
        Server::tls(authority.server("127.0.0.1", 2020..2040), move |request| match &request.path[..] {
            "/agent/v1/staged" => match calls.fetch_add(1, Ordering::SeqCst) {
                0 => Reaction::json(503, r#"{"error":"starting"}"#),
                1 => Reaction::HangUp,
                _ => staged(request),
            },
            "/agent/v1/manifest" => Reaction::json(404, r#"{"error":"image demo@1 is not here"}"#),
            _ => Reaction::json(507, r#"{"error":"no room for packs"}"#),
        });
    let client = client(&server, &authority, Patience::Endless);
    assert_eq!(client.staged().unwrap().packs, ["ab"]);
    assert_eq!(
        client.manifest().unwrap_err().to_string(),
        "the server refused (404): image demo@1 is not here"
    );
    assert_eq!(client.parent(None).unwrap_err().to_string(), "the server refused (507): no room for packs");
    let full = client.put_pack(&PackId([1; 32]), b"pack").unwrap_err();
    assert_eq!(full.to_string(), "the server refused (507): no room for packs");
}

/// A pack of bytes that differ everywhere.
fn pack() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// The part of the pack that a request names, and its `Content-Range`.
fn part(request: &Request) -> (Vec<u8>, Vec<(String, String)>) {
    let pack = pack();
    let range = request.range.as_ref().unwrap().strip_prefix("bytes=").unwrap();
    let (start, last) = range.split_once('-').unwrap();
    let (start, last): (usize, usize) = (start.parse().unwrap(), last.parse().unwrap());
    let header = ("Content-Range".to_owned(), format!("bytes {start}-{last}/{}", pack.len()));
    (pack[start..=last].to_vec(), vec![header])
}

fn whole(request: &Request) -> Reaction {
    let (body, headers) = part(request);
    Reaction::Answer { status: 206, headers, body }
}

fn cut(request: &Request, sent: usize) -> Reaction {
    let (body, headers) = part(request);
    Reaction::Cut { status: 206, headers, body, sent }
}

fn packs(sources: Vec<String>, patience: Patience) -> HttpPacks {
    HttpPacks::new(sources, patience, Arc::new(AtomicBool::new(false)))
}

#[test]
fn a_read_that_breaks_off_goes_on_where_it_stopped() {
    let calls = AtomicUsize::new(0);
    let server = Server::plain(move |request| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => cut(request, 1000),
        1 => Reaction::HangUp,
        2 => Reaction::json(503, "busy"),
        3 => cut(request, 4096),
        _ => whole(request),
    });
    let source = packs(vec![format!("{}/packs", server.url("http"))], Patience::Endless);
    let read = source.read(&PackId([7; 32]), 100..200_100).unwrap();
    assert_eq!(read, pack()[100..200_100]);
    let ranges: Vec<String> = server.requests().into_iter().map(|r| r.range.unwrap()).collect();
    assert_eq!(
        ranges,
        ["100-200099", "1100-200099", "1100-200099", "1100-200099", "5196-200099"]
            .map(|r| format!("bytes={r}"))
    );
    assert_eq!(server.requests()[0].path, format!("/packs/{}", "07".repeat(32)));
}

#[test]
fn reads_share_a_connection() {
    let server = Server::plain(whole);
    let source = packs(vec![format!("{}/packs", server.url("http"))], Patience::Endless);
    for start in [0, 100_000, 200_000] {
        source.read(&PackId([7; 32]), start..start + 100_000).unwrap();
    }
    let peers: std::collections::HashSet<_> = server.requests().into_iter().map(|r| r.peer).collect();
    assert_eq!(peers.len(), 1);
}

#[test]
fn a_connection_that_ended_while_nobody_looked_is_made_again() {
    let server = Server::plain(|request| {
        let (body, headers) = part(request);
        Reaction::Last { status: 206, headers, body }
    });
    let source = packs(vec![format!("{}/packs", server.url("http"))], SHORT);
    for start in [0, 100_000, 200_000] {
        let read = source.read(&PackId([7; 32]), start..start + 100_000).unwrap();
        assert_eq!(read, pack()[usize::try_from(start).unwrap()..][..100_000]);
    }
}

#[test]
fn a_server_that_restarts_in_the_middle_is_waited_for() {
    let first = Server::plain(|request| cut(request, 5000));
    let address = first.address();
    let source = packs(vec![format!("http://{address}/packs")], Patience::Endless);
    let reader = std::thread::spawn(move || source.read(&PackId([7; 32]), 0..100_000));
    while first.requests().is_empty() {
        std::thread::yield_now();
    }
    drop(first);
    let second = Server::plain_at(address, whole);
    assert_eq!(reader.join().unwrap().unwrap(), pack()[..100_000]);
    assert!(second.requests()[0].range.as_ref().unwrap().starts_with("bytes=5000-"));
}

#[test]
fn another_source_takes_over_and_is_kept() {
    let without = Server::plain(|_| Reaction::json(404, ""));
    let broken = Server::plain(|request| cut(request, 10));
    let good = Server::plain(whole);
    let sources = [&without, &broken, &good].map(|server| server.url("http"));
    let source = packs(sources.to_vec(), Patience::Endless);
    assert_eq!(source.read(&PackId([7; 32]), 0..1000).unwrap(), pack()[..1000]);
    assert_eq!(source.read(&PackId([7; 32]), 0..1000).unwrap(), pack()[..1000]);
    assert_eq!((without.requests().len(), broken.requests().len(), good.requests().len()), (1, 1, 2));
    assert_eq!(good.requests()[0].range.as_deref(), Some("bytes=10-999"));
}

#[test]
fn a_pack_that_no_source_has_is_an_error_that_names_it() {
    let server = Server::plain(|_| Reaction::json(404, ""));
    let source = packs(vec![server.url("http")], Patience::Endless);
    let error = source.read(&PackId([7; 32]), 0..10).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains(&"07".repeat(32)), "{error}");
}

#[test]
fn a_source_that_ignores_ranges_is_not_believed() {
    let server = Server::plain(|_| Reaction::Answer { status: 200, headers: vec![], body: pack() });
    let source = packs(vec![server.url("http")], SHORT);
    assert_eq!(source.read(&PackId([7; 32]), 5..10).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(source.size(&PackId([7; 32])).unwrap(), pack().len() as u64);
}

#[test]
fn a_withdrawn_job_stops_reading() {
    let server = Server::plain(|_| Reaction::json(503, ""));
    let stop = Arc::new(AtomicBool::new(false));
    let source = HttpPacks::new(vec![server.url("http")], Patience::Endless, Arc::clone(&stop));
    let reader = std::thread::spawn(move || source.read(&PackId([7; 32]), 0..10));
    while server.requests().is_empty() {
        std::thread::yield_now();
    }
    stop.store(true, Ordering::SeqCst);
    assert_eq!(reader.join().unwrap().unwrap_err().to_string(), "the job was withdrawn");
}

#[test]
fn events_arrive_in_order_and_an_abort_is_noticed() {
    let authority = Authority::new();
    let server = Server::tls(authority.server("127.0.0.1", 2020..2040), |request| {
        let abort = String::from_utf8_lossy(&request.body).contains("plan");
        Reaction::json(200, if abort { r#"{"abort":true}"# } else { r#"{"abort":false}"# })
    });
    let reporter = Reporter::start(client(&server, &authority, Patience::Endless));
    reporter.tell(Phase::Probe, AgentEventKind::Started);
    reporter.tell(Phase::Probe, AgentEventKind::Done { millis: 5 });
    assert!(!reporter.withdrawn());
    let reply = reporter.ask(Phase::Plan, AgentEventKind::Plan { text: "sda".into() }).unwrap();
    assert!(reply.abort && reporter.withdrawn());
    let bodies: Vec<String> =
        server.requests().iter().map(|r| String::from_utf8_lossy(&r.body).into_owned()).collect();
    assert_eq!(
        bodies,
        [
            r#"{"phase":"probe","event":"started"}"#,
            r#"{"phase":"probe","event":"done","millis":5}"#,
            r#"{"phase":"plan","event":"plan","text":"sda"}"#,
        ]
    );
}
