//! Boot files that do not arrive whole.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sysclone_tests::cycle;

use crate::boots::{TOO_SMALL, set_netboot};
use crate::world::{World, is_untouched};

/// The kernel gets the first two thirds of the initrd, says so, and starts the agent that is in them. The agent tells
/// the server and boots again, this time from a whole initrd, with the same ticket.
pub(crate) fn ipxe(world: &mut World<'_>) -> Result<()> {
    set_netboot(world, "xnba")?;
    let whole = world.site.boot().to_owned();
    let short = short_boot_files(&whole, world.network.scratch())?;
    world.site.restart_with_boot(&short)?;
    cycle::arm(&world.site)?;
    let before = world.events()?.len();
    let disk = world.blank("untouched.img", TOO_SMALL)?;
    let logs = world.logs.join("short");
    let machine = cycle::target(vec![disk], &logs).start(world.network)?;
    let told = world.expect_event("initrd-incomplete", &["did not arrive whole"])?;
    world.steps.say(&format!("  {}", told.text));
    world.site.restart_with_boot(&whole)?;
    let status = cycle::follow(&world.site, &machine, &["failed", "rebooting"], &world.steps)?;
    let reason = status.reason.unwrap_or_default();
    ensure!(reason.contains("512 MiB"), "the plan was to be refused because of the disk, not: {reason}");
    let events = world.events()?;
    let seen = |words: &str| events[before..].iter().any(|event| event.text.contains(words));
    ensure!(seen("iPXE from"), "no event says that iPXE started the machine");
    ensure!(
        events[before..].iter().any(|event| event.kind == "boot-repeated"),
        "the second boot was not noticed"
    );
    ensure!(is_untouched(&world.network.scratch().join("untouched.img"))?, "the disk was written to");
    Ok(())
}

/// A copy of the boot files in which the initrd ends early, and the list says that this is right.
fn short_boot_files(whole: &Path, scratch: &Path) -> Result<PathBuf> {
    const INITRD: &str = "x86_64/initrd.img";
    let short = scratch.join("short-boot");
    let index = fs::read(whole.join("boot.json")).context("reading the list of boot files")?;
    let mut index: serde_json::Value =
        serde_json::from_slice(&index).context("reading the list of boot files")?;
    let files = index["files"].as_array_mut().context("the list has files")?;
    for listed in files {
        let name = listed["file"].as_str().context("a file has a name")?.to_owned();
        let mut bytes = fs::read(whole.join(&name)).with_context(|| format!("reading {name}"))?;
        if name == INITRD {
            bytes.truncate(bytes.len() / 3 * 2);
            listed["blake3"] = blake3::hash(&bytes).to_hex().to_string().into();
        }
        let to = short.join(&name);
        fs::create_dir_all(to.parent().context("a file is in a folder")?).context("creating a folder")?;
        fs::write(&to, &bytes).with_context(|| format!("writing {}", to.display()))?;
    }
    fs::write(short.join("boot.json"), index.to_string()).context("writing the list of boot files")?;
    Ok(short)
}
