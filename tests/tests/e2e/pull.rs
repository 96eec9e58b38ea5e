//! What happens to a pull on the way: loss, a server that crashes, a machine that is reset.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sysclone_tests::cycle::{self, TARGET, TARGET_BYTES};
use sysclone_tests::lab::{Machine, wait};

use crate::clone;
use crate::refusals::files_under;
use crate::world::{World, is_untouched};

/// An installation with everything in it, on a busy machine.
const INSTALL_LIMIT: Duration = Duration::from_secs(900);

/// What the agent may use at most, in KiB: promised in the documentation for two processors.
const MOST_MEMORY_KIB: u64 = 256 << 10;

/// A frame is a MiB of content, and what is sent of it is not larger.
const FRAME_KIB: u64 = 1 << 10;

/// Figures of a pull in KiB, as the agent told the server.
#[derive(Debug)]
struct Figures {
    kept: u64,
    fetched: u64,
    needed: u64,
    peak: u64,
}

/// The figures of the target's last pull.
fn figures(world: &World<'_>) -> Result<Figures> {
    let events = world.events()?;
    let note =
        events.iter().rev().find(|event| event.kind == "agent-note" && event.text.starts_with("pull: "));
    let text = &note.context("the agent told no figures")?.text;
    let after = |word: &str| -> Result<u64> {
        let rest = text.split_once(word).with_context(|| format!("no {word:?} in {text:?}"))?.1;
        let number = rest.trim_start().split(' ').next().unwrap_or_default();
        number.parse().with_context(|| format!("after {word:?} in {text:?}"))
    };
    world.steps.say(&format!("  {text}"));
    Ok(Figures {
        kept: after("kept ")?,
        fetched: after("fetched ")?,
        needed: after(" KiB of ")?,
        peak: after("peak memory ")?,
    })
}

/// The memory that was promised is enough.
pub(crate) fn check_memory(world: &World<'_>) -> Result<()> {
    let peak = figures(world)?.peak;
    ensure!(peak <= MOST_MEMORY_KIB, "the agent used {peak} KiB");
    Ok(())
}

/// Of a pull in one piece at most one frame of each fetching thread came twice, whatever happened on the way.
pub(crate) fn check_fetched_once(world: &World<'_>) -> Result<()> {
    let Figures { fetched, needed, .. } = figures(world)?;
    ensure!(fetched <= needed + 2 * FRAME_KIB, "{fetched} KiB fetched of {needed} KiB needed");
    Ok(())
}

/// Waits until so many per cent are pulled.
pub(crate) fn wait_for(world: &World<'_>, machine: &Machine, percent: u64) -> Result<()> {
    wait::until("a pull that is under way", INSTALL_LIMIT, || {
        machine.check_running()?;
        let status = world.site.status(TARGET)?;
        ensure!(status.state != "failed", "failed: {}", status.reason.unwrap_or_default());
        ensure!(status.state != "rebooting", "the pull was over before it could be disturbed");
        let pulling = status.phase.as_deref() == Some("pull");
        let far = status.progress.is_some_and(|(done, total)| done * 100 > percent * total);
        Ok((pulling && far).then_some(()))
    })
    .with_context(|| format!("console:\n{}", machine.console().tail()))
}

/// Resets the machine in the middle of the pull, then compares the disks before the clone has booted.
pub(crate) fn reset(world: &mut World<'_>) -> Result<()> {
    cycle::arm(&world.site)?;
    let disk = world.blank("target.img", TARGET_BYTES)?;
    let mut machine = world.small_target(vec![disk], "reset").start(world.network)?;
    wait_for(world, &machine, 60)?;
    let before = machine.bytes_received(world.network)?;
    machine.reset()?;
    world.expect_event("node-state", &["the machine restarted in pull"])?;
    cycle::follow(&world.site, &machine, &["rebooting"], &world.steps)?;
    let received = machine.bytes_received(world.network)? - before;
    // All is on the disk by now, and the firmware takes longer than this.
    machine.power_off()?;
    let packs = files_under(&world.site.state().join("store/packs"))?;
    let whole: u64 = packs.iter().map(|pack| pack.metadata().map_or(0, |m| m.len())).sum();
    let boot_files = boot_files(world)?;
    world.steps.say(&format!(
        "  after the reset {} KiB came over the wire, {} KiB of them to boot; the image has {} KiB",
        received >> 10,
        boot_files >> 10,
        whole >> 10
    ));
    let figures = figures(world)?;
    ensure!(figures.kept > 0 && figures.fetched == figures.needed, "{figures:?}");
    ensure!(figures.needed < (whole >> 10) * 4 / 5, "{figures:?} of {} KiB", whole >> 10);
    // The wire's own words: headers and repetitions are far below a fifth.
    let wire = received.saturating_sub(boot_files);
    ensure!(wire < (figures.needed << 10) * 6 / 5 + (4 << 20), "{wire} bytes of packs came over the wire");
    check_memory(world)?;
    clone::compare(world)
}

/// What a target fetches to boot.
fn boot_files(world: &World<'_>) -> Result<u64> {
    let folder = world.site.boot().join("x86_64");
    ["kernel", "initrd.img"].iter().try_fold(0, |sum, name| {
        let size = folder.join(name).metadata().with_context(|| format!("looking at {name}"))?.len();
        Ok(sum + size)
    })
}

/// A machine whose disk was exchanged in the middle: what is on the new one is nobody's to touch.
pub(crate) fn exchanged_disk(world: &mut World<'_>) -> Result<()> {
    cycle::arm(&world.site)?;
    let disk = world.blank("target.img", TARGET_BYTES)?;
    let machine = world.small_target(vec![disk], "exchanged-1").start(world.network)?;
    wait_for(world, &machine, 5)?;
    machine.power_off()?;
    let disk = world.blank("target.img", TARGET_BYTES)?;
    let path = disk.path().to_owned();
    let machine = world.small_target(vec![disk], "exchanged-2").start(world.network)?;
    let status = cycle::follow(&world.site, &machine, &["failed", "rebooting"], &world.steps)?;
    let reason = status.reason.unwrap_or_default();
    world.steps.say(&format!("  {reason}"));
    ensure!(status.state == "failed" && reason.contains("interrupted installation"), "{reason}");
    machine.power_off()?;
    ensure!(is_untouched(&path)?, "the disk was written to");
    Ok(())
}
