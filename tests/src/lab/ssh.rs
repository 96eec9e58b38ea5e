//! Logging in to lab machines.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use sysclone_exec::{Command, Runner, System, Tool};

use super::machine::Machine;
use super::network::Network;
use super::wait;

const SSH: Tool = Tool("ssh");

/// Key exchange alone takes seconds in an emulated machine.
const CONNECT_SECONDS: u32 = 60;

/// Asks a machine that is silent whether it is still there. One that stopped in the midst of a connection would
/// otherwise be waited for until the end of days.
const ALIVE: [&str; 4] = ["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=6"];

/// Root's ssh to one machine.
#[derive(Debug)]
pub struct Ssh<'net> {
    network: &'net Network,
    address: Ipv4Addr,
    identity: PathBuf,
    known_hosts: Option<PathBuf>,
}

impl<'net> Ssh<'net> {
    /// To `address` in `network`, with the private key `identity`, trusting whatever host key is shown.
    #[must_use]
    pub fn new(network: &'net Network, address: Ipv4Addr, identity: &Path) -> Self {
        Self { network, address, identity: identity.to_owned(), known_hosts: None }
    }

    /// Accepts only a host key that this file lists.
    #[must_use]
    pub fn strict(mut self, known_hosts: &Path) -> Self {
        self.known_hosts = Some(known_hosts.to_owned());
        self
    }

    /// Runs a line in the machine's root shell and returns what it prints.
    ///
    /// # Errors
    /// No connection, or the line fails.
    pub fn run(&self, line: &str) -> Result<String> {
        let output =
            System.run(&self.command().arg(line)).with_context(|| format!("ssh {}", self.address))?;
        Ok(output.text())
    }

    /// Waits until `machine` lets root in.
    ///
    /// # Errors
    /// The machine ends first, or the deadline passes.
    pub fn wait_ready(&self, machine: &Machine, limit: Duration) -> Result<()> {
        let address = SocketAddr::from((self.address, 22));
        wait::until(&format!("ssh on {}", self.address), limit, || {
            machine.check_running()?;
            Ok(self.network.inside(|| has_banner(address))?.then_some(()))
        })
        .with_context(|| format!("console:\n{}", machine.console().tail()))?;
        self.run("true").map(drop)
    }

    fn command(&self) -> Command {
        let (strict, hosts) = match &self.known_hosts {
            Some(file) => ("yes", file.clone()),
            None => ("no", PathBuf::from("/dev/null")),
        };
        self.network
            .command(SSH)
            .args(["-q", "-F", "none", "-o", "BatchMode=yes", "-i"])
            .arg(&self.identity)
            .args(["-o", &format!("ConnectTimeout={CONNECT_SECONDS}")])
            .args(ALIVE)
            .args(["-o", &format!("StrictHostKeyChecking={strict}")])
            .args(["-o", &format!("UserKnownHostsFile={}", hosts.display())])
            .arg(format!("root@{}", self.address))
    }
}

/// Whether an ssh server speaks at `address`: a machine that boots may accept connections before it serves them.
fn has_banner(address: SocketAddr) -> bool {
    let banner = || -> std::io::Result<[u8; 4]> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut banner = [0; 4];
        stream.read_exact(&mut banner)?;
        Ok(banner)
    };
    banner().is_ok_and(|banner| &banner == b"SSH-")
}
