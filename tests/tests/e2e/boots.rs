//! Every way from power-on to the agent, with real firmware. The disk is too small, or the firmware is not the golden
//! client's, so that each of these boots ends in a plan that is refused, and nothing is written.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sysclone_tests::cycle::{self, TARGET, TARGET_BYTES};
use sysclone_tests::lab::{Machine, Uefi};

use crate::world::{World, is_untouched, ticket_in};

/// Less than the golden client's files take.
pub(crate) const TOO_SMALL: u64 = 512 << 20;

/// UEFI tries what it may boot one after the other, under emulation.
const FIRMWARE_LIMIT: Duration = Duration::from_secs(240);

/// The `netboot` of lpxelinux.
const LPXELINUX: &str = "pxe-http";

/// What starts the machine.
enum Firmware {
    Bios,
    Uefi,
    SecureBoot,
    UefiHttp,
}

pub(crate) fn pxelinux(world: &mut World<'_>) -> Result<()> {
    reaches_the_agent(world, ("pxelinux", "pxe"), &Firmware::Bios, "PXELINUX")
}

pub(crate) fn lpxelinux(world: &mut World<'_>) -> Result<()> {
    reaches_the_agent(world, ("lpxelinux", LPXELINUX), &Firmware::Bios, "PXELINUX")
}

pub(crate) fn grub2(world: &mut World<'_>) -> Result<()> {
    reaches_the_agent(world, ("grub2", "grub2"), &Firmware::Bios, "GRUB")
}

pub(crate) fn uefi_ipxe(world: &mut World<'_>) -> Result<()> {
    reaches_the_agent(world, ("uefi-ipxe", "xnba"), &Firmware::Uefi, "iPXE")
}

pub(crate) fn uefi_shim(world: &mut World<'_>) -> Result<()> {
    reaches_the_agent(world, ("uefi-shim", "auto"), &Firmware::Uefi, "GRUB")
}

pub(crate) fn secure_boot(world: &mut World<'_>) -> Result<()> {
    reaches_the_agent(world, ("secure-boot", "auto"), &Firmware::SecureBoot, "GRUB")
}

pub(crate) fn uefi_http(world: &mut World<'_>) -> Result<()> {
    reaches_the_agent(world, ("uefi-http", "auto"), &Firmware::UefiHttp, "iPXE")
}

/// The firmware itself must refuse a loader that nobody signed: iPXE.
pub(crate) fn secure_boot_refuses(world: &mut World<'_>) -> Result<()> {
    set_netboot(world, "xnba")?;
    cycle::arm(&world.site)?;
    let spec = spec(world, "unsigned", &Firmware::SecureBoot)?;
    let machine = spec.start(world.network)?;
    machine.console().expect("Access Denied|Security Violation|Security violation", FIRMWARE_LIMIT)?;
    machine.power_off()?;
    let state = world.site.status(TARGET)?.state;
    ensure!(state == "armed", "the node is {state}");
    world.site.cli(&["nodeset", TARGET, "boot"])?;
    set_netboot(world, "auto")
}

pub(crate) fn set_netboot(world: &World<'_>, netboot: &str) -> Result<()> {
    world.site.cli(&["chdef", "-t", "node", "-o", TARGET, &format!("netboot={netboot}")]).map(drop)
}

fn spec(world: &World<'_>, name: &str, firmware: &Firmware) -> Result<sysclone_tests::lab::Spec> {
    let size = if matches!(firmware, Firmware::Bios) { TOO_SMALL } else { TARGET_BYTES };
    let disk = world.blank("untouched.img", size)?;
    let logs = world.logs.join(name);
    std::fs::create_dir_all(&logs).context("creating the log folder")?;
    let spec = cycle::target(vec![disk], &logs).restart_ends();
    let variables = world.network.scratch().join("untouched.vars");
    Ok(match firmware {
        Firmware::Bios => spec,
        Firmware::Uefi => spec.uefi(Uefi::new(&variables)?),
        Firmware::SecureBoot => spec.uefi(Uefi::with_secure_boot(&variables)?),
        Firmware::UefiHttp => spec.uefi(Uefi::new(&variables)?.only_http()),
    })
}

/// One start in ten, on a busy host, lpxelinux 6.04 stops at an assertion of its own network stack, and waits a quarter
/// of an hour for whoever stands at the console. This is who: the machine starts anew.
fn press_on(world: &World<'_>, machine: &mut Machine) -> Result<()> {
    for _ in 0..4 {
        let said = machine.console().expect("Boot failed: press a key|Linux version", FIRMWARE_LIMIT)?;
        if !said.starts_with("Boot") {
            return Ok(());
        }
        world.steps.say("  lpxelinux stopped: pressing a key");
        machine.send(" ")?;
    }
    bail!("lpxelinux stopped again and again")
}

fn reaches_the_agent(
    world: &mut World<'_>,
    (name, netboot): (&str, &str),
    firmware: &Firmware,
    loader: &str,
) -> Result<()> {
    set_netboot(world, netboot)?;
    cycle::arm(&world.site)?;
    let before = world.events()?.len();
    let mut machine = spec(world, name, firmware)?.start(world.network)?;
    if netboot == LPXELINUX {
        press_on(world, &mut machine)?;
    }
    let status = cycle::follow(&world.site, &machine, &["failed", "rebooting"], &world.steps)?;
    let reason = status.reason.unwrap_or_default();
    world.burnt_ticket = ticket_in(&machine.console().text());
    let expected = match firmware {
        Firmware::Bios => "512 MiB",
        Firmware::Uefi | Firmware::SecureBoot | Firmware::UefiHttp => "this machine was started by UEFI",
    };
    if matches!(firmware, Firmware::Bios) {
        ensure!(reason.contains("nvme0n1"), "the disk is not named in: {reason}");
    }
    ensure!(reason.contains(expected), "the plan was to be refused with {expected:?}, not: {reason}");
    let events = world.events()?;
    let seen = |event: &crate::world::Event| event.text.contains(&format!("{loader} from"));
    ensure!(events[before..].iter().any(seen), "no event says that {loader} started the machine");
    if matches!(firmware, Firmware::SecureBoot) {
        let console = machine.console().text();
        ensure!(console.contains("Secure boot enabled"), "the kernel does not say that Secure Boot is on");
    }
    ensure!(is_untouched(&world.network.scratch().join("untouched.img"))?, "the disk was written to");
    Ok(())
}
