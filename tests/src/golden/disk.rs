//! The golden client's disk: GPT with bios_grub, ext4 /boot, and a volume group with ext4 root, xfs /var and swap.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};
use sysclone_exec::{Command, Runner, System, Tool};

use super::{DISK_BYTES, Kind, awkward, boot, power, private};
use crate::lab::volumes::{Extent, logical_volumes, lvm, partitions};
use crate::lab::{Loop, Mount};

const SFDISK: Tool = Tool("sfdisk");
const CP: Tool = Tool("cp");
const BLKID: Tool = Tool("blkid");
const MKSWAP: Tool = Tool("mkswap");
const MKFS_EXT4: Tool = Tool("mkfs.ext4");
const MKFS_XFS: Tool = Tool("mkfs.xfs");

/// Where GRUB embeds itself on a BIOS machine, and from where Open Firmware starts it.
const BIOS_GRUB: &str = "size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios_grub\n";
const PREP: &str = "size=8MiB, type=9E1A2D38-C612-4316-AA26-8B49521E5A8B, name=prep\n";

/// The partitions behind that one, for sfdisk.
const TABLE: &str = "size=256MiB, type=linux, name=boot\n\
    type=lvm, name=lvm\n";

/// Volume group of the golden client.
const GROUP: &str = "vg0";

/// Logical volumes and their sizes; the rest of the group stays free.
const VOLUMES: &[(&str, &str)] = &[("root", "1600M"), ("var", "512M"), ("swap", "128M")];

/// Writes the tree at `root` to a new disk image, mounted at `mnt` meanwhile.
pub(super) fn write(kind: Kind, root: &Path, image: &Path, mnt: &Path) -> Result<()> {
    File::create(image)?.set_len(DISK_BYTES)?;
    let first = if kind == Kind::Power { PREP } else { BIOS_GRUB };
    let table = format!("label: gpt\n{first}{TABLE}");
    System.run(&Command::new(SFDISK).arg("--quiet").arg(image).stdin(table))?;
    let [loader_part, boot_part, lvm_part] = partitions(image)?[..] else { bail!("not three partitions") };
    let [root_part, var_part, swap_part] = create_volumes(image, lvm_part).context("creating volumes")?;

    let attach = |part: Extent| Loop::attach(image, part.start, Some(part.size));
    let (whole, boot_loop) = (Loop::attach(image, 0, None)?, attach(boot_part)?);
    let (root_loop, var_loop, swap_loop) = (attach(root_part)?, attach(var_part)?, attach(swap_part)?);
    let (boot_dev, root_dev) =
        (private::alias(boot_loop.device(), "vdb")?, private::alias(root_loop.device(), "vgroot")?);
    System.run(&Command::new(MKFS_EXT4).args(["-q", "-L", "BOOT"]).arg(&boot_dev))?;
    System.run(&Command::new(MKFS_EXT4).arg("-q").arg(&root_dev))?;
    System.run(&Command::new(MKFS_XFS).arg("-q").arg(var_loop.device()))?;
    System.run(&Command::new(MKSWAP).arg(swap_loop.device()))?;

    let _root = Mount::new(&root_dev, mnt, "ext4", "defaults")?;
    let _boot = Mount::new(&boot_dev, &mnt.join("boot"), "ext4", "defaults")?;
    let _var = Mount::new(var_loop.device(), &mnt.join("var"), "xfs", "defaults")?;
    System
        .run(&Command::new(CP).args(["-a", "--"]).arg(root.join(".")).arg(mnt))
        .context("copying the tree")?;
    fs::write(mnt.join("etc/fstab"), fstab(&boot_dev)?).context("writing fstab")?;
    if kind == Kind::Power {
        power::install(mnt, &uuid_of(&boot_dev)?, (image, loader_part.start)).context("installing GRUB")?;
        boot::make_menu(mnt, "/dev/mapper/vg0-root", boot::Console::Hypervisor)?;
    } else {
        boot::install(mnt, &private::alias(whole.device(), "vda")?).context("installing GRUB")?;
    }
    for place in awkward::PLACES {
        awkward::fill(&mnt.join(place)).with_context(|| format!("filling /{place}"))?;
    }
    Ok(())
}

/// Creates the volume group in the partition and returns where the volumes lie in the image.
fn create_volumes(image: &Path, partition: Extent) -> Result<[Extent; 3]> {
    let attached = Loop::attach(image, partition.start, Some(partition.size))?;
    let pv = attached.device();
    System.run(&lvm("pvcreate", pv).arg("--quiet").arg(pv))?;
    System.run(&lvm("vgcreate", pv).args(["--quiet", GROUP]).arg(pv))?;
    for (name, size) in VOLUMES {
        let create = lvm("lvcreate", pv).args(["--quiet", "--yes", "-an", "-Zn", "-Wn"]);
        System.run(&create.args(["-L", size, "-n", name, GROUP]))?;
    }
    let found = logical_volumes(pv)?;
    let place = |name: &str| {
        let (_, extent) = found.iter().find(|(volume, _)| volume == name).context("a volume is missing")?;
        Ok::<_, anyhow::Error>(Extent { start: partition.start + extent.start, size: extent.size })
    };
    Ok([place(VOLUMES[0].0)?, place(VOLUMES[1].0)?, place(VOLUMES[2].0)?])
}

fn fstab(boot_device: &Path) -> Result<String> {
    let uuid = uuid_of(boot_device)?;
    Ok(format!(
        "/dev/mapper/{GROUP}-root / ext4 errors=remount-ro 0 1\n\
         UUID={} /boot ext4 defaults 0 2\n\
         /dev/mapper/{GROUP}-var /var xfs defaults 0 0\n\
         /dev/mapper/{GROUP}-swap none swap sw 0 0\n",
        uuid
    ))
}

/// The UUID of the filesystem or swap area on a device.
pub(super) fn uuid_of(device: &Path) -> Result<String> {
    let blkid = Command::new(BLKID).args(["-p", "-s", "UUID", "-o", "value"]).arg(device);
    Ok(System.run(&blkid)?.text().trim().to_owned())
}
