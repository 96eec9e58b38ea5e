//! The whole cycle before one's eyes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sysclone_tests::cycle;
use sysclone_tests::golden::{Golden, Kind};
use sysclone_tests::lab::{Bus, Disk, Network};
use sysclone_tests::site::{Programs, Site};
use sysclone_tests::steps::Steps;

use crate::{build, setup, shell};

/// Options of the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Keep both machines' disks.
    #[arg(long)]
    keep_disks: bool,
}

/// What root on the clone is asked to show.
const QUESTIONS: &[&str] = &[
    "hostname",
    "lsblk",
    "findmnt --real",
    "getcap -r /srv /usr/bin",
    "ls -l /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub",
];

pub(crate) fn run(options: &Options) -> Result<()> {
    let steps = Steps::default();
    steps.run("setting up the host", setup::run)?;
    let programs = steps.run("building", || build::run(&build::Options::lab()))?;
    let folder = new_folder()?;
    let result = clone_one(&steps, &programs, &folder);
    if !options.keep_disks {
        for disk in ["golden.img", "target.img"] {
            // A failed run may not have come as far as making it.
            drop(fs::remove_file(folder.join(disk)));
        }
    }
    println!("\n{}\nConsoles, events and the server's log: {}", steps.table(), folder.display());
    result
}

fn clone_one(steps: &Steps, programs: &Programs, folder: &Path) -> Result<()> {
    let golden = steps.run("preparing the golden client's disk", || {
        Golden::prepare(Kind::BiosLvm, &build::cache_dir(), &std::env::current_exe()?, |text| {
            steps.say(&format!("  {text}"))
        })
    })?;
    let network = steps.run("making the lab network", Network::new)?;
    let site =
        steps.run("starting syscloned", || Site::start(&network, programs, &golden.identity(), folder))?;
    let result = clone_at(steps, &site, &network, (&golden, folder));
    let events = site
        .cli(&["events", "--json"])
        .and_then(|text| fs::write(folder.join("events.jsonl"), text).context("writing the events"));
    // The first failure is the one that is told.
    result.and(events)
}

fn clone_at(
    steps: &Steps,
    site: &Site<'_>,
    network: &Network,
    (golden, folder): (&Golden, &Path),
) -> Result<()> {
    steps.run("defining network and nodes", || cycle::define(site))?;
    let (machine, _) = steps.run("booting node golden", || {
        cycle::boot_golden(network, golden, &folder.join("golden.img"), folder)
    })?;
    steps.run("capturing node golden", || cycle::capture(site, steps))?;
    machine.power_off()?;
    steps.run("arming node target", || cycle::arm(site))?;
    let target = steps.run("installing node target", || {
        let disk = Disk::blank(&folder.join("target.img"), cycle::TARGET_BYTES, Bus::Nvme)?;
        let machine = cycle::target(vec![disk], folder).start(network)?;
        cycle::follow(site, &machine, &["rebooting", "booted"], steps)?;
        Ok(machine)
    })?;
    steps
        .run("booting node target from its own disk", || cycle::follow(site, &target, &["booted"], steps))?;
    steps.run("logging in to node target", || {
        let ssh = cycle::target_ssh(network, golden);
        ssh.wait_ready(&target, cycle::BOOT_LIMIT)?;
        for question in QUESTIONS {
            println!("\n# {question}\n{}", ssh.run(question)?.trim_end());
        }
        println!("\n# sysclone nodestat target\n{}", site.cli(&["nodestat", cycle::TARGET])?.trim_end());
        println!(
            "\n# lsdef -t osimage -o {}\n{}",
            cycle::IMAGE,
            site.cli(&["lsdef", "-t", "osimage", "-o", cycle::IMAGE])?
        );
        Ok(())
    })
}

/// `target/lab/demo-<n>`, with the next free number.
fn new_folder() -> Result<PathBuf> {
    let lab = shell::lab_dir();
    fs::create_dir_all(&lab).context("creating the lab's folder")?;
    let free = (1..).map(|number| lab.join(format!("demo-{number}"))).find(|folder| !folder.exists());
    let folder = free.expect("numbers do not end");
    fs::create_dir(&folder).context("creating the demo's folder")?;
    Ok(folder)
}
