//! GRUB 2 by the clone's own `grub-install`. For BIOS: boot code in the MBR, core image in the BIOS boot partition or
//! behind the MBR. For Open Firmware: the core image in the PReP partition.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sysclone_exec::{Command, Runner, Tool};
use sysclone_protocol::boot::Loader;

use super::apply::ApplyError;
use super::plan::{BootloaderPlan, LoaderDisk};
use super::times::KeptTimes;

/// Names of GRUB's installer: upstream's and Debian's, then that of EL, SLES and Fedora; with GRUB's folder in
/// `/boot`.
const FAMILIES: &[(Tool, &str)] = &[(Tool("grub-install"), "grub"), (Tool("grub2-install"), "grub2")];
/// Answers the questions of Debian packages in advance.
const DEBCONF_SET_SELECTIONS: Tool = Tool("debconf-set-selections");
/// Where it is.
const DEBCONF_PROGRAM: &str = "usr/bin/debconf-set-selections";
/// There when Debian's package of GRUB for BIOS is installed.
const GRUB_PC: &str = "var/lib/dpkg/info/grub-pc.postinst";
/// What Open Firmware calls a disk, and its variables (packages powerpc-ibm-utils, powerpc-utils).
const OFPATHNAME: Tool = Tool("ofpathname");
const NVRAM: Tool = Tool("nvram");
/// Where installers are.
const PROGRAM_DIRS: &[&str] = &["usr/sbin", "sbin", "usr/bin"];

/// Runs the clone's `grub-install` for every disk of the plan.
pub(super) fn install(plan: &BootloaderPlan, root: &Path, runner: &dyn Runner) -> Result<(), ApplyError> {
    let (installer, folder) = installer(root)?;
    let folder = root.join("boot").join(folder);
    refresh_device_map(plan, &folder.join("device.map"))?;
    let failed = |source| ApplyError::File { path: folder.clone(), source };
    let kept = match folder.is_dir() {
        true => Some(KeptTimes::remember(&folder).map_err(failed)?),
        false => None,
    };
    for disk in &plan.disks {
        let command = Command::new(installer)
            .args(arguments(plan.loader, disk))
            // Open file descriptors of this process are none of LVM's business.
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .in_root(root);
        runner.run(&command)?;
    }
    answer_grub_pc(plan, root, runner)?;
    kept.map_or(Ok(()), |kept| kept.restore().map_err(failed))
}

/// GRUB's installer would fail without the programs that write Open Firmware's variables, which a clone need not have.
fn arguments(loader: Loader, disk: &LoaderDisk) -> Vec<&str> {
    match (loader, &disk.core_partition) {
        (Loader::Grub2Ieee1275, Some(prep)) => vec!["--target=powerpc-ieee1275", "--no-nvram", prep],
        _ => vec!["--target=i386-pc", &disk.device],
    }
}

/// Has Open Firmware start from the first disk of the plan, where the clone has programs for that. The answer is why it
/// did not work, which does not keep a machine from starting that looks at its disks by itself.
pub(super) fn tell_open_firmware(plan: &BootloaderPlan, root: &Path, runner: &dyn Runner) -> Option<String> {
    let starts_by_it = matches!(plan.loader, Loader::Grub2Ieee1275 | Loader::Yaboot);
    let first = plan.disks.first().filter(|_| starts_by_it)?;
    if [OFPATHNAME, NVRAM].iter().any(|tool| !is_there(root, tool)) {
        return None;
    }
    let told = runner.run(&Command::new(OFPATHNAME).arg(&first.device).in_root(root)).and_then(|output| {
        let setting = format!("boot-device={}", output.text().trim());
        runner.run(&Command::new(NVRAM).args(["--update-config", &setting]).in_root(root))
    });
    told.err().map(|error| format!("Open Firmware's boot-device could not be set: {error}"))
}

fn is_there(root: &Path, tool: &Tool) -> bool {
    PROGRAM_DIRS.iter().any(|dir| root.join(dir).join(tool.0).is_file())
}

