//! What others' programs say of the interfaces. They are not on every machine: `cargo xtask test` has them.

use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use crate::site::Site;

/// Carries connections to a TCP port on loopback to the unix socket, for clients that know no other.
fn bridge(socket: PathBuf) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = UnixStream::connect(&socket) else { return };
            let (mut to_server, mut from_server) = (server.try_clone().unwrap(), server);
            let (mut to_client, mut from_client) = (client.try_clone().unwrap(), client);
            thread::spawn(move || {
                // Either side may go at any time.
                let _ = std::io::copy(&mut from_client, &mut to_server);
                let _ = to_server.shutdown(Shutdown::Write);
            });
            thread::spawn(move || {
                let _ = std::io::copy(&mut from_server, &mut to_client);
                let _ = to_client.shutdown(Shutdown::Write);
            });
        }
    });
    port
}

/// Calls that reach for machines, for files of this one, or that do not end.
const NOT_HARMLESS: &str = "/(power|run|copy|agents|rinstall|capture|images/work|probe|events)$";

#[test]
#[ignore = "needs schemathesis, named by SCHEMATHESIS: `cargo xtask test` has it"]
fn schemathesis_finds_no_answer_that_the_document_does_not_have() {
    let site = Site::started();
    let work = site.path("schemathesis");
    std::fs::create_dir(&work).unwrap();
    let port = bridge(site.path("run/api.sock"));
    let mut judge = Command::new(std::env::var_os("SCHEMATHESIS").expect("SCHEMATHESIS names the program"));
    judge.args(["run", &format!("http://127.0.0.1:{port}/api/v1/openapi.json")]);
    judge.args(["--exclude-path-regex", NOT_HARMLESS, "--phases", "coverage,fuzzing", "--max-examples", "8"]);
    // A name that no node has is in the right form, and refused all the same.
    judge.args(["--exclude-checks", "positive_data_acceptance", "--suppress-health-check", "all"]);
    judge.args(["--seed", "1", "--request-timeout", "60", "--warnings", "off", "--no-color"]);
    let output = judge.current_dir(work).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("No issues found"), "{said}");
    assert!(!site.log().contains("panicked"), "{}", site.log());
}

/// Every sample, as Prometheus' own Python library reads it.
const PARSE: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families as parse
for family in parse(sys.argv[1]):
    assert family.documentation and family.type in ('counter', 'gauge'), family
    for sample in family.samples:
        print(sample.name, family.type, sample.labels, sample.value)
";

#[test]
#[ignore = "needs Prometheus' Python library, by PROMETHEUS_PYTHON: `cargo xtask test` has it"]
fn prometheus_reads_every_metric() {
    let site = Site::started();
    let metrics = site.admin("GET", "../../metrics", None).text();
    let python = std::env::var_os("PROMETHEUS_PYTHON").expect("PROMETHEUS_PYTHON names the program");
    let output = Command::new(python).args(["-c", PARSE, &metrics]).output().unwrap();
    assert!(output.status.success(), "{metrics}{}", String::from_utf8_lossy(&output.stderr));
    let read = String::from_utf8(output.stdout).unwrap();
    let samples = metrics.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(read.lines().count(), samples, "{read}");
    assert!(read.contains("sysclone_nodes gauge {'state': 'booted'} 0"), "{read}");
    assert!(read.contains("sysclone_events_total counter {'kind': 'server-started'} 1"), "{read}");
}
