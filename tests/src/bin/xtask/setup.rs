//! What must be on the host: Debian packages, and a kernel with the few features that the lab needs.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sysclone_exec::{Command as Quiet, Runner, System, Tool};

use crate::arch::Arch;
use crate::shell;

const PACKAGES: &str = include_str!("../../../packages.txt");
const POWER_PACKAGES: &str = include_str!("../../../packages-power.txt");
const DPKG_QUERY: Tool = Tool("dpkg-query");
const MODPROBE: Tool = Tool("modprobe");

/// Installs missing packages and checks the host.
pub(crate) fn run() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the lab makes networks, mounts and loop devices: run it as root"
    );
    install(PACKAGES).context("installing packages; they are listed in tests/packages.txt")?;
    check_kernel()
}

/// Installs what building for POWER needs, when one of `architectures` is that.
pub(crate) fn power(architectures: &[Arch]) -> Result<()> {
    if !architectures.iter().any(|arch| arch.is_power()) {
        return Ok(());
    }
    install(POWER_PACKAGES).context("installing packages; they are listed in tests/packages-power.txt")
}

fn install(list: &str) -> Result<()> {
    let missing = missing_packages(list)?;
    if missing.is_empty() {
        return Ok(());
    }
    apt(&["update"])?;
    let mut install = vec!["install", "--no-install-recommends"];
    install.extend(&missing);
    apt(&install)
}

fn apt(words: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-y", "-o", "Dpkg::Use-Pty=0"]).args(words);
    shell::run(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

fn wanted(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|name| !name.is_empty())
}

fn missing_packages(list: &str) -> Result<Vec<&str>> {
    // Status 1 says that some are not known to dpkg, which is what we ask for.
    let query = Quiet::new(DPKG_QUERY).args(["--show", "--showformat", "${Package} ${db:Status-Status}\\n"]);
    let output = System.run(&query.args(wanted(list)).accept(1)).context("asking for installed packages")?;
    let text = output.text();
    let installed: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    Ok(wanted(list).filter(|name| !installed.contains(name)).collect())
}

/// Names what the kernel lacks before anything is built for it.
fn check_kernel() -> Result<()> {
    for (module, proof) in [("tun", "/dev/net/tun"), ("loop", "/dev/loop-control")] {
        if !Path::new(proof).exists() {
            // Where it is built in or forbidden, the check below says so.
            drop(System.run(&Quiet::new(MODPROBE).arg(module)));
        }
        ensure!(Path::new(proof).exists(), "{proof} is missing: this kernel (or container) does not give it");
    }
    for kind in ["ext4", "xfs"] {
        let has = || -> Result<bool> {
            let known = std::fs::read_to_string("/proc/filesystems").context("reading /proc/filesystems")?;
            Ok(known.lines().any(|line| line.trim() == kind))
        };
        if !has()? {
            drop(System.run(&Quiet::new(MODPROBE).arg(kind)));
        }
        if !has()? {
            bail!("this kernel cannot mount {kind}, which the lab's disks hold");
        }
    }
    Ok(())
}
