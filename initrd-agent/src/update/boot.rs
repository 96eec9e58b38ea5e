//! What an update has to mind so that the machine starts afterwards: what comes last, what stays for now, and when the
//! boot loader is written anew.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use sysclone_bootloaders::disk::{self as bootloader, first_kernel};
use sysclone_exec::System;
use sysclone_image::Excludes;
use sysclone_image::update::Special;
use sysclone_protocol::boot::{Initramfs, Loader};
use sysclone_protocol::update::{ChangeKind, PlannedChange};

use super::state::{DIRECTORY, Which};
use crate::capture::{boot_facts, leave_the_others};
use crate::disk;
use crate::initramfs::{disk_drivers, ensure_drivers};

/// Files that name others: by the time they say something new, it is there.
const LATE: &[&str] = &[
    "/boot/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/boot/grub/menu.lst",
    "/boot/grub/grub.conf",
    "/boot/efi/EFI/*/grub.cfg",
    "/boot/loader/entries/*",
    "/boot/vmlinuz",
    "/boot/initrd",
    "/boot/initrd.img",
    "/vmlinuz*",
    "/initrd.img*",
    "/etc/yaboot.conf",
    "/etc/lilo.conf",
];
/// What every machine makes from its own hardware.
const MADE_HERE: &[&str] = &["/boot/initrd*", "/boot/initramfs*"];

/// The release of the running kernel.
pub(super) fn running() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Paths that this machine's update treats in a way of their own.
pub(super) fn special(running: &str) -> anyhow::Result<Special> {
    let held = [
        format!("/boot/*-{running}"),
        format!("/boot/*-{running}.img"),
        format!("/boot/*-{running}.gz"),
        format!("/lib/modules/{running}/***"),
        format!("/usr/lib/modules/{running}/***"),
    ];
    Ok(Special {
        late: Excludes::parse(LATE).context("reading the list of boot configurations")?,
        held: (
            Excludes::parse(&held).with_context(|| format!("naming the files of kernel {running}"))?,
            "of the running kernel: it goes with the first update after another one was started".to_owned(),
        ),
        made_here: Excludes::parse(MADE_HERE).context("reading the list of initramfs names")?,
    })
}

fn concerns(changes: &[PlannedChange], fits: impl Fn(&str) -> bool) -> bool {
    changes.iter().any(|change| fits(&change.path))
}

fn is_kernel(path: &str) -> bool {
    path.strip_prefix("/boot/").is_some_and(|name| {
        ["vmlinuz", "vmlinux", "kernel-", "initrd", "initramfs"].iter().any(|start| name.starts_with(start))
    })
}

/// GRUB's own programs and modules, from which its core image is made.
fn is_loader(path: &str) -> bool {
    let modules = ["i386-pc", "powerpc-ieee1275", "x86_64-efi", "x86_64-efi-signed"];
    let grub = ["/usr/lib/grub/", "/usr/lib/grub2/", "/usr/share/grub2/"];
    grub.iter().any(|folder| {
        path.strip_prefix(folder).is_some_and(|rest| modules.iter().any(|name| rest.starts_with(name)))
    }) || path.starts_with("/boot/efi/EFI/")
}

/// What will be done for the machine's start, for the plan.
pub(super) fn actions(changes: &[PlannedChange]) -> Vec<String> {
    let mut actions = Vec::new();
    if concerns(changes, is_kernel) {
        actions.push("every new initramfs is looked into for the drivers of this machine's disks".to_owned());
    }
    if concerns(changes, is_loader) {
        actions.push(
            "the boot loader is written to the disk again by this machine's own programs, and read back"
                .to_owned(),
        );
    }
    actions
}

/// Why the machine has to restart for all of it to take effect.
pub(super) fn reboot_reasons(changes: &[PlannedChange], running: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    let new_kernel = changes.iter().find(|change| {
        is_kernel(&change.path)
            && !change.path.contains("init")
            && matches!(change.change, ChangeKind::Create | ChangeKind::Rename { .. } | ChangeKind::Content)
    });
    if let Some(kernel) = new_kernel {
        reasons.push(format!("{} is new, {running} runs", kernel.path));
    }
    if concerns(changes, |path| path.contains(&format!("/modules/{running}/"))) {
        reasons.push(format!("modules of the running kernel {running} change"));
    }
    let libc = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name == "libc.so.6" || name.starts_with("ld-linux") || name.starts_with("libc-2.")
    };
    if concerns(changes, libc) {
        reasons.push("the C library changes, which every running program has open".to_owned());
    }
    if concerns(changes, |path| path.ends_with("/systemd/systemd") || path == "/sbin/init") {
        reasons.push("the init program changes".to_owned());
    }
    reasons
}

/// When all new files are there and the boot menu is still the old one: the kernels of this machine find its disks.
/// Answers what a person should know.
pub(super) fn prepare(changes_kernel: bool) -> anyhow::Result<Vec<String>> {
    if !changes_kernel {
        return Ok(Vec::new());
    }
    let root = Path::new("/");
    let drivers = drivers()?;
    let generator = generator();
    let mut told = Vec::new();
    for entry in std::fs::read_dir("/boot").context("listing /boot")? {
        let name = entry.context("listing /boot")?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("vmlinuz-") && !name.starts_with("vmlinux-") {
            continue;
        }
        told.extend(ensure_drivers_here(root, &format!("/{name}"), (&drivers, generator))?);
    }
    Ok(told)
}

