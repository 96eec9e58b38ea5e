//! Makes the golden client's disk bootable with its own GRUB, in a chroot on the host.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sysclone_exec::{Command, Runner, System, Tool};

use crate::lab::Mount;

const GRUB_INSTALL: Tool = Tool("grub-install");
const UPDATE_GRUB: Tool = Tool("update-grub");

/// Boots at once, and talks on the serial line. Mitigations only cost time in an emulator; without
/// `cryptomgr.notests` it sometimes hangs, see [`crate::cycle::KERNEL_ARGS`].
const DEFAULTS: &str = "GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_DISTRIBUTOR=Debian\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n\
    GRUB_DISABLE_OS_PROBER=true\n";

/// Where kernel and GRUB talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Console {
    Serial,
    Hypervisor,
}

impl Console {
    fn defaults(self) -> String {
        let (device, terminal) = match self {
            Self::Serial => (
                "ttyS0,115200",
                "GRUB_TERMINAL=serial\nGRUB_SERIAL_COMMAND=\"serial --unit=0 --speed=115200\"\n",
            ),
            Self::Hypervisor => ("hvc0", "GRUB_TERMINAL=console\n"),
        };
        let line = format!("console={device} mitigations=off cryptomgr.notests");
        format!("{DEFAULTS}GRUB_CMDLINE_LINUX=\"{line}\"\n{terminal}")
    }
}

/// Installs GRUB from the system mounted at `root` onto `disk`, a node that looks like a disk to it.
pub(super) fn install(root: &Path, disk: &Path) -> Result<()> {
    let mounts = system_mounts(root)?;
    // Under its private name GRUB cannot find out what the disk needs, so the modules are named.
    let install =
        Command::new(GRUB_INSTALL).in_root(root).args(["--target=i386-pc", "--modules=part_gpt ext2"]);
    System.run(&install.arg(disk))?;
    drop(mounts);
    make_menu(root, "/dev/mapper/vg0-root", Console::Serial)
}

/// Makes GRUB's menu, whose kernels shall mount `root_device`. The root was mounted here as `/dev/vgroot`.
pub(super) fn make_menu(root: &Path, root_device: &str, console: Console) -> Result<()> {
    fs::create_dir_all(root.join("etc/default")).context("creating /etc/default")?;
    fs::write(root.join("etc/default/grub"), console.defaults()).context("writing /etc/default/grub")?;
    fs::create_dir_all(root.join("boot/grub")).context("creating /boot/grub")?;
    let _mounts = system_mounts(root)?;
    System.run(&Command::new(UPDATE_GRUB).in_root(root))?;
    let config = root.join("boot/grub/grub.cfg");
    let text = fs::read_to_string(&config).context("reading grub.cfg")?;
    let text = text.replace("root=/dev/vgroot", &format!("root={root_device}"));
    fs::write(&config, text).context("writing grub.cfg")
}

fn system_mounts(root: &Path) -> Result<Vec<Mount>> {
    ["dev", "proc", "sys"]
        .map(|name| Mount::bind(&Path::new("/").join(name), &root.join(name)))
        .into_iter()
        .collect()
}
