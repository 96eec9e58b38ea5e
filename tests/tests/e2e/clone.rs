//! A blank machine becomes the golden client's clone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sysclone_protocol::identity::{IDENTITY, IdentityItem, Treatment};
use sysclone_tests::compare::{Difference, Tree, differences, is_named, unexplained};
use sysclone_tests::cycle::{self, BOOT_LIMIT, IMAGE, TARGET, TARGET_BYTES};
use sysclone_tests::lab::{Bus, Disk, Machine};

use crate::pull;
use crate::world::World;

/// What else may differ, and why.
const EXPECTED: &[&str] = &[
    // Written by the golden client between its capture and its shutdown: logins.
    "/var/log/wtmp",
    "/var/log/lastlog",
    // Not in any image: the contents of temporary folders.
    "/tmp",
    "/var/tmp",
    // On the running golden client other filesystems are mounted over these; nobody can read what lies beneath.
    "/dev",
    "/proc",
    "/run",
    "/sys",
    // Written by the installation of GRUB: where this disk's /boot is.
    "/boot/grub/i386-pc/core.img",
    "/boot/grub/i386-pc/load.cfg",
    // Which disk GRUB is to be installed on at its next upgrade.
    "/var/cache/debconf/config.dat*",
    "/var/cache/debconf/templates.dat*",
];

/// An installation with everything in it, on a busy machine.
const INSTALL_LIMIT: Duration = Duration::from_secs(900);

/// What is lost of the packets in each direction.
const LOSS_PERCENT: u32 = 5;

/// Makes the golden client's own kernel the one that its clones are installed with.
fn use_golden_kernel(world: &World<'_>) -> Result<()> {
    let refused = world
        .site
        .cli(&["chdef", "-t", "osimage", "-o", IMAGE, "bootkernel=golden"])
        .and_then(|_| cycle::arm(&world.site));
    let refused = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refused.contains("sysclone image boot-files"), "nodeset does not say what to do: {refused:?}");
    let said = world.site.cli(&["image", "boot-files", IMAGE])?;
    world.steps.say(&format!("  {}", said.trim_end()));
    Ok(())
}

/// Installs with the golden client's own kernel, as little memory as is promised to be enough, over a network that loses packets, while the server
/// crashes in the middle of the pull; then compares the disks before the clone has booted.
pub(crate) fn install_and_compare(world: &mut World<'_>) -> Result<()> {
    use_golden_kernel(world)?;
    cycle::arm(&world.site)?;
    let disk = world.blank("target.img", TARGET_BYTES)?;
    let machine = world.small_target(vec![disk], "install").restart_ends().start(world.network)?;
    pull::wait_for(world, &machine, 0)?;
    let loss = world.network.lose(LOSS_PERCENT)?;
    pull::wait_for(world, &machine, 5)?;
    world.steps.run("crashing and restarting syscloned", || world.site.crash_and_restart())?;
    cycle::follow(&world.site, &machine, &["rebooting"], &world.steps)?;
    drop(loss);
    machine.wait_exit(INSTALL_LIMIT)?;
    let release = golden_release(world)?;
    let started = machine.console().text().contains(&format!("Linux version {release} "));
    ensure!(started, "the installation was not started by {release}");
    world.site.cli(&["chdef", "-t", "osimage", "-o", IMAGE, "bootkernel=own"])?;
    pull::check_memory(world)?;
    pull::check_fetched_once(world)?;
    compare(world)
}

/// What `uname -r` says on the golden client.
fn golden_release(world: &World<'_>) -> Result<String> {
    let kernels = world.site.cli(&["image", "ls", IMAGE, "/boot"])?;
    let release = kernels.lines().find_map(|line| line.trim().strip_prefix("vmlinuz-"));
    release.map(str::to_owned).context("the image has no kernel")
}

