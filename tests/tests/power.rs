//! POWER machines with Open Firmware. One boots from the network, SLOF, GRUB, our kernel and the agent, which works from
//! memory and switches it off; little-endian, and big-endian with a kernel that was built for the test. A little-endian
//! golden client with PReP and LVM is captured and cloned. Started by `cargo xtask test --arch ppc64le,ppc64`, which
//! builds what it needs.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sysclone_tests::cycle::{self, TARGET, TARGET_MAC};
use sysclone_tests::golden::{Golden, HOSTNAME, Kind};
use sysclone_tests::lab::{Bus, Disk, Machine, Network, Ssh};
use sysclone_tests::site::{Programs, Site};
use sysclone_tests::steps::Steps;

const GOLDEN_MAC: &str = "52:54:00:77:00:01";
const GOLDEN_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
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

/// The words are the architectures; little-endian only when there are none.
fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let (little, big) =
        (words.is_empty() || words.iter().any(|w| w == "ppc64le"), words.iter().any(|w| w == "ppc64"));
    let programs = Programs { bin: path("SYSCLONE_BIN")?, boot: path("SYSCLONE_BOOT")? };
    let logs = path("SYSCLONE_LAB_LOGS")?.join("power");
    std::fs::create_dir_all(&logs).context("creating the log folder")?;
    let steps = Steps::default();
    let mut passed = 0;
    if big {
        // It has no golden client, so the server needs no key to one.
        let network = Network::new()?;
        let site = Site::start(&network, &programs, Path::new("/dev/null"), &logs)?;
        define(&site, "ppc64")?;
        let world = World { network: &network, site: &site, steps: &steps, logs: &logs };
        world.keeping_events("events-big.txt", World::works_big_endian)?;
        passed += 1;
    }
    if little {
        let golden = steps.run("preparing the golden client's disk", || {
            let builder = PathBuf::from(env!("CARGO_BIN_EXE_xtask"));
            Golden::prepare(Kind::Power, &path("SYSCLONE_LAB_CACHE")?, &builder, |text| {
                steps.say(&format!("  {text}"))
            })
        })?;
        let network = Network::new()?;
        let site = Site::start(&network, &programs, &golden.identity(), &logs)?;
        define(&site, "ppc64le")?;
        let world = World { network: &network, site: &site, steps: &steps, logs: &logs };
        world.keeping_events("events.txt", |world| {
            world.works_from_memory().and_then(|()| world.is_cloned(&golden))
        })?;
        passed += 2;
    }
    println!("\n{}", steps.table());
    println!("{passed} passed, 0 failed");
    Ok(())
}

fn define(site: &Site<'_>, arch: &str) -> Result<()> {
    let (golden, target, words) = (GOLDEN_ADDRESS, cycle::TARGET_ADDRESS, cycle::KERNEL_ARGS);
    for definition in [
        "-t network -o lab net=10.77.0.0 mask=255.255.255.0".to_owned(),
        format!("-t node -o {HOSTNAME} groups=lab arch={arch} mac={GOLDEN_MAC} ip={golden}"),
        format!(
            "-t node -o {TARGET} groups=lab arch={arch} mac={TARGET_MAC} ip={target} addkcmdline={words}"
        ),
    ] {
        let words: Vec<&str> = std::iter::once("mkdef").chain(definition.split(' ')).collect();
        site.cli(&words)?;
    }
    Ok(())
}

struct World<'a> {
    network: &'a Network,
    site: &'a Site<'a>,
    steps: &'a Steps,
    logs: &'a Path,
}

