//! The end-to-end suite: one golden client is captured once, and whole machines are booted against a real server to
//! see that the cycle works and that what must be refused is refused. Started by `cargo xtask e2e`, which builds
//! what it needs; words after `--` choose cases by part of their name.

mod boots;
mod clone;
mod memory;
mod power;
mod pull;
mod refusals;
mod short;
mod uefi;
mod update;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use sysclone_exec::{Command, Runner, System, Tool};
use sysclone_tests::golden::{Golden, Kind};
use sysclone_tests::lab::Network;
use sysclone_tests::site::{Programs, Site};
use sysclone_tests::steps::Steps;
use world::World;

const CP: Tool = Tool("cp");

type Case = (&'static str, fn(&mut World<'_>) -> Result<()>);

/// In order: later cases use what earlier ones have made, the image above all.
const CASES: &[Case] = &[
    ("an unknown machine is met with silence and a hint", refusals::unknown_machine),
    ("a node that is not armed boots from its disk", refusals::not_armed),
    ("BIOS boots the agent by PXELINUX, and a disk that is too small is refused", boots::pxelinux),
    ("BIOS boots the agent by lpxelinux", boots::lpxelinux),
    (
        "BIOS boots the agent by iPXE, and an initrd that was cut short is told of and fetched again",
        short::ipxe,
    ),
    ("BIOS boots the agent by GRUB", boots::grub2),
    ("UEFI boots the agent by iPXE", boots::uefi_ipxe),
    ("UEFI boots the agent by shim and GRUB", boots::uefi_shim),
    ("UEFI boots the agent by HTTP alone", boots::uefi_http),
    ("Secure Boot boots the agent by shim and GRUB", boots::secure_boot),
    ("Secure Boot refuses a loader that nobody signed", boots::secure_boot_refuses),
    ("a machine waits, runs a command, shows a shell and switches itself off", memory::works_from_memory),
    ("over IPMI the next boot is a network boot, and only that one", power::by_ipmi),
    ("over QEMU's socket the order of the devices is what was set", power::by_qemu),
    ("a burnt ticket is refused", refusals::burnt_ticket),
    ("a ticket is neither shown nor good to another machine", refusals::wrong_machine),
    ("two disks that fit are both named and left alone", refusals::two_disks),
    ("a damaged pack is named and nothing is called installed", refusals::damaged_pack),
    ("a clone is its golden client but for the identity", clone::install_and_compare),
    ("a clone boots from its own disk and says so", clone::boot),
    ("a clone that network-boots again is left alone", clone::boot_again),
    ("a machine that is reset in its pull goes on where it was", pull::reset),
    ("a clone whose pull was interrupted boots from its own disk", clone::boot),
    ("a running clone follows the golden client, goes back, and survives a power cut", update::follows),
    ("a disk that took the place of a half installed one is left alone", pull::exchanged_disk),
    ("a UEFI golden client is captured and cloned under Secure Boot", uefi::clone_under_secure_boot),
];

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            println!("0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

fn path(variable: &str) -> Result<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .with_context(|| format!("{variable} is not set; run this suite by `cargo xtask e2e`"))
}

/// Runs the chosen cases and returns how many failed.
fn run() -> Result<usize> {
    let programs = Programs { bin: path("SYSCLONE_BIN")?, boot: path("SYSCLONE_BOOT")? };
    let logs = path("SYSCLONE_LAB_LOGS")?.join("e2e");
    if logs.exists() {
        std::fs::remove_dir_all(&logs).context("removing the logs of the last run")?;
    }
    std::fs::create_dir_all(&logs).context("creating the log folder")?;
    let steps = Steps::default();
    let golden = steps.run("preparing the golden client's disk", || {
        let builder = PathBuf::from(env!("CARGO_BIN_EXE_xtask"));
        Golden::prepare(Kind::BiosLvm, &path("SYSCLONE_LAB_CACHE")?, &builder, |text| {
            steps.say(&format!("  {text}"))
        })
    })?;
    let network = Network::new()?;
    // The suite adds to the boot files.
    let boot = network.scratch().join("boot");
    System
        .run(&Command::new(CP).arg("-a").arg(&programs.boot).arg(&boot))
        .context("copying the boot files")?;
    let programs = Programs { boot, ..programs };
    let site = Site::start(&network, &programs, &golden.identity(), &logs)?;
    let mut world = World { steps, network: &network, site, golden, logs, burnt_ticket: None };
    world.capture()?;
    let failed = run_cases(&mut world);
    println!("\n{}", world.steps.table());
    let events = world.site.cli(&["events", "--json"]).context("reading the events")?;
    std::fs::write(world.logs.join("events.jsonl"), events).context("keeping the events")?;
    failed
}

fn run_cases(world: &mut World<'_>) -> Result<usize> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let (mut passed, mut failures) = (0, Vec::new());
    for &(name, case) in CASES.iter().filter(|(name, _)| chosen(name)) {
        println!("\ntest {name} ...");
        match case(world) {
            Ok(()) => passed += 1,
            Err(error) => {
                println!("FAILED: {name}: {error:#}");
                failures.push(name);
            }
        }
    }
    ensure!(passed + failures.len() > 0, "no case has {} in its name", words.join(" or "));
    for name in &failures {
        println!("failed: {name}");
    }
    println!("\n{passed} passed, {} failed", failures.len());
    Ok(failures.len())
}
