//! A fake HMC that speaks real ssh: Debian's sshd on a port of loopback, with keys of its own and `fake_hmc.sh` as its
//! forced command.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;

use crate::site::ports;

const SSHD: &str = "/usr/sbin/sshd";
const FAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/daemon/fake_hmc.sh");

/// The sshd of one HMC. Dropped, it is ended.
pub(crate) struct Hmc {
    dir: PathBuf,
    pub(crate) port: u16,
    sshd: Option<Child>,
    said: Option<JoinHandle<String>>,
}

impl Hmc {
    /// Starts it in a folder of its own, for the owner of this private key.
    pub(crate) fn start(dir: PathBuf, identity: &Path) -> Self {
        assert!(Path::new(SSHD).exists(), "{SSHD} is missing: install the package openssh-server");
        fs::create_dir(&dir).unwrap();
        let [port] = ports::free();
        let mut hmc = Self { dir, port, sshd: None, said: None };
        hmc.admit(&identity.with_extension("pub"));
        hmc.install();
        hmc
    }

    /// A file of it; the fake does otherwise when some are there.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What `hcp` is set to.
    pub(crate) fn hcp(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The commands that arrived, each word followed by `|`.
    pub(crate) fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }

    /// Admits the owner of this public key, and nobody else.
    pub(crate) fn admit(&self, public: &Path) {
        fs::copy(public, self.path("authorized_keys")).unwrap();
    }

    /// Installs it anew: with another host key.
    pub(crate) fn install(&mut self) {
        self.stop();
        for key in ["host_key", "host_key.pub"] {
            let _ = fs::remove_file(self.path(key));
        }
        make_key(&self.path("host_key"));
        let dir = self.dir.display();
        let text = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {dir}/host_key\nAuthorizedKeysFile {dir}/authorized_keys\n\
             ForceCommand exec /bin/sh '{FAKE}' '{dir}'\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
            self.port
        );
        fs::write(self.path("sshd_config"), text).unwrap();
        if rustix::process::geteuid().is_root() {
            // Its empty folder, which the system's service makes when it starts.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let mut sshd = Command::new(SSHD);
        sshd.args(["-D", "-e", "-f"]).arg(self.path("sshd_config"));
        let mut child = sshd.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        self.said = Some(once_it_listens(child.stderr.take().unwrap()));
        self.sshd = Some(child);
    }

    /// Ends it; nobody answers at its port then.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.sshd.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let said = self.said.take().and_then(|thread| thread.join().ok());
        if let Some(said) = said.filter(|_| std::thread::panicking()) {
            eprintln!("--- sshd of the fake HMC\n{said}");
        }
    }
}

impl Drop for Hmc {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A key without a passphrase.
pub(crate) fn make_key(path: &Path) {
    let mut keygen = Command::new("ssh-keygen");
    let status = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(status.success(), "ssh-keygen");
}

/// Waits until sshd says that it listens; the thread answers all that it says after.
fn once_it_listens(stderr: ChildStderr) -> JoinHandle<String> {
    let mut lines = BufReader::new(stderr);
    let mut said = String::new();
    while !said.contains("Server listening on") {
        assert!(lines.read_line(&mut said).unwrap() > 0, "sshd ended: {said}");
    }
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = lines.read_to_end(&mut rest);
        said + &String::from_utf8_lossy(&rest)
    })
}
