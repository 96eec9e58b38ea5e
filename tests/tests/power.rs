//! A POWER machine with Open Firmware boots from the network: SLOF, GRUB, our kernel and the agent, which works from
//! memory and switches the machine off. Started by `cargo xtask test --arch ppc64le`, which builds what it needs.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sysclone_tests::cycle::{self, TARGET};
use sysclone_tests::lab::{Bus, Disk, Machine, Network};
use sysclone_tests::site::{Programs, Site};
use sysclone_tests::steps::Steps;

const MAC: &str = "52:54:00:77:00:02";
/// A disk for the agent to find.
const DISK_BYTES: u64 = 1 << 30;
/// Firmware and loader fetch 70 MB under emulation.
const LIMIT: Duration = Duration::from_secs(900);

fn path(variable: &str) -> Result<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .with_context(|| format!("{variable} is not set; run this by `cargo xtask test --arch ppc64le`"))
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            println!("0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let programs = Programs { bin: path("SYSCLONE_BIN")?, boot: path("SYSCLONE_BOOT")? };
    let logs = path("SYSCLONE_LAB_LOGS")?.join("power");
    std::fs::create_dir_all(&logs).context("creating the log folder")?;
    let network = Network::new()?;
    let site = Site::start(&network, &programs, &logs.join("no-identity"), &logs)?;
    let steps = Steps::default();
    let address = cycle::TARGET_ADDRESS;
    site.cli(&["mkdef", "-t", "network", "-o", "lab", "net=10.77.0.0", "mask=255.255.255.0"])?;
    let words =
        [&format!("mac={MAC}"), &format!("ip={address}"), &format!("addkcmdline={}", cycle::KERNEL_ARGS)];
    let words: Vec<&str> = words.into_iter().map(String::as_str).collect();
    site.cli(&[&["mkdef", "-t", "node", "-o", TARGET, "groups=lab", "arch=ppc64le"], &words[..]].concat())?;
    site.cli(&["nodeset", TARGET, "runcmd=uname -m; cat /sys/block/vda/serial,shutdown"])?;
    let disk =
        Disk::blank(&network.scratch().join("power.img"), DISK_BYTES, Bus::Virtio)?.serial("POWERDISK");
    let machine = Machine::spec(TARGET).power().memory_mib(2048).disk(disk).nic(MAC).netboot().logs(&logs);
    let machine = machine.start(&network)?;
    let followed = cycle::follow(&site, &machine, &["done"], &steps);
    let events = site.cli(&["events"])?;
    std::fs::write(logs.join("events.txt"), &events).context("keeping the events")?;
    followed?;
    machine.wait_exit(LIMIT)?;
    for seen in ["GRUB from", "ppc64le", "POWERDISK"] {
        ensure!(events.contains(seen), "no event says {seen:?}:\n{events}");
    }
    // What is not armed goes on to its disk, on which there is nothing here.
    let disk = Disk::existing(&network.scratch().join("power.img"), Bus::Virtio);
    let again = Machine::spec(TARGET).power().disk(disk).nic(MAC).netboot().logs(&logs.join("again"));
    let again = again.start(&network)?;
    again.console().expect("Trying to load: .*ethernet[^$]*Trying to load: .*(scsi|disk|virtio)", LIMIT)?;
    let state = site.status(TARGET)?.state;
    ensure!(state == "done", "the node is {state}");
    again.power_off()?;
    println!("{}", steps.table());
    println!("1 passed, 0 failed");
    Ok(())
}
