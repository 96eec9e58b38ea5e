//! A BMC for tests: OpenIPMI's `ipmi_sim`, with a script in place of the machine that it controls.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// It is up in moments.
const START: Duration = Duration::from_secs(30);
pub(crate) const USER: &str = "admin";
pub(crate) const PASSWORD: &str = "gEheim-7$x";

/// Keeps power and boot device in files, and writes down what it was told.
const MACHINE: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
[ "$1" = set ] && echo "$*" >> told
case "$1 $2" in
"get power") echo "power:$(cat power)";;
"set power") echo "$3" > power;;
"get boot") echo "boot:$(cat boot)";;
"set boot") echo "$3" > boot;;
esac
"#;

/// A running simulator. Dropped, it is ended.
pub(crate) struct Bmc {
    dir: TempDir,
    process: Child,
    pub(crate) port: u16,
}

impl Bmc {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let at = dir.path();
        // Taken and given back: the simulator can only be told a number.
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let machine = at.join("machine");
        fs::write(&machine, MACHINE).unwrap();
        fs::set_permissions(&machine, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(at.join("power"), "0").unwrap();
        fs::write(at.join("boot"), "default").unwrap();
        let config = format!(
            "name \"bmc\"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 {port}\npriv_limit admin\n\
             allowed_auths_admin md5\nguid a123456789abcdefa123456789abcdef\nendlan\nchassis_control \"{}\"\n\
             user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 md5\n",
            machine.display()
        );
        fs::write(at.join("lan.conf"), config).unwrap();
        let commands = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                        mc_enable 0x20\n";
        fs::write(at.join("commands"), commands).unwrap();
        fs::create_dir(at.join("state")).unwrap();
        let process = Command::new("ipmi_sim")
            .args(["-n", "-c", "lan.conf", "-f", "commands", "-s", "state"])
            .current_dir(at)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("ipmi_sim is installed (Debian package openipmi)");
        let bmc = Self { dir, process, port };
        bmc.wait();
        bmc
    }

    /// Until the simulator has its port.
    fn wait(&self) {
        let started = Instant::now();
        while UdpSocket::bind(("127.0.0.1", self.port)).is_ok() {
            assert!(started.elapsed() < START, "ipmi_sim does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the machine was told, one command after the other.
    pub(crate) fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file("told")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether the machine is on.
    pub(crate) fn is_on(&self) -> bool {
        fs::read_to_string(self.file("power")).unwrap().trim() == "1"
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
