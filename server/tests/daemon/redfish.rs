//! rpower and rsetboot over Redfish, against a service of the tests' own; `judge` has one that is not.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::site::{Site, ports};

const SERVICE: &str = include_str!("redfish_service.py");
const FINGERPRINT: &str = "
import hashlib, ssl, sys
pem = sys.argv[1].partition('-----BEGIN PRIVATE')[0]
print(':'.join(f'{byte:02X}' for byte in hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()))
";
const USER: &str = "admin";
const PASSWORD: &str = "gEheim-7$x";

/// A running service. Dropped, it is ended.
struct Service {
    dir: tempfile::TempDir,
    process: Child,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Service {
    fn start(kind: &str, tls: bool) -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let script = dir.path().join("service.py");
        fs::write(&script, SERVICE).unwrap();
        let [port] = ports::free();
        let mut command = Command::new("python3");
        command.arg("-B").arg(script).arg(port.to_string()).arg(kind);
        if tls {
            let made = rcgen::generate_simple_self_signed(["bmc".to_owned()]).unwrap();
            let pem = dir.path().join("pem");
            fs::write(&pem, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
            command.arg(pem);
        }
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut service = Self { dir, process, output, port };
        assert_eq!(service.line(), "ready");
        service
    }

    /// The next thing that it was told.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// All that it was told until its last session was closed.
    fn told(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.line().as_str() {
                "sessions 0" => return lines,
                line => lines.push(line.to_owned()),
            }
        }
    }

    /// The SHA-256 fingerprint of its certificate, with colons as BMCs show it.
    fn fingerprint(&self) -> String {
        let pem = fs::read_to_string(self.dir.path().join("pem")).unwrap();
        let output = Command::new("python3").args(["-c", FINGERPRINT, &pem]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn site_with(service: &Service, scheme: &str) -> Site {
    let site = Site::started();
    let (bmc, port) = (format!("{scheme}127.0.0.1"), service.port.to_string());
    let login = [("bmcusername", USER), ("bmcpassword", PASSWORD)];
    let place = [("mgt", "redfish"), ("bmc", bmc.as_str()), ("bmcport", port.as_str()), ("groups", "all")];
    site.define("node", "n1", &[&place[..], &login].concat());
    site
}

/// Status, output and error output.
fn cli(site: &Site, words: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sysclone"))
        .args(words)
        .env("SYSCLONE_SOCKET", site.path("run/api.sock"))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn says(site: &Site, words: &[&str], expected: &str) {
    assert_eq!(cli(site, words), (0, format!("n1: {expected}\n"), String::new()), "{words:?}");
}

#[test]
fn power_is_switched_over_tls_with_a_known_certificate_only() {
    let mut service = Service::start("full", true);
    let site = site_with(&service, "");
    let (status, _, err) = cli(&site, &["rpower", "n1", "stat"]);
    let fingerprint = service.fingerprint();
    let plain = fingerprint.replace(':', "").to_lowercase();
    assert!(status == 1 && err.contains(&format!("`chdef n1 bmcfingerprint={plain}`")), "{err}");
    site.define("node", "n1", &[("bmcfingerprint", &fingerprint)]);
    says(&site, &["rpower", "n1", "stat"], "off");
    assert_eq!(service.told(), [""; 0]);
    for (action, said, told) in [
        ("boot", "off on", &["reset 1 On"][..]),
        ("boot", "on reset", &["reset 1 ForceRestart"]),
        ("cycle", "cycle", &["reset 1 PowerCycle"]),
        ("nmi", "nmi", &["reset 1 Nmi"]),
        ("softoff", "softoff", &["reset 1 GracefulShutdown"]),
        ("off", "off", &[]),
    ] {
        says(&site, &["rpower", "n1", action], said);
        // The state is read in one session and changed in another.
        let mut all = service.told();
        if !told.is_empty() {
            all.extend(service.told());
        }
        assert_eq!(all, told, "{action}");
    }
    site.define("node", "n1", &[("bmcfingerprint", &"0".repeat(64))]);
    assert_eq!(cli(&site, &["rpower", "n1", "on"]).0, 1, "another certificate");
}

#[test]
fn boot_order_is_set_and_read_back() {
    let mut service = Service::start("full", false);
    let site = site_with(&service, "http://");
    for (words, said, told) in [
        (&["net", "-u"][..], "Network", "boot Enabled=Once Mode=UEFI Target=Pxe"),
        (&["hd", "-p"], "Hard Drive", "boot Enabled=Continuous Mode=UEFI Target=Hdd"),
        (&["default"], "boot override inactive", "boot Enabled=Disabled Mode=UEFI Target=None"),
    ] {
        says(&site, &[&["rsetboot", "n1"], words].concat(), said);
        assert_eq!(service.told(), [told]);
    }
    says(&site, &["rsetboot", "n1", "stat"], "boot override inactive");
    let (status, _, err) = cli(&site, &["rsetboot", "n1", "floppy"]);
    assert!(status == 1 && err.contains("did not take boot device Floppy"), "{err}");
}

#[test]
fn a_refused_login_names_the_user_and_keeps_the_password() {
    let service = Service::start("full", false);
    let site = site_with(&service, "http://");
    site.define("node", "n1", &[("bmcpassword", "falsch-9")]);
    let (status, _, err) = cli(&site, &["rpower", "n1", "stat"]);
    assert!(
        status == 1 && err.contains("refuses the login of user 'admin' (The user name or password is wrong."),
        "{err}"
    );
    assert!(!err.contains("falsch-9") && !site.log().contains("falsch-9"));
    // What a node does not have, its method may have.
    site.define("node", "n1", &[("bmcusername", ""), ("bmcpassword", "")]);
    site.define("passwd", "redfish", &[("username", USER), ("password", PASSWORD)]);
    says(&site, &["rpower", "n1", "stat"], "off");
}

#[test]
fn services_without_sessions_and_without_a_power_cycle_are_used_as_they_are() {
    let mut service = Service::start("plain", false);
    let site = site_with(&service, "http://");
    says(&site, &["rpower", "n1", "on"], "on");
    says(&site, &["rpower", "n1", "cycle"], "cycle");
    let told: Vec<String> = (0..3).map(|_| service.line()).collect();
    assert_eq!(told, ["reset 1 On", "reset 1 ForceOff", "reset 1 On"]);
}

#[test]
fn one_of_several_systems_is_chosen_by_name() {
    let mut service = Service::start("two", false);
    let site = site_with(&service, "http://");
    let (status, _, err) = cli(&site, &["rpower", "n1", "on"]);
    assert!(
        status == 1 && err.contains("has these systems: 1, 2; name the node's: `chdef n1 redfishsystem="),
        "{err}"
    );
    assert_eq!(service.told(), [""; 0], "the session was closed after the error, too");
    site.define("node", "n1", &[("redfishsystem", "2")]);
    says(&site, &["rpower", "n1", "on"], "on");
    assert_eq!([service.told(), service.told()].concat(), ["reset 2 On"]);
}

#[test]
fn a_reset_whose_answer_is_lost_is_not_asked_for_again() {
    let mut service = Service::start("deaf", false);
    let site = site_with(&service, "http://");
    let (status, _, err) = cli(&site, &["rpower", "n1", "on"]);
    assert!(status == 1 && err.contains("it may have done it, so look with rpower stat"), "{err}");
    assert_eq!([service.told(), service.told()].concat(), ["reset 1 On"]);
}
