//! What is different about a golden client for POWER (ppc64le): its programs run here under emulation while it is made,
//! and its GRUB lies in a PReP partition.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sysclone_exec::{Command, Runner, System, Tool};

const GRUB_MKIMAGE: Tool = Tool("grub-mkimage");
const MOUNT: Tool = Tool("mount");

const BINFMT: &str = "/proc/sys/fs/binfmt_misc";
/// As the package qemu-user-static has it, for systemd's binfmt service.
const INTERPRETER: &str = "/usr/lib/binfmt.d/qemu-ppc64le.conf";

/// Where GRUB keeps its modules and the copy of its core, below `/boot`.
const FOLDER: &str = "grub/powerpc-ieee1275";
/// What the core needs to find `/boot`.
const MODULES: &str = "part_gpt part_msdos ext2 search search_fs_uuid normal";

/// A hook for mmdebstrap: an initramfs with the lab's drivers only. One with all of Debian's takes ten minutes to make
/// under emulation.
pub(super) const FEW_DRIVERS: &str = "mkdir -p \"$1/etc/initramfs-tools/conf.d\" \
    \"$1/usr/share/initramfs-tools/modules.d\" && \
    echo MODULES=list > \"$1/etc/initramfs-tools/conf.d/lab\" && \
    echo 'virtio_pci virtio_blk virtio_scsi sd_mod nvme virtio_net e1000 dm_mod ext4 xfs' | tr ' ' '\\n' \
    > \"$1/usr/share/initramfs-tools/modules.d/lab\"";

/// Has the kernel start programs for POWER by the emulator, as installing it does on a machine with systemd.
pub(super) fn run_here() -> Result<()> {
    if !Path::new(BINFMT).join("register").exists() {
        System.run(&Command::new(MOUNT).args(["-t", "binfmt_misc", "binfmt_misc", BINFMT]))?;
    }
    if Path::new(BINFMT).join("qemu-ppc64le").exists() {
        return Ok(());
    }
    let text = fs::read_to_string(INTERPRETER)
        .with_context(|| format!("reading {INTERPRETER}, which Debian's package qemu-user-static holds"))?;
    fs::write(Path::new(BINFMT).join("register"), text.trim_end()).context("registering the emulator")
}

/// Makes GRUB's core from the modules of the tree at `root`, whose `/boot` has this UUID, and writes it to the PReP
/// partition: bytes of `image` from `start`.
pub(super) fn install(root: &Path, boot_uuid: &str, (image, start): (&Path, u64)) -> Result<()> {
    let (modules, folder) = (root.join("usr/lib/grub/powerpc-ieee1275"), root.join("boot").join(FOLDER));
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    for entry in modules.read_dir().with_context(|| format!("reading {}", modules.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "mod" || extension == "lst") {
            let name = path.file_name().expect("a listed file has a name");
            fs::copy(&path, folder.join(name)).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    let (start_file, core) = (folder.join("load.cfg"), folder.join("core.elf"));
    fs::write(&start_file, format!("search.fs_uuid {boot_uuid} root\nset prefix=($root)/grub\n"))?;
    let make = Command::new(GRUB_MKIMAGE)
        .args(["--format=powerpc-ieee1275", "--note", "--prefix=/grub", "--directory"])
        .arg(&modules)
        .arg("--config")
        .arg(&start_file)
        .arg("--output")
        .arg(&core)
        .args(MODULES.split_ascii_whitespace());
    System.run(&make)?;
    let bytes = fs::read(&core).with_context(|| format!("reading {}", core.display()))?;
    ensure!(bytes.starts_with(b"\x7fELF"), "GRUB's core is no program");
    let disk = fs::OpenOptions::new().write(true).open(image);
    let disk = disk.with_context(|| format!("opening {}", image.display()))?;
    disk.write_all_at(&bytes, start).context("writing the PReP partition")
}
