//! The kernel's own file systems.

use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

struct Mount {
    source: &'static str,
    target: &'static str,
    kind: &'static str,
    options: &'static std::ffi::CStr,
    /// Missing on some machines, which is no fault.
    optional: bool,
}

const fn needed(
    source: &'static str,
    target: &'static str,
    kind: &'static str,
    options: &'static std::ffi::CStr,
) -> Mount {
    Mount { source, target, kind, options, optional: false }
}

const MOUNTS: &[Mount] = &[
    needed("proc", "/proc", "proc", c""),
    needed("sysfs", "/sys", "sysfs", c""),
    needed("devtmpfs", "/dev", "devtmpfs", c"mode=0755"),
    needed("devpts", "/dev/pts", "devpts", c"gid=5,mode=0620"),
    needed("tmpfs", "/run", "tmpfs", c"mode=0755"),
    needed("tmpfs", "/tmp", "tmpfs", c"mode=1777"),
    Mount {
        source: "efivarfs",
        target: "/sys/firmware/efi/efivars",
        kind: "efivarfs",
        options: c"",
        optional: true,
    },
];

/// Mounts what a worker needs and returns what could not be mounted, in words. Nothing is fatal here: the console
/// may work all the same, and says it.
pub(super) fn mount_kernel_file_systems() -> Vec<String> {
    let mut complaints = Vec::new();
    for entry in MOUNTS {
        if entry.optional && !Path::new(entry.target).exists() {
            continue;
        }
        drop(std::fs::create_dir_all(entry.target));
        let flags = MountFlags::NOSUID
            | if entry.kind == "devtmpfs" { MountFlags::empty() } else { MountFlags::NODEV };
        match mount(entry.source, entry.target, entry.kind, flags, entry.options) {
            // Mounted already, by the kernel or a test.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(_) if entry.optional => {}
            Err(error) => complaints.push(format!("mounting {}: {error}", entry.target)),
        }
    }
    if let Err(error) = std::fs::create_dir_all("/run/sysclone") {
        complaints.push(format!("making /run/sysclone: {error}"));
    }
    complaints
}
