//! A network of its own for each test: a namespace with one bridge that has the server's address, and a tap for
//! each machine. Nothing in it reaches any other network.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Deserialize;
use sysclone_exec::{Command, Runner, System, Tool};

use super::cleanup::{self, Guard};
use super::disk::{Loop, Mount};
use super::wait;

const IP: Tool = Tool("ip");
const NFT: Tool = Tool("nft");

/// Names of namespaces are this, the process that made them, and a number.
const PREFIX: &str = "sysclone-lab-";

/// A namespace with a bridge.
#[derive(Debug)]
pub struct Network {
    name: String,
    scratch: PathBuf,
    taps: AtomicU32,
    _removed_on_drop: Guard,
}

impl Network {
    /// Address of the management node on the bridge.
    pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    /// Name of the bridge inside the namespace.
    pub const BRIDGE: &str = "br0";

    /// Makes a network, after removing what killed runs left behind.
    ///
    /// # Errors
    /// Not root, or the kernel has no namespaces, bridges or taps.
    pub fn new() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        remove_stale()?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let scratch =
            tempfile::Builder::new().prefix(PREFIX).tempdir().context("making a scratch folder")?.keep();
        ip(&["netns", "add", &name])?;
        let (doomed, folder) = (name.clone(), scratch.clone());
        let guard = cleanup::guard(move || {
            cleanup::report("network", remove(&doomed));
            cleanup::report("scratch folder", std::fs::remove_dir_all(&folder));
        });
        let network = Self { name, scratch, taps: AtomicU32::new(0), _removed_on_drop: guard };
        network.ip(&["link", "set", "lo", "up"])?;
        let bridge = ["link", "add", Self::BRIDGE, "type", "bridge", "forward_delay", "0", "stp_state", "0"];
        network.ip(&bridge)?;
        network.ip(&["address", "add", &format!("{}/24", Self::SERVER), "dev", Self::BRIDGE])?;
        network.ip(&["link", "set", Self::BRIDGE, "up"])?;
        Ok(network)
    }

    /// A folder with a short path for sockets and disks; it goes with the network.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// A command that runs to its end inside the network.
    #[must_use]
    pub fn command(&self, tool: Tool) -> Command {
        Command::new(IP).args(["netns", "exec", &self.name]).arg(tool.0)
    }

    /// A command for [`super::Process::start`] inside the network.
    #[must_use]
    pub fn background(&self, program: &Path) -> std::process::Command {
        let mut command = std::process::Command::new(IP.0);
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `work` on a thread that stands inside the network, for probing it with plain sockets.
    ///
    /// # Errors
    /// The thread cannot enter the network.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = Path::new("/run/netns").join(&self.name);
        let namespace = std::fs::File::open(&file).with_context(|| format!("opening {}", file.display()))?;
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                use std::os::fd::AsFd;
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| format!("entering the network {}", self.name))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Gives the management node one more address until the guard is dropped, to speak as a machine that is off.
    ///
    /// # Errors
    /// The address is taken.
    pub fn borrow_address(&self, address: Ipv4Addr) -> Result<Guard> {
        let address = format!("{address}/32");
        self.ip(&["address", "add", &address, "dev", Self::BRIDGE])?;
        let name = self.name.clone();
        let remove = move || ip(&["-n", &name, "address", "delete", &address, "dev", Self::BRIDGE]);
        Ok(cleanup::guard(move || cleanup::report("address", remove())))
    }

    /// Loses this share of the packets in each direction between machines and the management node, until the guard is
    /// dropped. They vanish on their way, so that nobody who sends is told.
    ///
    /// # Errors
    /// The kernel has no nftables for bridges.
    pub fn lose(&self, percent: u32) -> Result<Guard> {
        let rule = format!("numgen random mod 100 < {percent} drop;");
        let chain =
            |name: &str, hook: &str| format!("chain {name} {{ type filter hook {hook} priority 0; {rule} }}");
        let table =
            format!("table bridge loss {{\n{}\n{}\n}}\n", chain("up", "prerouting"), chain("down", "output"));
        let nft = self.command(NFT).args(["-f", "-"]).stdin(table);
        System.run(&nft).context("making the network lose packets")?;
        let remove = self.command(NFT).args(["delete", "table", "bridge", "loss"]);
        Ok(cleanup::guard(move || {
            let removed = System.run(&remove).map(drop).context("making the network whole again");
            cleanup::report("packet loss", removed);
        }))
    }

    /// Bytes that went out to a tap's machine.
    pub(crate) fn bytes_sent_to(&self, tap: &str) -> Result<u64> {
        let args = ["-n", self.name.as_str(), "-s", "-j", "link", "show", "dev", tap];
        let output = System.run(&Command::new(IP).args(args)).context("asking for a tap's counters")?;
        let links: Vec<Link> = serde_json::from_str(&output.text()).context("reading a tap's counters")?;
        let link = links.first().with_context(|| format!("{tap} is not there"))?;
        Ok(link.stats64.tx.bytes)
    }

    /// Plugs a new tap into the bridge and returns its name.
    pub(crate) fn add_tap(&self) -> Result<String> {
        let tap = format!("tap{}", self.taps.fetch_add(1, Ordering::Relaxed));
        self.ip(&["tuntap", "add", &tap, "mode", "tap"])?;
        self.ip(&["link", "set", &tap, "master", Self::BRIDGE, "up"])?;
        Ok(tap)
    }

    fn ip(&self, args: &[&str]) -> Result<()> {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend(args);
        ip(&all)
    }
}

fn ip(args: &[&str]) -> Result<()> {
    System.run(&Command::new(IP).args(args)).map(drop).context("setting up the lab network")
}

#[derive(Deserialize)]
struct Link {
    stats64: Counters,
}

#[derive(Deserialize)]
struct Counters {
    tx: Counter,
}

#[derive(Deserialize)]
struct Counter {
    bytes: u64,
}

#[derive(Deserialize)]
struct Namespace {
    name: String,
}

/// Removes the networks of processes that are no more (a killed run cannot clean up after itself).
fn remove_stale() -> Result<()> {
    let listing = System.run(&Command::new(IP).args(["-j", "netns", "list"])).context("listing networks")?;
    let text = listing.text();
    let namespaces: Vec<Namespace> = match text.trim() {
        "" => Vec::new(),
        json => serde_json::from_str(json).context("reading the list of networks")?,
    };
    for namespace in namespaces {
        let owner = namespace.name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        if owner.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists()) {
            remove(&namespace.name)?;
        }
    }
    Ok(())
}

/// The folder that goes with a network. Sockets in it need a short path.
fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

/// Ends what still runs in the network, then removes it with its folder.
fn remove(name: &str) -> Result<()> {
    let pids = || -> Result<Vec<i32>> {
        let listing = System.run(&Command::new(IP).args(["netns", "pids", name]))?;
        Ok(listing.text().split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    };
    for pid in pids()?.into_iter().filter_map(rustix::process::Pid::from_raw) {
        // It may have ended since it was listed.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let empty = || Ok(pids()?.is_empty().then_some(()));
    wait::until("programs leaving the network", Duration::from_secs(10), empty)?;
    ip(&["netns", "delete", name])?;
    let folder = scratch(name);
    if folder.exists() {
        Mount::remove_all(&folder)?;
        Loop::detach_all(&folder)?;
        std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}
