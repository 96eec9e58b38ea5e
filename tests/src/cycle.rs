//! The whole cycle, step by step: a golden client is captured and a blank machine becomes its clone. The demo shows
//! it and the end-to-end suite judges it.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::golden::{Golden, HOSTNAME};
use crate::lab::{Bus, Disk, Machine, Network, Spec, Ssh, wait};
use crate::site::{Site, Status};
use crate::steps::Steps;

/// Name of the machine that becomes a clone.
pub const TARGET: &str = "target";
/// Name of the captured image.
pub const IMAGE: &str = "demo";
/// Size of the target's disk: another one than the golden client's.
pub const TARGET_BYTES: u64 = 6 << 30;

const GOLDEN_MAC: &str = "52:54:00:77:00:01";
/// The target's MAC address.
pub const TARGET_MAC: &str = "52:54:00:77:00:02";
const GOLDEN_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
/// The target's address.
pub const TARGET_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 12);

/// Words for the kernels that the lab's machines boot. While the kernel tests its ciphers it patches the code of those
/// tests (the static key `crypto_boot_test_finished`); QEMU 7.2 with a thread per processor now and then leaves a
/// processor stuck on the patched instruction for good.
pub const KERNEL_ARGS: &str = "cryptomgr.notests";

/// What emulation on a busy machine may take; the usual time is a fifth of it.
pub const BOOT_LIMIT: Duration = Duration::from_secs(300);
const CAPTURE_LIMIT: Duration = Duration::from_secs(600);
const INSTALL_LIMIT: Duration = Duration::from_secs(900);

/// Defines the lab's network and both machines.
///
/// # Errors
/// The server refuses a definition.
pub fn define(site: &Site<'_>) -> Result<()> {
    let (server, golden, target) = (Network::SERVER, GOLDEN_ADDRESS, TARGET_ADDRESS);
    let network = format!("-t network -o lab net=10.77.0.0 mask=255.255.255.0 gateway={server}");
    let golden = format!("-t node -o {HOSTNAME} groups=lab arch=x86_64 mac={GOLDEN_MAC} ip={golden}");
    let target = format!(
        "-t node -o {TARGET} groups=lab arch=x86_64 mac={TARGET_MAC} ip={target} addkcmdline={KERNEL_ARGS}"
    );
    for definition in [network, golden, target] {
        let words: Vec<&str> = std::iter::once("mkdef").chain(definition.split(' ')).collect();
        site.cli(&words)?;
    }
    Ok(())
}

/// Boots a copy of the golden client, kept in `disk`, until root can log in.
///
/// # Errors
/// It does not come up.
pub fn boot_golden<'net>(
    network: &'net Network,
    golden: &Golden,
    disk: &Path,
    logs: &Path,
) -> Result<(Machine, Ssh<'net>)> {
    start_golden(network, golden, Disk::copy_of(&golden.disk(), disk, Bus::Virtio)?, logs)
}

/// Boots the golden client from this disk until root can log in.
///
/// # Errors
/// It does not come up.
pub fn start_golden<'net>(
    network: &'net Network,
    golden: &Golden,
    disk: Disk,
    logs: &Path,
) -> Result<(Machine, Ssh<'net>)> {
    let machine = Machine::spec(HOSTNAME).disk(disk).nic(GOLDEN_MAC).logs(logs).start(network)?;
    let ssh = Ssh::new(network, GOLDEN_ADDRESS, &golden.identity());
    ssh.wait_ready(&machine, BOOT_LIMIT)?;
    Ok((machine, ssh))
}

/// Captures the running golden client.
///
/// # Errors
/// The capture fails.
pub fn capture(site: &Site<'_>, steps: &Steps) -> Result<()> {
    let said = imgcapture(site, (HOSTNAME, IMAGE), steps)?;
    let held_still = said.contains("/ is read from an LVM snapshot of vg0/root");
    ensure!(held_still, "the golden client's root was not read from a snapshot:\n{said}");
    Ok(())
}

/// Captures a node into an image; answers what was said.
///
/// # Errors
/// The capture fails.
pub fn imgcapture(site: &Site<'_>, (node, image): (&str, &str), steps: &Steps) -> Result<String> {
    let said = RefCell::new(String::new());
    let say = |line: &str| {
        steps.say(&format!("  {line}"));
        said.borrow_mut().push_str(&format!("{line}\n"));
    };
    site.cli_aloud(&["imgcapture", node, "-t", "sysclone", "-o", image], CAPTURE_LIMIT, &say)?;
    Ok(said.into_inner())
}

/// Arms the target with the newest generation of the image.
///
/// # Errors
/// The server refuses.
pub fn arm(site: &Site<'_>) -> Result<()> {
    site.cli(&["nodeset", TARGET, &format!("osimage={IMAGE}")]).map(drop)
}

/// The target with these disks: it boots from its network card's own ROM first.
pub fn target(disks: Vec<Disk>, logs: &Path) -> Spec {
    let spec = Machine::spec(TARGET).nic(TARGET_MAC).netboot().logs(logs);
    disks.into_iter().fold(spec, Spec::disk)
}

/// Root's ssh to the target.
#[must_use]
pub fn target_ssh<'net>(network: &'net Network, golden: &Golden) -> Ssh<'net> {
    Ssh::new(network, TARGET_ADDRESS, &golden.identity())
}

/// Follows the target, saying where it stands, until it is in one of the `wanted` states.
///
/// # Errors
/// It fails, the machine ends, or it takes too long.
pub fn follow(site: &Site<'_>, machine: &Machine, wanted: &[&str], steps: &Steps) -> Result<Status> {
    let mut last: Option<(String, Instant)> = None;
    let result = wait::until(&format!("{TARGET} being {}", wanted.join(" or ")), INSTALL_LIMIT, || {
        let status = site.status(TARGET)?;
        let words = match &status.phase {
            Some(phase) => format!("{} {phase}", status.state),
            None => status.state.clone(),
        };
        if last.as_ref().is_none_or(|(known, _)| *known != words) {
            if let Some((known, since)) = last.take() {
                steps.note(&known, since.elapsed());
            }
            steps.say(&format!("  {TARGET}: {words}"));
            last = Some((words, Instant::now()));
        }
        if wanted.contains(&status.state.as_str()) {
            return Ok(Some(status));
        }
        if status.state == "failed" {
            bail!("node {TARGET} failed: {}", status.reason.as_deref().unwrap_or("no reason given"));
        }
        machine.check_running()?;
        Ok(None)
    });
    result.with_context(|| format!("console of {TARGET}:\n{}", machine.console().tail()))
}
