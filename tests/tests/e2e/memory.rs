//! Work from memory: a machine that waits, one that runs a command and shows a shell, one that switches itself off.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sysclone_tests::cycle::{self, TARGET, TARGET_BYTES};

use crate::world::{World, is_untouched};

/// A network boot under emulation, and the shell's prompt after it.
const LIMIT: Duration = Duration::from_secs(180);

/// One machine in three boots; its disk is not touched.
pub(crate) fn works_from_memory(world: &mut World<'_>) -> Result<()> {
    let disk = world.blank("untouched.img", TARGET_BYTES)?;
    let logs = world.logs.join("memory");
    std::fs::create_dir_all(&logs).context("creating the log folder")?;
    set(world, "standby")?;
    let mut machine = cycle::target(vec![disk], &logs).start(world.network)?;
    cycle::follow(&world.site, &machine, &["running"], &world.steps)?;
    // What waits restarts by itself when it is wanted for something else.
    set(world, "runcmd=echo $((6 * 7)) of $(uname -m),shell")?;
    cycle::follow(&world.site, &machine, &["running"], &world.steps)?;
    world.expect_event("agent-note", &["task: echo", "42 of x86_64"])?;
    machine.console().expect("leave it to restart the machine[^#]*# $", LIMIT)?;
    machine.send("exit\n")?;
    cycle::follow(&world.site, &machine, &["done"], &world.steps)?;
    set(world, "shutdown")?;
    machine.wait_exit(LIMIT)?;
    let state = world.site.status(TARGET)?.state;
    ensure!(state == "done", "the node is {state}");
    ensure!(is_untouched(&world.network.scratch().join("untouched.img"))?, "the disk was written to");
    Ok(())
}

fn set(world: &World<'_>, state: &str) -> Result<()> {
    let said = world.site.cli(&["nodeset", TARGET, state])?;
    ensure!(said == format!("{TARGET}: {state}\n"), "nodeset said {said:?}");
    Ok(())
}
