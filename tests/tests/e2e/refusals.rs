//! What must be refused, clearly, with nothing lost.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sysclone_protocol::agent::{EnrollRequest, ErrorReply};
use sysclone_protocol::inventory::{Firmware, Inventory, Nic};
use sysclone_protocol::names::{Mac, Secret};
use sysclone_tests::cycle::{self, TARGET, TARGET_ADDRESS, TARGET_BYTES, TARGET_MAC};
use sysclone_tests::lab::{Machine, Network};

use crate::world::{World, is_untouched, ticket_in};

/// Firmware and network ROM, under emulation.
const FIRMWARE_LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn unknown_machine(world: &mut World<'_>) -> Result<()> {
    let mac = "52:54:00:77:00:99";
    let machine = Machine::spec("stranger").nic(mac).netboot().logs(&world.logs).start(world.network)?;
    let event = world.expect_event("dhcp-unknown", &[mac])?;
    ensure!(event.text.contains("mkdef") || event.text.contains("chdef"), "no hint in: {}", event.text);
    machine.console().expect("No configuration methods succeeded|No more network devices", FIRMWARE_LIMIT)?;
    machine.power_off()
}

pub(crate) fn not_armed(world: &mut World<'_>) -> Result<()> {
    let disk = world.blank("target.img", TARGET_BYTES)?;
    let path = disk.path().to_owned();
    let machine = world.start_target(vec![disk], "not-armed")?;
    // The loader was served and handed over to the disk, which has nothing to boot.
    machine.console().expect("Booting from Hard Disk|No bootable device|Boot failed", FIRMWARE_LIMIT)?;
    machine.power_off()?;
    ensure!(is_untouched(&path)?, "the disk was written to");
    let state = world.site.status(TARGET)?.state;
    ensure!(state == "defined", "the node is {state}");
    Ok(())
}

/// What a machine with this MAC and nothing else would send.
fn enrolment(ticket: &str, mac: &str) -> Result<serde_json::Value> {
    let mac: Mac = mac.parse()?;
    let inventory = Inventory {
        uuid: None,
        serial: None,
        model: None,
        arch: "x86_64".to_owned(),
        firmware: Firmware::Bios,
        memory_bytes: 1 << 30,
        nics: vec![Nic { name: "eth0".to_owned(), mac, driver: None, link: true }],
        disks: Vec::new(),
    };
    let request = EnrollRequest {
        can_do_tasks: true,
        node: TARGET.parse()?,
        ticket: Secret::new(ticket.to_owned()),
        boot_mac: Some(mac),
        inventory,
        agent_version: "0.0.0".to_owned(),
        attempt: None,
        can_resume: true,
        initrd_fault: None,
    };
    Ok(serde_json::to_value(request)?)
}

/// Enrols by hand, which must be refused because of the ticket.
fn expect_refusal(world: &World<'_>, ticket: &str, mac: &str) -> Result<()> {
    let (status, answer) = world.post("/agent/v1/enroll", &enrolment(ticket, mac)?)?;
    ensure!((400..500).contains(&status), "the enrolment was answered {status}");
    ensure!(!answer.contains("image_key"), "the image key was given away");
    let refusal: ErrorReply = serde_json::from_str(&answer).with_context(|| format!("reading {answer:?}"))?;
    world.steps.say(&format!("  {status}: {}", refusal.error));
    Ok(())
}

pub(crate) fn burnt_ticket(world: &mut World<'_>) -> Result<()> {
    if world.burnt_ticket.is_none() {
        crate::boots::pxelinux(world)?;
    }
    let ticket = world.burnt_ticket.clone().context("the machine showed no ticket on its console")?;
    expect_refusal(world, &ticket, TARGET_MAC)
}

pub(crate) fn wrong_machine(world: &mut World<'_>) -> Result<()> {
    cycle::arm(&world.site)?;
    let seen = world.loader_config(Network::SERVER)?;
    ensure!(ticket_in(&seen).is_none(), "the ticket was shown to another address");
    let borrowed = world.network.borrow_address(TARGET_ADDRESS)?;
    let config = world.loader_config(TARGET_ADDRESS)?;
    drop(borrowed);
    let ticket = ticket_in(&config).with_context(|| format!("no ticket in {config}"))?;
    expect_refusal(world, &ticket, "52:54:00:77:00:77")?;
    world.site.cli(&["nodeset", TARGET, "boot"]).map(drop)
}

pub(crate) fn two_disks(world: &mut World<'_>) -> Result<()> {
    let disks = [world.blank("one.img", TARGET_BYTES)?, world.blank("two.img", TARGET_BYTES)?];
    let paths: Vec<PathBuf> = disks.iter().map(|disk| disk.path().to_owned()).collect();
    let reason = world.failed_install(disks.into(), "two-disks")?;
    for path in &paths {
        ensure!(is_untouched(path)?, "{} was written to", path.display());
    }
    for serial in ["LAB-one", "LAB-two"] {
        ensure!(reason.contains(serial), "{serial} is not named in: {reason}");
    }
    Ok(())
}

pub(crate) fn damaged_pack(world: &mut World<'_>) -> Result<()> {
    let packs = files_under(&world.site.state().join("store/packs"))?;
    let largest =
        packs.iter().max_by_key(|path| fs::metadata(path).map_or(0, |m| m.len())).context("no pack")?;
    let place = fs::metadata(largest).context("looking at a pack")?.len() / 2;
    flip(largest, place)?;
    let disk = world.blank("target.img", TARGET_BYTES)?;
    let result = world.failed_install(vec![disk], "damaged-pack");
    // Later cases need the pack as it was, whatever came of this one.
    flip(largest, place)?;
    let reason = result?;
    let name = largest.file_name().unwrap_or_default().to_string_lossy();
    ensure!(reason.contains(&*name), "pack {name} is not named in: {reason}");
    Ok(())
}

pub(crate) fn files_under(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files_under(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

fn flip(file: &Path, place: u64) -> Result<()> {
    let open = OpenOptions::new().read(true).write(true).open(file);
    let file = open.with_context(|| format!("opening {}", file.display()))?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, place)?;
    Ok(file.write_all_at(&[byte[0] ^ 1], place)?)
}
