//! A machine that is off, with a BMC: what `rpower` and `rsetboot` say is what its firmware does.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sysclone_tests::cycle::{TARGET, TARGET_MAC};
use sysclone_tests::lab::{Bmc, Bus, Disk, Machine, Network, wait};

use crate::world::World;

/// Firmware and network ROM under emulation, on a busy machine.
const FIRMWARE_LIMIT: Duration = Duration::from_secs(180);

/// What the boot sector prints.
const FROM_DISK: &str = "BOOTED FROM DISK";
/// What the network card's ROM prints when it begins to boot. It is not started otherwise.
const FROM_NETWORK: &str = "net0: 52:54:00";

/// Prints the text that follows, by the BIOS, and halts.
const BOOT_CODE: [u8; 24] = [
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0xbe, 0x18, 0x7c, // mov si, 0x7c18
    0xac, // next: lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x09, // jz done
    0xb4, 0x0e, // mov ah, 0x0e
    0xbb, 0x07, 0x00, // mov bx, 7
    0xcd, 0x10, // int 0x10
    0xeb, 0xf2, // jmp next
    0xf4, // done: hlt
    0xeb, 0xfd, // jmp done
];

/// A machine that is off. Its disk comes first, and boots.
fn machine(world: &World<'_>, log: &str) -> Result<Machine> {
    let path = world.network.scratch().join("speaking.img");
    let disk = Disk::blank(&path, 64 << 20, Bus::Virtio)?;
    let file = std::fs::OpenOptions::new().write(true).open(&path).context("opening the disk")?;
    let sector = [&BOOT_CODE[..], FROM_DISK.as_bytes(), b"\r\n\0"].concat();
    file.write_all_at(&sector, 0)?;
    file.write_all_at(&[0x55, 0xaa], 510)?;
    let logs = world.logs.join(log);
    std::fs::create_dir_all(&logs).context("creating the log folder")?;
    Machine::spec(TARGET).nic(TARGET_MAC).disk(disk).behind_bmc().logs(&logs).start(world.network)
}

/// Runs a power verb on the target; what it says must be this.
fn verb(world: &World<'_>, words: &[&str], expected: &str) -> Result<()> {
    let said = world.site.cli(&[&[words[0], TARGET], &words[1..]].concat())?;
    world.steps.say(&format!("  {} {TARGET} {}: {}", words[0], words[1..].join(" "), said.trim()));
    ensure!(said.trim() == format!("{TARGET}: {expected}"), "{words:?} said {said:?}, not {expected:?}");
    Ok(())
}

/// Waits until the console has shown `text` this often, in all.
fn shown(machine: &Machine, text: &str, times: usize) -> Result<()> {
    wait::until(&format!("{text:?} {times} times on the console"), FIRMWARE_LIMIT, || {
        machine.check_running()?;
        Ok((machine.console().text().matches(text).count() >= times).then_some(()))
    })
    .with_context(|| format!("console:\n{}", machine.console().tail()))
}

fn network_boots(machine: &Machine) -> usize {
    machine.console().text().matches(FROM_NETWORK).count()
}

pub(crate) fn by_ipmi(world: &mut World<'_>) -> Result<()> {
    let machine = machine(world, "ipmi")?;
    let _bmc = Bmc::start(world.network, TARGET, &world.logs)?;
    let at = format!("bmc={} bmcport={}", Network::SERVER, Bmc::PORT);
    let login = format!("bmcusername={} bmcpassword={}", Bmc::USER, Bmc::PASSWORD);
    let words = format!("chdef {TARGET} mgt=ipmi {at} {login}");
    world.site.cli(&words.split(' ').collect::<Vec<_>>())?;
    world.site.cli(&["nodeset", TARGET, "boot"])?;

    verb(world, &["rpower", "stat"], "off")?;
    verb(world, &["rpower", "boot"], "off on")?;
    shown(&machine, FROM_DISK, 1)?;
    ensure!(network_boots(&machine) == 0, "it booted from the network before anybody asked for it");
    verb(world, &["rpower", "stat"], "on")?;

    // This simulator keeps the device and does not mark it as valid, which xCAT calls inactive.
    verb(world, &["rsetboot", "net"], "boot override inactive")?;
    verb(world, &["rpower", "boot"], "on reset")?;
    shown(&machine, FROM_NETWORK, 1)?;
    // The server sends a node that is not armed on to its disk.
    shown(&machine, FROM_DISK, 2)?;

    let before = network_boots(&machine);
    verb(world, &["rpower", "reset"], "reset")?;
    shown(&machine, FROM_DISK, 3)?;
    ensure!(network_boots(&machine) == before, "the boot override was good for more than one boot");
    verb(world, &["rpower", "off"], "off")?;
    verb(world, &["rpower", "stat"], "off")?;
    machine.power_off()
}

pub(crate) fn by_qemu(world: &mut World<'_>) -> Result<()> {
    let machine = machine(world, "qmp")?;
    let socket = format!("qmpsocket={}", world.network.scratch().join(format!("{TARGET}.bmc")).display());
    world.site.cli(&["chdef", TARGET, "power=qemu", &socket])?;
    world.site.cli(&["nodeset", TARGET, "boot"])?;
    verb(world, &["rpower", "stat"], "off")?;
    verb(world, &["rsetboot", "stat"], "Hard Drive")?;
    verb(world, &["rpower", "on"], "on")?;
    shown(&machine, FROM_DISK, 1)?;
    verb(world, &["rsetboot", "net"], "Network")?;
    verb(world, &["rpower", "boot"], "on reset")?;
    shown(&machine, FROM_NETWORK, 1)?;
    shown(&machine, FROM_DISK, 2)?;
    let before = network_boots(&machine);
    verb(world, &["rsetboot", "hd"], "Hard Drive")?;
    verb(world, &["rpower", "cycle"], "cycle")?;
    shown(&machine, FROM_DISK, 3)?;
    ensure!(network_boots(&machine) == before, "the disk was to come first again");
    verb(world, &["rpower", "off"], "off")?;
    world.site.cli(&["chdef", TARGET, "power="])?;
    machine.power_off()
}
