//! The agent's engine on POWER, under emulation on this machine: its own tests, and the same image captured and applied
//! by each architecture with byte for byte the same results; and a whole machine that boots from the network.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sysclone_exec::{Command, Runner, System, Tool};

use crate::arch::Arch;
use crate::{build, power_tree, setup, shell};

const ENV: Tool = Tool("env");
const RSYNC: Tool = Tool("rsync");
const CHATTR: Tool = Tool("chattr");

/// The test of a system call that the emulator does not have.
const NEEDS_OPENAT2: &str = "directories_are_opened_but_no_link_and_nothing_outside";
/// The agent's that do.
const NEED_OPENAT2: &str = "identity::";

/// The crates of which the agent consists, whose tests need nothing but the emulator. Those of the image engine that
/// mount volumes and compare trees run on x86_64 only, and so do tests of `openat2`, which the emulator does not have:
/// here the agent goes the way of old kernels.
const TESTED: [&[&str]; 3] = [
    &["--package", "sysclone-protocol", "--package", "sysclone-bootloaders", "--tests"],
    &[
        "--package",
        "sysclone-image",
        "--lib",
        "--test",
        "tamper",
        "--test",
        "store",
        "--test",
        "property",
        "--",
        "--skip",
        NEEDS_OPENAT2,
    ],
    &[
        "--package",
        "sysclone-agent",
        "--lib",
        "--test",
        "client",
        "--test",
        "sources",
        "--",
        "--skip",
        NEED_OPENAT2,
    ],
];

/// Runs the tests of each architecture and compares it with x86_64.
pub(crate) fn test(architectures: &[Arch]) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "files of other owners are compared: run it as root");
    setup::power(architectures)?;
    let ours = Engine::build(Arch::X86_64)?;
    let work = tempfile::Builder::new().prefix("sysclone-power-").tempdir_in("/var/tmp");
    let work = work.context("creating a folder in /var/tmp")?;
    let result = architectures.iter().filter(|arch| arch.is_power()).try_for_each(|&arch| {
        let folder = work.path().join(arch.name());
        std::fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let theirs = Engine::build(arch)?;
        compare(&ours, &theirs, &folder).with_context(|| format!("comparing {} with x86_64", arch.name()))?;
        eprintln!("{}: the same image, the same trees, the same manifests as on x86_64", arch.name());
        for words in TESTED {
            let (mut cargo, _) = arch.cargo(&["test"])?;
            shell::run(cargo.args(words))?;
        }
        Ok(())
    });
    let result = result.and_then(|()| boot(architectures));
    // Immutable files could otherwise not be removed with the folder.
    let release = System.run(&Command::new(CHATTR).args(["-R", "-f", "-i", "-a"]).arg(work.path()).accept(1));
    result.and(release.map(drop).context("releasing immutable files"))
}

/// Boots POWER machines from the network; a golden client is for little-endian ones only.
fn boot(architectures: &[Arch]) -> Result<()> {
    setup::run()?;
    let programs = build::run(&build::Options { arch: architectures.to_vec() })?;
    let mut suite =
        shell::cargo(&["test", "--package", "sysclone-tests", "--test", "power", "--locked", "--"]);
    for arch in architectures.iter().filter(|arch| arch.is_power()) {
        if *arch == Arch::Ppc64 {
            build::big_endian(&programs)?;
        }
        suite.arg(arch.name());
    }
    suite.env("SYSCLONE_BIN", programs.bin).env("SYSCLONE_BOOT", programs.boot);
    shell::run(suite.env("SYSCLONE_LAB_CACHE", build::cache_dir()).env("SYSCLONE_LAB_LOGS", shell::lab_dir()))
}

/// The example `engine` of the image crate, built for one architecture.
struct Engine {
    program: PathBuf,
    arch: Arch,
}

impl Engine {
    fn build(arch: Arch) -> Result<Self> {
        let words = ["build", "--package", "sysclone-image", "--example", "engine"];
        let (mut cargo, folder) = arch.cargo(&words)?;
        shell::run(&mut cargo)?;
        Ok(Self { program: folder.join("debug/examples/engine"), arch })
    }

    fn run(&self, words: &[&OsStr]) -> Result<Vec<u8>> {
        let command = Command::new(ENV).args(self.arch.runner().split_ascii_whitespace());
        let output = System.run(&command.arg(&self.program).args(words));
        Ok(output.with_context(|| format!("running the engine of {}", self.arch.name()))?.stdout)
    }

    fn capture(&self, root: &Path, store: &Path) -> Result<Vec<u8>> {
        self.run(&["capture".as_ref(), root.as_ref(), store.as_ref()])
    }

    fn apply(&self, store: &Path, root: &Path) -> Result<Vec<u8>> {
        std::fs::create_dir(root).with_context(|| format!("creating {}", root.display()))?;
        self.run(&["apply".as_ref(), store.as_ref(), root.as_ref()])
    }

    fn encode(&self, store: &Path) -> Result<Vec<u8>> {
        self.run(&["encode".as_ref(), store.as_ref()])
    }
}

fn compare(ours: &Engine, theirs: &Engine, folder: &Path) -> Result<()> {
    let at = |name: &str| folder.join(name);
    power_tree::fill(&at("golden")).context("making the files to capture")?;
    let (captured, again) =
        (ours.capture(&at("golden"), &at("store"))?, theirs.capture(&at("golden"), &at("store-of-theirs"))?);
    same("the manifests of two captures differ", &captured, &again)?;
    same("a manifest is written differently", &ours.encode(&at("store"))?, &theirs.encode(&at("store"))?)?;
    // What each made is read by the other.
    same(
        "what was applied differs",
        &ours.apply(&at("store-of-theirs"), &at("clone"))?,
        &theirs.apply(&at("store"), &at("clone-by-theirs"))?,
    )?;
    same_trees(&at("golden"), &at("clone"))?;
    same_trees(&at("golden"), &at("clone-by-theirs"))
}

/// For text the first line that differs is told.
fn same(what: &str, ours: &[u8], theirs: &[u8]) -> Result<()> {
    ensure!(!ours.is_empty(), "{what}: there is nothing to compare");
    if ours == theirs {
        return Ok(());
    }
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>();
    let (ours, theirs) = (lines(ours), lines(theirs));
    let first = ours.iter().zip(&theirs).find(|(a, b)| a != b);
    match first {
        Some((ours, theirs)) => bail!("{what}:\nx86_64: {ours}\nother:  {theirs}"),
        None => bail!("{what}: {} lines on x86_64, {} on the other", ours.len(), theirs.len()),
    }
}

fn same_trees(golden: &Path, clone: &Path) -> Result<()> {
    let slash = |path: &Path| format!("{}/", path.display());
    let words = ["-aHAXn", "--checksum", "--itemize-changes", "--delete", "--numeric-ids"];
    let rsync = Command::new(RSYNC).args(words).arg(slash(golden)).arg(slash(clone));
    let text = System.run(&rsync).context("comparing two trees")?.text();
    ensure!(text.is_empty(), "{} and {} differ:\n{text}", golden.display(), clone.display());
    Ok(())
}
