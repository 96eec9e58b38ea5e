//! The golden client that boots by UEFI, with Debian's signed shim and GRUB: GPT with an EFI system partition, swap,
//! and a btrfs with a subvolume for `/` and one for `/home`.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};
use sysclone_exec::{Command, Runner, System, Tool};

use super::disk::uuid_of;
use super::{DISK_BYTES, awkward, boot, private};
use crate::lab::volumes::{Extent, partitions};
use crate::lab::{Loop, Mount};

const SFDISK: Tool = Tool("sfdisk");
const CP: Tool = Tool("cp");
const MKSWAP: Tool = Tool("mkswap");
const MKFS_BTRFS: Tool = Tool("mkfs.btrfs");
const BTRFS: Tool = Tool("btrfs");
const MKFS_VFAT: Tool = Tool("mkfs.vfat");
/// The host's kernel may have no FAT.
const MMD: Tool = Tool("mmd");
const MCOPY: Tool = Tool("mcopy");

const TABLE: &str = "label: gpt\n\
    size=64MiB, type=uefi, name=ESP\n\
    size=128MiB, type=swap, name=swap\n\
    type=linux, name=root\n";

/// Files of the EFI system partition, from the tree. There is no `fbx64.efi` beside the first: it would only write boot
/// entries and restart.
const LOADERS: &[(&str, &str)] = &[
    ("EFI/BOOT/BOOTX64.EFI", "usr/lib/shim/shimx64.efi.signed"),
    ("EFI/BOOT/grubx64.efi", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"),
    ("EFI/debian/shimx64.efi", "usr/lib/shim/shimx64.efi.signed"),
    ("EFI/debian/grubx64.efi", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"),
];

/// Writes the tree at `root` to a new disk image, mounted at `mnt` meanwhile.
pub(super) fn write(root: &Path, image: &Path, mnt: &Path) -> Result<()> {
    File::create(image)?.set_len(DISK_BYTES)?;
    System.run(&Command::new(SFDISK).arg("--quiet").arg(image).stdin(TABLE))?;
    let [esp_part, swap_part, root_part] = partitions(image)?[..] else { bail!("not three partitions") };
    let attach = |part: Extent| Loop::attach(image, part.start, Some(part.size));
    let (esp, swap, root_loop) = (attach(esp_part)?, attach(swap_part)?, attach(root_part)?);
    // The name that the menu's maker knows the root by.
    let device = private::alias(root_loop.device(), "vgroot")?;
    System.run(&Command::new(MKFS_VFAT).args(["-F", "32", "-s", "1", "-n", "ESP"]).arg(esp.device()))?;
    System.run(&Command::new(MKSWAP).arg(swap.device()))?;
    System.run(&Command::new(MKFS_BTRFS).args(["-q", "-L", "root"]).arg(&device))?;
    let uuid = uuid_of(&device)?;
    fill_esp(root, esp.device(), &uuid).context("filling the EFI system partition")?;

    {
        let _top = Mount::new(&device, mnt, "btrfs", "defaults")?;
        for subvolume in ["@", "@home"] {
            System.run(&Command::new(BTRFS).args(["subvolume", "create"]).arg(mnt.join(subvolume)))?;
        }
    }
    let _root = Mount::new(&device, mnt, "btrfs", "subvol=@")?;
    let _home = Mount::new(&device, &mnt.join("home"), "btrfs", "subvol=@home")?;
    System
        .run(&Command::new(CP).args(["-a", "--"]).arg(root.join(".")).arg(mnt))
        .context("copying the tree")?;
    fs::create_dir_all(mnt.join("boot/efi")).context("creating /boot/efi")?;
    let (esp, swap) = (uuid_of(esp.device())?, uuid_of(swap.device())?);
    let fstab = format!(
        "UUID={uuid} / btrfs defaults,subvol=@ 0 0\nUUID={uuid} /home btrfs defaults,subvol=@home 0 0\nUUID={esp} /boot/efi vfat umask=0077 0 1\n\
         UUID={swap} none swap sw 0 0\n"
    );
    fs::write(mnt.join("etc/fstab"), fstab).context("writing fstab")?;
    boot::make_menu(mnt, &format!("UUID={uuid}"), boot::Console::Serial).context("making GRUB's menu")?;
    for place in awkward::PLACES {
        awkward::fill(&mnt.join(place)).with_context(|| format!("filling /{place}"))?;
    }
    Ok(())
}

fn fill_esp(root: &Path, device: &Path, root_uuid: &str) -> Result<()> {
    System.run(&Command::new(MMD).arg("-i").arg(device).args(["::EFI", "::EFI/BOOT", "::EFI/debian"]))?;
    let copy = |from: &Path, to: &str| {
        let command = Command::new(MCOPY).arg("-i").arg(device).arg(from).arg(format!("::{to}"));
        System.run(&command).with_context(|| format!("copying {}", from.display()))
    };
    for (to, from) in LOADERS {
        copy(&root.join(from), to)?;
    }
    let start = tempfile::NamedTempFile::new().context("making a file")?;
    let text = format!(
        "search.fs_uuid {root_uuid} root\nset prefix=($root)'/@/boot/grub'\nconfigfile $prefix/grub.cfg\n"
    );
    fs::write(start.path(), text).context("writing GRUB's start file")?;
    copy(start.path(), "EFI/debian/grub.cfg").map(drop)
}