/// Debian's grub-pc remembers the disks that it is to be installed on, by names of the golden client's. An upgrade on
/// the clone would not find them and ask, or fail where nobody can be asked.
fn answer_grub_pc(plan: &BootloaderPlan, root: &Path, runner: &dyn Runner) -> Result<(), ApplyError> {
    if !root.join(GRUB_PC).is_file() || !root.join(DEBCONF_PROGRAM).is_file() {
        return Ok(());
    }
    let disks: Vec<&str> = plan.disks.iter().map(|disk| disk.device.as_str()).collect();
    let answer = format!("grub-pc grub-pc/install_devices multiselect {}\n", disks.join(", "));
    runner.run(&Command::new(DEBCONF_SET_SELECTIONS).stdin(answer).in_root(root))?;
    Ok(())
}

fn installer(root: &Path) -> Result<(Tool, &'static str), ApplyError> {
    FAMILIES.iter().copied().find(|(tool, _)| is_there(root, tool)).ok_or_else(|| ApplyError::NoInstaller {
        names: FAMILIES.iter().map(|(tool, _)| tool.0).collect::<Vec<_>>().join(", "),
        root: root.to_owned(),
    })
}

/// A `device.map` that the golden client keeps names the golden client's disks; GRUB's tools would believe it.
fn refresh_device_map(plan: &BootloaderPlan, path: &PathBuf) -> Result<(), ApplyError> {
    if !path.is_file() {
        return Ok(());
    }
    std::fs::write(path, device_map(plan)).map_err(|source| ApplyError::File { path: path.clone(), source })
}

