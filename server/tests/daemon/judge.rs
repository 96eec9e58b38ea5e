//! What others' programs say of the interfaces. They are not on every machine: `cargo xtask test` has them.

use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::site::{Site, ports};

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
const NOT_HARMLESS: &str = "/(power|run|copy|agents|update|rinstall|capture|images/work|probe|events)$";

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

/// sushy-tools' emulator with machines that it makes up; dropped, it is ended.
struct Sushy(std::process::Child);

impl Sushy {
    fn start(site: &Site, port: u16) -> Self {
        let program = std::env::var_os("SUSHY_EMULATOR").expect("SUSHY_EMULATOR names the program");
        let mut command = Command::new(program);
        command.args(["--fake", "-i", "127.0.0.1", "-p", &port.to_string()]).env("TMPDIR", site.path(""));
        let log = std::fs::File::create(site.path("sushy.log")).unwrap();
        let process = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "sushy-emulator does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        Self(process)
    }
}

impl Drop for Sushy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs sushy-tools, by SUSHY_EMULATOR: `cargo xtask test` has it"]
fn sushys_redfish_is_switched_and_booted() {
    let site = Site::started();
    let [port] = ports::free();
    let _sushy = Sushy::start(&site, port);
    let port = port.to_string();
    let login = [("bmcusername", "admin"), ("bmcpassword", "any")];
    let place = [("mgt", "redfish"), ("bmc", "http://127.0.0.1"), ("bmcport", port.as_str())];
    site.define("node", "n1", &[&place[..], &login].concat());
    let said = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sysclone"))
            .args(words)
            .env("SYSCLONE_SOCKET", site.path("run/api.sock"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&["rpower", "n1", "stat"]), "n1: off\n");
    assert_eq!(said(&["rpower", "n1", "on"]), "n1: on\n");
    // Its machines take up to eleven seconds, as real ones do.
    let began = Instant::now();
    while said(&["rpower", "n1", "stat"]) != "n1: on\n" {
        assert!(began.elapsed() < Duration::from_secs(60), "the machine stays off");
    }
    for (words, expected) in [
        (&["rsetboot", "n1", "net", "-u"][..], "n1: Network\n"),
        (&["rsetboot", "n1", "stat"], "n1: Network\n"),
        (&["rsetboot", "n1", "hd"], "n1: Hard Drive\n"),
        (&["rpower", "n1", "boot"], "n1: on reset\n"),
    ] {
        assert_eq!(said(words), expected, "{words:?}");
    }
}
