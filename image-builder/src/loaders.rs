//! The programs that firmware fetches first. For PC BIOS: iPXE, PXELINUX and a GRUB core of our making. For UEFI:
//! iPXE, and shim with GRUB as Debian signs them, which start under Secure Boot too. For Open Firmware: a GRUB core of
//! our making.

use std::path::Path;

use anyhow::{Context, Result};
use sysclone_exec::{Command, Runner, Tool};

use crate::arch::Arch;
use crate::tree::{Tree, read};

const GRUB_MKIMAGE: Tool = Tool("grub-mkimage");

/// Programs this module starts.
pub const TOOLS: [Tool; 1] = [GRUB_MKIMAGE];

/// Debian packages with loaders for an architecture.
#[must_use]
pub fn packages(arch: Arch) -> Vec<String> {
    let names: &[&str] = match arch {
        Arch::X86_64 => {
            &["ipxe", "pxelinux", "syslinux-common", "grub-pc-bin", "shim-signed", "grub-efi-amd64-signed"]
        }
        Arch::Ppc64le | Arch::Ppc64 => &["grub-ieee1275-bin"],
    };
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Loaders that packages hold ready: published name, path in the package.
const READY: [(&str, &str); 7] = [
    ("undionly.kpxe", "usr/lib/ipxe/undionly.kpxe"),
    ("snponly.efi", "usr/lib/ipxe/snponly.efi"),
    // shim fetches its second stage by this name from where it came from itself.
    ("efi/shimx64.efi", "usr/lib/shim/shimx64.efi.signed"),
    ("efi/grubx64.efi", "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"),
    ("lpxelinux.0", "usr/lib/PXELINUX/lpxelinux.0"),
    ("pxelinux.0", "usr/lib/PXELINUX/pxelinux.0"),
    ("ldlinux.c32", "usr/lib/syslinux/modules/bios/ldlinux.c32"),
];

/// Published name of GRUB's core for PC BIOS.
pub const GRUB_PC: &str = "grub2/i386-pc/core.0";

/// Published name of GRUB's core for Open Firmware, which is the same for both byte orders.
pub const GRUB_IEEE1275: &str = "grub2/powerpc-ieee1275/core.elf";

/// What Debian's signed GRUB reads first: its folder is compiled in.
const GRUB_SIGNED_START: (&str, &str) = ("grub/grub.cfg", include_str!("../lists/grub-signed-start.cfg"));

/// What GRUB's core holds: network, the commands that configurations use, and what chaining to a disk needs. Nothing
/// is loaded later, so that the core and its configuration are the only files that travel by TFTP.
const GRUB_MODULES: &str = "pxe net tftp http normal configfile linux echo test true sleep regexp minicmd reboot halt \
    boot chain pxechain biosdisk part_msdos part_gpt all_video memdisk tar";

/// The same on Open Firmware, which has its own network and disks.
const GRUB_IEEE1275_MODULES: &str = "ofnet net tftp http normal configfile linux echo test true sleep regexp minicmd \
    reboot halt boot part_msdos part_gpt memdisk tar gzio";

/// What GRUB does first. It lies as a file in a memory disk inside the core, because the text that a core can carry
/// without one is read by GRUB's rescue parser, which knows no loops.
const GRUB_START: &str = include_str!("../lists/grub-start.cfg");

/// All loaders for an architecture with their published names, from packages unpacked in `tree`.
///
/// # Errors
/// A loader is not in its package, or GRUB's core cannot be made.
pub fn collect(runner: &dyn Runner, arch: Arch, tree: &Tree) -> Result<Vec<(String, Vec<u8>)>> {
    let modules = |platform: &str| tree.host_path(&format!("usr/lib/grub/{platform}"));
    if arch != Arch::X86_64 {
        let platform = ("powerpc-ieee1275", GRUB_IEEE1275_MODULES);
        let core = grub_core(runner, platform, &modules("powerpc-ieee1275"))?;
        return Ok(vec![(GRUB_IEEE1275.to_owned(), core)]);
    }
    let mut loaders = Vec::new();
    for (name, path) in READY {
        loaders.push((name.to_owned(), tree.read(path)?));
    }
    let (name, text) = GRUB_SIGNED_START;
    loaders.push((name.to_owned(), text.as_bytes().to_vec()));
    loaders
        .push((GRUB_PC.to_owned(), grub_core(runner, ("i386-pc-pxe", GRUB_MODULES), &modules("i386-pc"))?));
    Ok(loaders)
}

fn grub_core(runner: &dyn Runner, (format, names): (&str, &str), modules: &Path) -> Result<Vec<u8>> {
    let dir = tempfile::tempdir().context("creating a temporary directory")?;
    let at = |name: &str| dir.path().join(name);
    let (disk, first, core) = (at("disk.tar"), at("first.cfg"), at("core"));
    std::fs::write(&disk, tar("boot/grub/grub.cfg", GRUB_START.as_bytes()))
        .with_context(|| format!("writing {}", disk.display()))?;
    // GRUB takes its address from Open Firmware when it looks for its prefix there, which it does not do when that has
    // a device.
    let (prefix, text) = match format {
        "powerpc-ieee1275" => ("/grub2", "normal (memdisk)/boot/grub/grub.cfg\n"),
        _ => ("(memdisk)/boot/grub", ""),
    };
    std::fs::write(&first, text).with_context(|| format!("writing {}", first.display()))?;
    let make = Command::new(GRUB_MKIMAGE)
        .arg(format!("--format={format}"))
        .arg(format!("--prefix={prefix}"))
        .args(["--compression=auto", "--directory"])
        .arg(modules)
        .arg("--memdisk")
        .arg(&disk)
        .arg("--config")
        .arg(&first)
        .arg("--output")
        .arg(&core)
        .args(names.split_ascii_whitespace());
    runner.run(&make).with_context(|| format!("making GRUB's network core for {format}"))?;
    read(&core)
}

/// A tar archive (POSIX ustar) of one file, owned by root, of time 0.
fn tar(name: &str, data: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put =
        |offset: usize, text: &str| header[offset..offset + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", data.len()));
    put(136, "00000000000");
    // The checksum counts its own field as spaces.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(data);
    // The last block is filled up, and two empty blocks end the archive.
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

#[cfg(test)]
mod tests {
    use sysclone_exec::System;

    use super::*;

    #[test]
    fn gnu_tar_reads_the_memory_disk() {
        let archive = tar("boot/grub/grub.cfg", GRUB_START.as_bytes());
        let out = System
            .run(&Command::new(Tool("tar")).args(["-xO", "boot/grub/grub.cfg"]).stdin(archive))
            .unwrap();
        assert_eq!(out.text(), GRUB_START);
    }
}