fn device_map(plan: &BootloaderPlan) -> String {
    let mut map = String::new();
    for (number, disk) in plan.disks.iter().enumerate() {
        writeln!(map, "(hd{number})\t{}", disk.device).expect("writing to a String does not fail");
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{LoaderDisk, apply};
    use sysclone_exec::Script;

    fn plan() -> BootloaderPlan {
        let disk = |label: &str, device: &str| LoaderDisk {
            label: label.into(),
            device: device.into(),
            core_partition: Some(format!("{device}1")),
        };
        BootloaderPlan {
            loader: Loader::Grub2Bios,
            disks: vec![disk("vda", "/dev/sda"), disk("vdb", "/dev/sdb")],
            esp: None,
            subvolumes: Vec::new(),
        }
    }

    fn clone_root(installer: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("usr/sbin")).unwrap();
        std::fs::write(root.path().join("usr/sbin").join(installer), "").unwrap();
        root
    }

    #[test]
    fn the_clones_own_installer_runs_between_mounts_and_unmounts() {
        let root = clone_root("grub2-install");
        let script = Script::lenient();
        apply(&plan(), root.path(), &script).unwrap();
        let at = root.path().display();
        assert_eq!(
            script.lines(),
            [
                format!("mount --bind /dev {at}/dev"),
                format!("mount --bind /proc {at}/proc"),
                format!("mount --bind /sys {at}/sys"),
                format!("mount --bind /run {at}/run"),
                format!("[in {at}] grub2-install --target=i386-pc /dev/sda"),
                format!("[in {at}] grub2-install --target=i386-pc /dev/sdb"),
                format!("umount {at}/run"),
                format!("umount {at}/sys"),
                format!("umount {at}/proc"),
                format!("umount {at}/dev"),
            ]
        );
    }

    #[test]
    fn for_open_firmware_the_prep_partition_is_written_and_no_variable() {
        let root = clone_root("grub-install");
        let script = Script::lenient();
        let plan = BootloaderPlan { loader: Loader::Grub2Ieee1275, ..plan() };
        apply(&plan, root.path(), &script).unwrap();
        let line = "grub-install --target=powerpc-ieee1275 --no-nvram /dev/sda1";
        assert_eq!(script.lines()[4], format!("[in {}] {line}", root.path().display()));
    }

    #[test]
    fn open_firmware_is_told_the_disk_by_the_clones_own_programs() {
        let root = clone_root("grub-install");
        let plan = BootloaderPlan { loader: Loader::Grub2Ieee1275, ..plan() };
        for tool in ["ofpathname", "nvram"] {
            std::fs::write(root.path().join("usr/sbin").join(tool), "").unwrap();
        }
        let at = root.path().display();
        let script = Script::lenient().on(&format!("[in {at}] ofpathname"), "/vdevice/x@1\n");
        assert_eq!(apply(&plan, root.path(), &script).unwrap(), None);
        let lines = script.lines();
        assert!(lines.contains(&format!("[in {at}] ofpathname /dev/sda")), "{lines:?}");
        assert!(
            lines.contains(&format!("[in {at}] nvram --update-config boot-device=/vdevice/x@1")),
            "{lines:?}"
        );
        let script = ["mount"; 4].iter().fold(Script::new(), |script, line| script.on(line, ""));
        let script =
            script.on(&format!("[in {at}] grub-install"), "").on(&format!("[in {at}] grub-install"), "");
        let script = ["umount"; 4].iter().fold(script, |script, line| script.on(line, ""));
        let said = apply(&plan, root.path(), &script).unwrap().expect("what did not work is said");
        assert!(said.starts_with("Open Firmware's boot-device could not be set: "), "{said}");
    }

    #[test]
    fn debians_package_learns_the_clones_disks() {
        let root = clone_root("grub-install");
        for file in [GRUB_PC, DEBCONF_PROGRAM] {
            std::fs::create_dir_all(root.path().join(file).parent().unwrap()).unwrap();
            std::fs::write(root.path().join(file), "").unwrap();
        }
        let script = Script::lenient();
        apply(&plan(), root.path(), &script).unwrap();
        let at = root.path().display();
        assert!(
            script.lines().contains(&format!("[in {at}] debconf-set-selections")),
            "{:?}",
            script.lines()
        );
    }

    #[test]
    fn a_failing_installer_leaves_no_mounts() {
        let root = clone_root("grub-install");
        let script = Script::new();
        let script = ["mount", "mount", "mount", "mount", "umount", "umount", "umount", "umount"]
            .iter()
            .fold(script, |script, line| script.on(line, ""));
        let error = apply(&plan(), root.path(), &script).unwrap_err().to_string();
        assert!(error.contains("grub-install --target=i386-pc"), "{error}");
        assert_eq!(script.lines().iter().filter(|line| line.starts_with("umount")).count(), 4);
    }

    #[test]
    fn a_mount_that_fails_undoes_those_before_it() {
        let root = clone_root("grub-install");
        let script = Script::new().on("mount", "").on("umount", "");
        apply(&plan(), root.path(), &script).unwrap_err();
        let at = root.path().display();
        assert_eq!(
            script.lines(),
            [
                format!("mount --bind /dev {at}/dev"),
                format!("mount --bind /proc {at}/proc"),
                format!("umount {at}/dev")
            ]
        );
    }

    #[test]
    fn a_clone_without_installer_is_named_as_such() {
        let root = clone_root("other");
        let error = apply(&plan(), root.path(), &Script::lenient()).unwrap_err().to_string();
        assert!(error.contains("none of grub-install, grub2-install"), "{error}");
    }

    #[test]
    fn a_device_map_is_made_true_but_never_added() {
        let root = clone_root("grub-install");
        apply(&plan(), root.path(), &Script::lenient()).unwrap();
        assert!(!root.path().join("boot/grub/device.map").exists());
        std::fs::create_dir_all(root.path().join("boot/grub")).unwrap();
        std::fs::write(root.path().join("boot/grub/device.map"), "(hd0) /dev/disk/by-id/golden\n").unwrap();
        apply(&plan(), root.path(), &Script::lenient()).unwrap();
        let map = std::fs::read_to_string(root.path().join("boot/grub/device.map")).unwrap();
        assert_eq!(map, "(hd0)\t/dev/sda\n(hd1)\t/dev/sdb\n");
    }
}