impl World<'_> {
    fn target(&self, disk: &str, logs: &str) -> Result<Machine> {
        let disk = Disk::existing(&self.network.scratch().join(disk), Bus::Virtio).serial("POWERDISK");
        let machine = Machine::spec(TARGET).power().memory_mib(2048).disk(disk).nic(TARGET_MAC).netboot();
        machine.logs(&self.logs.join(logs)).start(self.network)
    }

    /// Runs cases and keeps what the server said, also when they fail.
    fn keeping_events(&self, file: &str, cases: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let outcome = cases(self);
        let events = self.site.cli(&["events"]).context("reading the events")?;
        std::fs::write(self.logs.join(file), &events).context("keeping the events")?;
        outcome
    }

    /// SLOF, GRUB, a big-endian kernel and the big-endian agent, on the oldest processor that the kernel is for.
    fn works_big_endian(&self) -> Result<()> {
        self.site.cli(&["nodeset", TARGET, "runcmd=uname -m; cat /sys/block/vda/serial,shutdown"])?;
        drop(Disk::blank(&self.network.scratch().join("empty.img"), DISK_BYTES, Bus::Virtio)?);
        let disk = Disk::existing(&self.network.scratch().join("empty.img"), Bus::Virtio).serial("POWERDISK");
        let machine = Machine::spec(TARGET).power().cpu("power8").memory_mib(2048).disk(disk).nic(TARGET_MAC);
        let machine = machine.netboot().logs(&self.logs.join("big")).start(self.network)?;
        cycle::follow(self.site, &machine, &["done"], self.steps)?;
        machine.wait_exit(LIMIT)?;
        let events = self.site.cli(&["events"])?;
        for seen in ["GRUB from", "ppc64\n", "POWERDISK"] {
            ensure!(events.contains(seen), "no event says {seen:?}:\n{events}");
        }
        Ok(())
    }

    fn works_from_memory(&self) -> Result<()> {
        self.site.cli(&["nodeset", TARGET, "runcmd=uname -m; cat /sys/block/vda/serial,shutdown"])?;
        drop(Disk::blank(&self.network.scratch().join("empty.img"), DISK_BYTES, Bus::Virtio)?);
        let machine = self.target("empty.img", "memory")?;
        cycle::follow(self.site, &machine, &["done"], self.steps)?;
        machine.wait_exit(LIMIT)?;
        let events = self.site.cli(&["events"])?;
        for seen in ["GRUB from", "ppc64le", "POWERDISK"] {
            ensure!(events.contains(seen), "no event says {seen:?}:\n{events}");
        }
        // What is not armed goes on to its disk, on which there is nothing here.
        let again = self.target("empty.img", "again")?;
        again
            .console()
            .expect("Trying to load: .*ethernet[^$]*Trying to load: .*(scsi|disk|virtio)", LIMIT)?;
        again.power_off()
    }

    /// Golden client, capture, clone, and the clone's own boot; PReP, LVM, ext4 and xfs.
    fn is_cloned(&self, golden: &Golden) -> Result<()> {
        let machine = self.steps.run("booting node golden", || {
            let disk =
                Disk::copy_of(&golden.disk(), &self.network.scratch().join("golden.img"), Bus::Virtio)?;
            let machine = Machine::spec(HOSTNAME).power().memory_mib(2048).disk(disk).nic(GOLDEN_MAC);
            let machine = machine.logs(self.logs).start(self.network)?;
            Ssh::new(self.network, GOLDEN_ADDRESS, &golden.identity()).wait_ready(&machine, LIMIT)?;
            Ok(machine)
        })?;
        self.steps.run("capturing node golden", || cycle::capture(self.site, self.steps))?;
        machine.power_off()?;
        cycle::arm(self.site)?;
        drop(Disk::blank(&self.network.scratch().join("clone.img"), cycle::TARGET_BYTES, Bus::Virtio)?);
        let machine = self.target("clone.img", "clone")?;
        cycle::follow(self.site, &machine, &["booted"], self.steps)?;
        let ssh = Ssh::new(self.network, cycle::TARGET_ADDRESS, &golden.identity());
        ssh.wait_ready(&machine, LIMIT)?;
        let facts =
            ssh.run("uname -m; hostname; findmnt -no SOURCE,FSTYPE /; findmnt -no SOURCE,FSTYPE /var")?;
        for seen in ["ppc64le", TARGET, "vg0-root", "ext4", "vg0-var", "xfs"] {
            ensure!(facts.contains(seen), "the clone does not say {seen:?}: {facts}");
        }
        machine.power_off()
    }
}