/// The modules of the disks that hold this machine's file systems.
fn drivers() -> anyhow::Result<BTreeSet<String>> {
    let layout = disk::capture_layout(&System).context("reading the disk layout")?;
    Ok(layout.disks.iter().flat_map(|disk| disk_drivers(Path::new("/sys"), &disk.name)).collect())
}

fn generator() -> Initramfs {
    let inventory = disk::inventory().map(|inventory| inventory.firmware);
    let layout = sysclone_protocol::layout::Layout::default();
    inventory.map_or(Initramfs::Unknown, |firmware| boot_facts(Path::new("/"), firmware, &layout).initramfs)
}

/// In a mount name space of its own: the tools of a clone's root are run with system mounts of their own.
fn ensure_drivers_here(
    root: &Path,
    kernel: &str,
    (drivers, generator): (&BTreeSet<String>, Initramfs),
) -> anyhow::Result<Option<String>> {
    aside(|| ensure_drivers(root, kernel, (drivers, generator), &System))
}

/// Runs work in a thread with mounts of its own.
fn aside<T: Send>(work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            leave_the_others().context("taking a mount name space of its own")?;
            work()
        });
        thread.join().map_err(|_| anyhow::anyhow!("the boot loader's thread ended without saying why"))?
    })
}

/// Writes the boot loader to the disks that it is on, and reads it back.
pub(super) fn renew_loader() -> anyhow::Result<Option<String>> {
    let root = Path::new("/");
    let layout = disk::capture_layout(&System).context("reading the disk layout")?;
    let firmware = disk::inventory()?.firmware;
    let mut facts = boot_facts(root, firmware, &layout);
    if facts.loader == Loader::Unknown {
        // Its files are its own installer's work, which may have been interrupted; the image knows what it was.
        let state = Path::new(DIRECTORY);
        let manifest = [Which::Next, Which::Now].into_iter().find_map(|which| which.load(state));
        facts.loader = manifest.map_or(Loader::Unknown, |manifest| manifest.boot.loader);
    }
    let devices =
        layout.disks.iter().map(|disk| (disk.name.clone(), format!("/dev/{}", disk.name))).collect();
    let plan = bootloader::plan(&facts, &layout, &devices, firmware).context("planning the boot loader")?;
    aside(|| {
        let told = bootloader::apply(&plan, root, &System).context("writing the boot loader")?;
        bootloader::verify(&plan, root).context("reading the boot loader back")?;
        Ok(told)
    })
}

/// Whether the changes need [`renew_loader`].
pub(super) fn changes_loader(changes: &[PlannedChange]) -> bool {
    concerns(changes, is_loader)
}

/// Whether the changes need [`prepare`].
pub(super) fn changes_kernel(changes: &[PlannedChange]) -> bool {
    concerns(changes, is_kernel)
}

/// The boot menu's first kernel is there.
pub(super) fn check_menu() -> anyhow::Result<()> {
    let Some(kernel) = first_kernel(Path::new("/")).context("reading the boot menu")? else { return Ok(()) };
    // The menu counts from the top of a file system, which is mounted on / or /boot, whole or a subvolume of it.
    let name = kernel.rsplit('/').next().unwrap_or(&kernel);
    let places = [format!("/boot/{name}"), kernel.clone()];
    anyhow::ensure!(
        places.iter().any(|path| Path::new(path).is_file()),
        "the boot menu names {kernel}, which is not there"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysclone_protocol::update::Why;

    fn change(path: &str, change: ChangeKind) -> PlannedChange {
        PlannedChange { path: path.into(), change, why: Why::Golden, bytes: 0, diff: None }
    }

    #[test]
    fn a_restart_is_asked_for_with_its_reasons() {
        let changes = [
            change("/boot/vmlinuz-6.1.0-51", ChangeKind::Create),
            change("/usr/lib/x86_64-linux-gnu/libc.so.6", ChangeKind::Content),
            change("/usr/bin/true", ChangeKind::Content),
        ];
        let reasons = reboot_reasons(&changes, "6.1.0-50");
        assert_eq!(reasons.len(), 2, "{reasons:?}");
        assert_eq!(reasons[0], "/boot/vmlinuz-6.1.0-51 is new, 6.1.0-50 runs");
        assert!(reboot_reasons(&changes[2..], "6.1.0-50").is_empty());
        assert!(changes_kernel(&changes) && !changes_loader(&changes));
        assert!(changes_loader(&[change("/usr/lib/grub/i386-pc/kernel.img", ChangeKind::Content)]));
    }

    #[test]
    fn the_running_kernels_files_stay_for_now() {
        let special = special("6.1.0-50-amd64").unwrap();
        for path in [
            "boot/vmlinuz-6.1.0-50-amd64",
            "boot/initrd.img-6.1.0-50-amd64",
            "lib/modules/6.1.0-50-amd64/k/x.ko",
        ] {
            assert!(special.held.0.matches(path.as_bytes(), false), "{path}");
        }
        assert!(!special.held.0.matches(b"boot/vmlinuz-6.1.0-51-amd64", false));
        assert!(
            special.late.matches(b"boot/grub/grub.cfg", false) && special.late.matches(b"vmlinuz.old", false)
        );
    }
}
