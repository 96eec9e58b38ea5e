//! The discovery role: a machine that is nobody's says what it is, and waits until it is a node with something to do.
//! It knows no secret, is told none, and nothing is ever written to its disks.

mod facts;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sysclone_exec::System;
use sysclone_protocol::cmdline::DiscoverArgs;
use sysclone_protocol::discover::Report;
use sysclone_protocol::inventory::Inventory;

use crate::client::{Client, Patience};
use crate::drivers::Modules;
use crate::init::{WORKER_FAILED, initrd_fault, restart};
use crate::install::{CA_FILE, bring_up};

/// The server forgets a machine's address an hour after it gave it; one that it has not reached for nearly as long may
/// not use it any more, and boots again to get another.
const OUT_OF_TOUCH: Duration = Duration::from_secs(50 * 60);
/// A machine that cannot go on does not boot again in a tight circle, and its console can be read.
const BEFORE_NEXT_BOOT: Duration = Duration::from_secs(60);
/// Pauses that the server may ask for.
const PAUSES: std::ops::RangeInclusive<u32> = 1..=600;

/// Says what this machine is until it is wanted as a node, then restarts it.
pub(crate) fn run(args: &DiscoverArgs) -> ExitCode {
    tracing::info!("this machine is nobody's: it says what it is, and its disks are left alone");
    match until_wanted(args) {
        Ok(()) => tracing::info!("the server has something for this machine to do: restarting"),
        Err(error) => {
            tracing::error!("discovery ended: {error:#}; restarting in {} s", BEFORE_NEXT_BOOT.as_secs());
            std::thread::sleep(BEFORE_NEXT_BOOT);
        }
    }
    restart();
    ExitCode::from(WORKER_FAILED)
}

fn until_wanted(args: &DiscoverArgs) -> anyhow::Result<()> {
    if let Some(fault) = initrd_fault() {
        bail!("the initrd is not whole: {fault}");
    }
    let mac = args.uplink.boot_mac.context("the kernel command line has no BOOTIF=…")?;
    let ca_pem = std::fs::read_to_string(CA_FILE).with_context(|| {
        format!("reading {CA_FILE}, which the boot server adds to the initrd that it serves")
    })?;
    let modules = Modules::of_running_kernel()
        .inspect_err(
            |error| tracing::warn!(%error, "no kernel modules in the initrd; drivers must be built in"),
        )
        .ok();
    let mut inventory: Inventory = bring_up(&args.uplink, modules.as_ref())?;
    let client = Client::new(&args.server, &ca_pem, Patience::For(OUT_OF_TOUCH))?;
    tracing::info!("telling {} what this machine is", args.server);
    let mut report = Report { mac, token: args.token.clone(), machine: None };
    loop {
        let reply = client.discover(&report).context("saying what this machine is")?;
        if reply.restart {
            return Ok(());
        }
        let told = report.machine.is_some();
        report.machine = None;
        if reply.tell {
            // Links come up, and disks are put in, while the machine waits.
            inventory = crate::disk::inventory().unwrap_or(inventory);
            let facts = facts::machine(std::path::Path::new("/"), inventory.clone(), &System);
            report.machine = Some(facts);
            if !told {
                continue;
            }
        } else if told {
            tracing::info!(
                "the server knows what this machine is; waiting until it is a node with something to do"
            );
        }
        let pause = reply.pause_seconds.clamp(*PAUSES.start(), *PAUSES.end());
        std::thread::sleep(Duration::from_secs(pause.into()));
    }
}
