//! A golden client that boots by UEFI, and its clone, both under Secure Boot.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use sysclone_tests::cycle::{self, BOOT_LIMIT, TARGET, TARGET_BYTES};
use sysclone_tests::golden::{Golden, Kind};
use sysclone_tests::lab::{Bus, Disk, Machine, Ssh, Uefi, wait};

use crate::world::World;

const NODE: &str = "golden-uefi";
const MAC: &str = "52:54:00:77:00:03";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 13);
const IMAGE: &str = "uefi";

/// Prints the boot entries by their names, in the order in which the firmware tries them, with what is printable of
/// where they point. efivarfs cannot seek.
const BOOT_ENTRIES: &str = "cd /sys/firmware/efi/efivars; \
    for n in $(od -An -v -tx2 -j4 BootOrder-*); do \
    cat Boot$(echo $n | tr a-f A-F)-* | tail -c +11 | LC_ALL=C tr -cd '[:print:]' | head -c 40; echo; done";

/// What the second generation has.
const SECOND: &str = "set -e; cd /boot/efi/EFI/debian; echo '# second' >> grub.cfg; cp -a shimx64.efi extra.efi; \
    echo second > /etc/motd; echo mine > /home/anna/mail; sync";

pub(crate) fn clone_under_secure_boot(world: &mut World<'_>) -> Result<()> {
    let cache =
        PathBuf::from(std::env::var_os("SYSCLONE_LAB_CACHE").context("SYSCLONE_LAB_CACHE is not set")?);
    let golden = world.steps.run("preparing the UEFI golden client's disk", || {
        let builder = PathBuf::from(env!("CARGO_BIN_EXE_xtask"));
        Golden::prepare(Kind::Uefi, &cache, &builder, |text| world.steps.say(&format!("  {text}")))
    })?;
    let ip = format!("ip={ADDRESS}");
    world.site.cli(&[
        "mkdef",
        "-t",
        "node",
        "-o",
        NODE,
        "groups=lab",
        "arch=x86_64",
        &format!("mac={MAC}"),
        &ip,
    ])?;
    world.steps.run("capturing the UEFI golden client", || capture(world, &golden))?;
    let machine = world.steps.run("cloning it", || install(world))?;
    check(world, &golden, &machine)?;
    update(world, &golden, &machine)?;
    machine.power_off()
}

/// The clone gets the second generation, on its EFI system partition, too, and starts with it.
fn update(world: &World<'_>, golden: &Golden, machine: &Machine) -> Result<()> {
    let ssh = cycle::target_ssh(world.network, golden);
    let boot_id = || ssh.run("cat /proc/sys/kernel/random/boot_id");
    let before = boot_id()?;
    let said = world.steps.run("updating the UEFI clone", || {
        world.site.cli(&["updatenode", TARGET, "-S", "--yes", "--json"])
    })?;
    for path in ["/boot/efi/EFI/debian/extra.efi", "/boot/efi/EFI/debian/grub.cfg", "/etc/motd"] {
        ensure!(said.contains(path), "the plan does not have {path}: {said}");
    }
    ensure!(!said.contains("/home/anna"), "people's own files are changed: {said}");
    world.site.cli(&["verify", TARGET]).context("verifying the clone")?;
    drop(ssh.run("systemctl reboot"));
    world.steps.run("starting the updated UEFI clone", || {
        let again = || {
            machine.check_running()?;
            Ok(boot_id().ok().filter(|now| *now != before))
        };
        wait::until("the clone starting again", BOOT_LIMIT, again)
            .with_context(|| format!("console:\n{}", machine.console().tail()))
    })?;
    for (question, expected) in [
        ("cat /etc/motd; tail -n1 /boot/efi/EFI/debian/grub.cfg", "second\n# second"),
        ("cat /home/anna/mail", "kept"),
        ("ls -A /boot/efi/EFI/debian | grep -c extra.efi", "1"),
    ] {
        let answer = ssh.run(question)?;
        ensure!(answer.trim() == expected, "{question}: {answer:?} is not {expected:?}");
    }
    Ok(())
}

fn capture(world: &World<'_>, golden: &Golden) -> Result<()> {
    let scratch = world.network.scratch();
    let disk = Disk::copy_of(&golden.disk(), &scratch.join("golden-uefi.img"), Bus::Virtio)?;
    let firmware = Uefi::with_secure_boot(&scratch.join("golden-uefi.vars"))?;
    let machine =
        Machine::spec(NODE).disk(disk).nic(MAC).uefi(firmware).logs(&world.logs).start(world.network)?;
    let ssh = Ssh::new(world.network, ADDRESS, &golden.identity());
    ssh.wait_ready(&machine, BOOT_LIMIT)?;
    // The server logs in with the key of the other golden client.
    let key = world.golden.identity().with_extension("pub");
    let key = std::fs::read_to_string(&key).context("reading the server's key")?;
    ssh.run(&format!("echo '{}' >> /root/.ssh/authorized_keys", key.trim()))?;
    ssh.run("mkdir /home/anna && echo kept > /home/anna/mail")?;
    let said = cycle::imgcapture(&world.site, (NODE, IMAGE), &world.steps)?;
    for part in ["/ is read from a btrfs snapshot", "/home is read from a btrfs snapshot"] {
        ensure!(said.contains(part), "{part:?} is not in\n{said}");
    }
    ssh.run(SECOND)?;
    cycle::imgcapture(&world.site, (NODE, IMAGE), &world.steps)?;
    drop(ssh.run("systemctl poweroff"));
    machine.wait_exit(BOOT_LIMIT).map(drop)
}

fn install(world: &World<'_>) -> Result<Machine> {
    world.site.cli(&["chdef", "-t", "node", "-o", TARGET, "netboot=auto"])?;
    world.site.cli(&["nodeset", TARGET, &format!("osimage={IMAGE}@1")])?;
    let scratch = world.network.scratch();
    let disk = Disk::blank(&scratch.join("target-uefi.img"), TARGET_BYTES, Bus::Nvme)?;
    let firmware = Uefi::with_secure_boot(&scratch.join("target-uefi.vars"))?;
    let logs = world.logs.join("uefi-clone");
    std::fs::create_dir_all(&logs).context("creating the log folder")?;
    let machine = cycle::target(vec![disk], &logs).uefi(firmware).start(world.network)?;
    let status = cycle::follow(&world.site, &machine, &["booted"], &world.steps)?;
    ensure!(status.image == Some(format!("{IMAGE}@1")), "it runs {:?}", status.image);
    Ok(machine)
}

fn check(world: &World<'_>, golden: &Golden, machine: &Machine) -> Result<()> {
    let ssh = cycle::target_ssh(world.network, golden);
    ssh.wait_ready(machine, BOOT_LIMIT)?;
    for (question, expected) in [
        ("hostname", TARGET),
        ("od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-*", "1"),
        ("findmnt --noheadings --output FSTYPE,LABEL /boot/efi", "vfat"),
        ("findmnt --noheadings --output FSTYPE,OPTIONS /", "subvol=/@"),
        ("findmnt --noheadings --output FSTYPE,FSROOT /home", "/@home"),
        ("cat /home/anna/mail", "kept"),
        ("find /boot/efi/EFI -iname bootx64.efi", "BOOTX64.EFI"),
        ("getcap /srv/awkward/capable", "cap_net_bind_service,cap_net_raw=ep"),
        ("systemctl is-system-running --wait", "running"),
        (BOOT_ENTRIES, "debian"),
    ] {
        let answer = ssh.run(question)?;
        ensure!(answer.contains(expected), "{question}: {answer:?} has no {expected:?}");
    }
    Ok(())
}
