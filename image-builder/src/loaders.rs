//! The programs that firmware fetches first: iPXE, PXELINUX and a GRUB core, for PC BIOS.

use std::path::Path;

use anyhow::{Context, Result};
use sysclone_exec::{Command, Runner, Tool};

use crate::tree::{Tree, read};

const GRUB_MKIMAGE: Tool = Tool("grub-mkimage");

/// Programs this module starts.
pub const TOOLS: [Tool; 1] = [GRUB_MKIMAGE];

/// Debian packages with loaders.
pub const PACKAGES: [&str; 4] = ["ipxe", "pxelinux", "syslinux-common", "grub-pc-bin"];

/// Loaders that packages hold ready: published name, path in the package.
const READY: [(&str, &str); 4] = [
    ("undionly.kpxe", "usr/lib/ipxe/undionly.kpxe"),
    ("lpxelinux.0", "usr/lib/PXELINUX/lpxelinux.0"),
    ("pxelinux.0", "usr/lib/PXELINUX/pxelinux.0"),
    ("ldlinux.c32", "usr/lib/syslinux/modules/bios/ldlinux.c32"),
];

/// Published name of GRUB's core for PC BIOS.
pub const GRUB_PC: &str = "grub2/i386-pc/core.0";

/// What GRUB's core holds: network, the commands that configurations use, and what chaining to a disk needs. Nothing
/// is loaded later, so that the core and its configuration are the only files that travel by TFTP.
const GRUB_MODULES: [&str; 21] = [
    "pxe",
    "net",
    "tftp",
    "http",
    "normal",
    "configfile",
    "linux",
    "echo",
    "test",
    "true",
    "sleep",
    "regexp",
    "minicmd",
    "reboot",
    "halt",
    "boot",
    "chain",
    "biosdisk",
    "part_msdos",
    "part_gpt",
    "all_video",
];

/// What GRUB does first: fetch the machine's own configuration, over and over until one ends in starting something.
const GRUB_START: &str = include_str!("../lists/grub-start.cfg");

/// All loaders with their published names, from packages unpacked in `tree`.
///
/// # Errors
/// A loader is not in its package, or GRUB's core cannot be made.
pub fn collect(runner: &dyn Runner, tree: &Tree) -> Result<Vec<(String, Vec<u8>)>> {
    let mut loaders = Vec::new();
    for (name, path) in READY {
        loaders.push((name.to_owned(), tree.read(path)?));
    }
    loaders.push((GRUB_PC.to_owned(), grub_pc(runner, &tree.host_path("usr/lib/grub/i386-pc"))?));
    Ok(loaders)
}

fn grub_pc(runner: &dyn Runner, modules: &Path) -> Result<Vec<u8>> {
    let dir = tempfile::tempdir().context("creating a temporary directory")?;
    let (start, core) = (dir.path().join("start.cfg"), dir.path().join("core.0"));
    std::fs::write(&start, GRUB_START).with_context(|| format!("writing {}", start.display()))?;
    let make = Command::new(GRUB_MKIMAGE)
        .args(["--format=i386-pc-pxe", "--prefix=/grub2", "--compression=auto", "--directory"])
        .arg(modules)
        .arg("--config")
        .arg(&start)
        .arg("--output")
        .arg(&core)
        .args(GRUB_MODULES);
    runner.run(&make).context("making GRUB's network core")?;
    read(&core)
}