/// Compares the target's disk with the golden client's, file by file.
pub(crate) fn compare(world: &World<'_>) -> Result<()> {
    let scratch = world.network.scratch();
    let found = world.steps.run("comparing the disks", || {
        let golden = Tree::open(&world.golden_disk(), &scratch.join("mnt-golden"))?;
        let clone = Tree::open(&world.target_disk(), &scratch.join("mnt-clone"))?;
        differences(golden.root(), clone.root())
    })?;
    for Difference { path, what } in &found {
        world.steps.say(&format!("  {what}  {path}"));
    }
    let mut allowed: Vec<&str> = IDENTITY.iter().map(|item| item.pattern).collect();
    allowed.extend(EXPECTED);
    let left = unexplained(&found, &allowed);
    ensure!(left.is_empty(), "{} differences that no list explains: {left:?}", left.len());
    for IdentityItem { pattern, .. } in IDENTITY.iter().filter(|item| must_differ(item)) {
        ensure!(found.iter().any(|d| is_named(pattern, &d.path)), "{pattern} is the same on both");
    }
    Ok(())
}

/// Of the identity list, what a Debian golden client has and a clone must have another one of.
fn must_differ(item: &IdentityItem) -> bool {
    let here = ["/etc/hostname", "/etc/hosts", "/etc/machine-id", "/etc/ssh/ssh_host_*"];
    item.treatment == Treatment::Added || here.contains(&item.pattern)
}

/// Switches the clone on as it is: its card's ROM first, and the server says to boot from the disk.
fn switch_on(world: &World<'_>, log: &str) -> Result<Machine> {
    let logs = world.logs.join(log);
    std::fs::create_dir_all(&logs).context("creating the log folder")?;
    let disk = Disk::existing(&world.target_disk(), Bus::Nvme);
    cycle::target(vec![disk], &logs).start(world.network)
}

pub(crate) fn boot(world: &mut World<'_>) -> Result<()> {
    let machine = switch_on(world, "first-boot")?;
    let status = cycle::follow(&world.site, &machine, &["booted"], &world.steps)?;
    ensure!(status.image == Some(format!("{IMAGE}@1")), "it runs {:?}", status.image);
    let ssh = cycle::target_ssh(world.network, &world.golden);
    ssh.wait_ready(&machine, BOOT_LIMIT)?;
    for (question, expected) in [
        ("hostname", TARGET),
        ("findmnt --noheadings --output FSTYPE /", "ext4"),
        ("findmnt --noheadings --output FSTYPE /var", "xfs"),
        ("findmnt --noheadings --output SOURCE /var", "/dev/mapper/vg0-var"),
        ("getcap /srv/awkward/capable", "cap_net_bind_service,cap_net_raw=ep"),
        ("systemctl is-system-running --wait", "running"),
        ("debconf-show grub-pc", "grub-pc/install_devices: /dev/nvme0n1"),
    ] {
        let answer = ssh.run(question)?;
        ensure!(answer.contains(expected), "{question}: {answer:?} has no {expected:?}");
    }
    // The token that let it report is used up, and gone.
    let token = ssh.run(
        "test -e /etc/systemd/system/multi-user.target.wants/sysclone-report.service && echo there; true",
    )?;
    ensure!(token.trim().is_empty(), "the clone would report at every boot");
    // A clean shutdown, so that the next case boots a sound disk.
    drop(ssh.run("systemctl poweroff"));
    machine.wait_exit(BOOT_LIMIT).map(drop)
}

pub(crate) fn boot_again(world: &mut World<'_>) -> Result<()> {
    let before = world.target_events()?;
    let machine = switch_on(world, "boot-again")?;
    let ssh = cycle::target_ssh(world.network, &world.golden);
    ssh.wait_ready(&machine, BOOT_LIMIT)?;
    let state = world.site.status(TARGET)?.state;
    ensure!(state == "booted", "the node is {state}");
    world.steps.say(&format!("  {} new events", world.target_events()? - before));
    machine.power_off()
}
