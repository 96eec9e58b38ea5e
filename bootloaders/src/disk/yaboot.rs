//! yaboot (EL 5 and 6, SLES 10 and 11 on POWER): its first stage is a program in the PReP partition, which finds
//! `yaboot.conf` (yaboot.conf(5)) on the disk by itself. What `ybin` does on such machines, but without asking the
//! golden client's Open Firmware paths: the first stage is copied, and the configuration names this disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

use super::plan::BootloaderPlan;

/// The configuration; on EL a link into `/boot`.
const CONFIG: &str = "etc/yaboot.conf";
/// First stages, as the distributions' packages have them.
const FIRST_STAGES: &[&str] = &["usr/lib/yaboot/yaboot", "lib/lilo/chrp/yaboot.chrp"];
/// Open Firmware starts programs of this form.
const ELF: &[u8] = b"\x7fELF";

/// Why yaboot is not, or would not start, on the disk.
#[derive(Debug, thiserror::Error)]
pub enum YabootError {
    /// A file could not be read or written.
    #[error("{doing} {path}")]
    File {
        /// `reading`, `writing`.
        doing: &'static str,
        /// The file or partition.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The clone does not have the program.
    #[error("the clone has no first stage of yaboot: neither {0} is a program for Open Firmware")]
    NoFirstStage(String),
    /// It is larger than its partition.
    #[error("yaboot's first stage has {stage} bytes, and {partition} has room for {room}")]
    TooLarge {
        /// The partition.
        partition: String,
        /// Bytes of the first stage.
        stage: u64,
        /// Bytes of the partition.
        room: u64,
    },
    /// The partition holds something else.
    #[error(
        "{partition} does not hold yaboot's first stage ({stage}), so Open Firmware would not start the clone"
    )]
    NotInPrep {
        /// The partition.
        partition: String,
        /// The file that should be in it.
        stage: PathBuf,
    },
    /// A configuration without kernels.
    #[error("{0} starts no kernel")]
    NoImage(PathBuf),
    /// Its first kernel is not there.
    #[error("{config} starts {kernel}, which is not in the clone")]
    NoKernel {
        /// The configuration.
        config: PathBuf,
        /// As the configuration has it.
        kernel: String,
    },
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> YabootError {
    let path = path.to_owned();
    move |source| YabootError::File { doing, path, source }
}

/// Writes the first stage into every PReP partition of the plan, and the first of them into the configuration.
pub(super) fn install(plan: &BootloaderPlan, root: &Path) -> Result<(), YabootError> {
    let config = config(root);
    let text = fs::read_to_string(&config).map_err(failed("reading", &config))?;
    let (stage, program) = first_stage(root, &text)?;
    tracing::info!(stage = %stage.display(), "yaboot");
    for partition in partitions(plan) {
        write_stage(partition, &program)?;
    }
    let Some(first) = partitions(plan).next() else { return Ok(()) };
    let named = with_boot(&text, first);
    if named != text {
        // In its place: owner, mode and label stay.
        fs::write(&config, named).map_err(failed("writing", &config))?;
    }
    Ok(())
}

/// Reads back the first stage, the configuration, and the first kernel in it.
pub(super) fn verify(plan: &BootloaderPlan, root: &Path) -> Result<(), YabootError> {
    let config = config(root);
    let text = fs::read_to_string(&config).map_err(failed("reading", &config))?;
    let (stage, program) = first_stage(root, &text)?;
    for partition in partitions(plan) {
        let mut found = vec![0; program.len()];
        let path = Path::new(partition);
        let read = File::open(path).and_then(|file| file.read_exact_at(&mut found, 0));
        read.map_err(failed("reading", path))?;
        if found != program {
            return Err(YabootError::NotInPrep { partition: partition.to_owned(), stage });
        }
    }
    let kernel = images(&text).next().ok_or_else(|| YabootError::NoImage(config.clone()))?;
    // A path counts from the file system that holds /boot, which may be the root or one of its own.
    let path = kernel.trim_start_matches('/');
    let is_there = ["", "boot"].iter().any(|folder| root.join(folder).join(path).is_file());
    if is_there { Ok(()) } else { Err(YabootError::NoKernel { config, kernel: kernel.to_owned() }) }
}

/// The kernel that the configuration below `root` starts first; none when there is no configuration.
pub(super) fn first_kernel(root: &Path) -> Option<String> {
    let text = fs::read_to_string(config(root)).ok()?;
    images(&text).next().map(str::to_owned)
}

fn partitions(plan: &BootloaderPlan) -> impl Iterator<Item = &str> {
    plan.disks.iter().filter_map(|disk| disk.core_partition.as_deref())
}

/// The configuration's file. A link is followed as the clone will see it, not out of its root.
fn config(root: &Path) -> PathBuf {
    let path = root.join(CONFIG);
    let Ok(target) = fs::read_link(&path) else { return path };
    let mut inside = if target.is_absolute() { Vec::new() } else { vec!["etc".into()] };
    for part in target.components() {
        match part {
            Component::Normal(name) => inside.push(name.to_owned()),
            Component::ParentDir => drop(inside.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    inside.iter().fold(root.to_owned(), |path, name| path.join(name))
}

/// The first stage's file and bytes: the one that the configuration names, or the package's.
fn first_stage(root: &Path, config: &str) -> Result<(PathBuf, Vec<u8>), YabootError> {
    let named = settings(config).find(|(key, _)| *key == "install").map(|(_, value)| value);
    let places: Vec<&str> = named.into_iter().chain(FIRST_STAGES.iter().copied()).collect();
    let read = |place: &&str| {
        let path = root.join(place.trim_start_matches('/'));
        let bytes = fs::read(&path).ok().filter(|bytes| bytes.starts_with(ELF))?;
        Some((path, bytes))
    };
    places.iter().find_map(read).ok_or_else(|| YabootError::NoFirstStage(places.join(" nor ")))
}

fn write_stage(partition: &str, program: &[u8]) -> Result<(), YabootError> {
    let path = Path::new(partition);
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(failed("opening", path))?;
    let room = file.seek(SeekFrom::End(0)).map_err(failed("measuring", path))?;
    let stage = program.len() as u64;
    if stage > room {
        return Err(YabootError::TooLarge { partition: partition.to_owned(), stage, room });
    }
    let written = file.rewind().and_then(|()| file.write_all(program)).and_then(|()| file.sync_all());
    written.map_err(failed("writing", path))
}

/// Settings in their order; flags without a value are left out.
fn settings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.trim_start().split_once('=')?;
        (!key.starts_with('#')).then(|| (key.trim(), value.trim().trim_matches('"')))
    })
}

fn images(text: &str) -> impl Iterator<Item = &str> {
    settings(text).filter(|(key, _)| *key == "image").map(|(_, value)| value)
}

/// The configuration with this partition as the place of the first stage.
fn with_boot(text: &str, partition: &str) -> String {
    let line = format!("boot={partition}\n");
    let is_boot = |line: &str| settings(line).next().is_some_and(|(key, _)| key == "boot");
    if !text.lines().any(is_boot) {
        return format!("{line}{text}");
    }
    text.split_inclusive('\n').map(|old| if is_boot(old) { line.clone() } else { old.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{LoaderDisk, apply, verify as verify_plan};
    use sysclone_exec::Script;
    use sysclone_protocol::boot::Loader;

    /// As anaconda of EL 6 writes it.
    const EL6: &str = "\
# yaboot.conf generated by anaconda
boot=/dev/sda1
init-message=\"Welcome to Red Hat Enterprise Linux!\\nHit <TAB> for boot options\"
partition=2
timeout=5
install=/usr/lib/yaboot/yaboot
delay=30
nonvram

image=/vmlinuz-2.6.32-358.el6.ppc64
\tlabel=linux
\tread-only
\tinitrd=/initramfs-2.6.32-358.el6.ppc64.img
\tappend=\"root=/dev/mapper/vg_p7-lv_root rd_LVM_LV=vg_p7/lv_root\"
";

    struct Clone {
        dir: tempfile::TempDir,
    }

    impl Clone {
        fn new() -> Self {
            let clone = Self { dir: tempfile::tempdir().unwrap() };
            for folder in ["etc", "boot/etc", "usr/lib/yaboot"] {
                fs::create_dir_all(clone.at(folder)).unwrap();
            }
            fs::write(clone.at("boot/etc/yaboot.conf"), EL6).unwrap();
            std::os::unix::fs::symlink("../boot/etc/yaboot.conf", clone.at("etc/yaboot.conf")).unwrap();
            fs::write(clone.at("boot/vmlinuz-2.6.32-358.el6.ppc64"), "kernel").unwrap();
            fs::write(clone.at("usr/lib/yaboot/yaboot"), "\x7fELF first stage").unwrap();
            fs::write(clone.at("prep"), [7; 64]).unwrap();
            clone
        }

        fn at(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn plan(&self) -> BootloaderPlan {
            let core_partition = Some(self.at("prep").to_str().unwrap().to_owned());
            let disk = LoaderDisk { label: "sda".into(), device: "/dev/vda".into(), core_partition };
            BootloaderPlan { loader: Loader::Yaboot, disks: vec![disk], esp: None, subvolumes: Vec::new() }
        }

        fn refusal(&self) -> String {
            verify_plan(&self.plan(), self.dir.path()).unwrap_err().to_string()
        }
    }

    #[test]
    fn an_el6_clone_gets_its_first_stage_and_its_own_partition_in_the_configuration() {
        let clone = Clone::new();
        assert!(clone.refusal().contains("does not hold yaboot's first stage"));
        let script = Script::lenient();
        apply(&clone.plan(), clone.dir.path(), &script).unwrap();
        verify_plan(&clone.plan(), clone.dir.path()).unwrap();
        let prep = fs::read(clone.at("prep")).unwrap();
        assert!(prep.starts_with(b"\x7fELF first stage") && prep.len() == 64);
        let config = fs::read_to_string(clone.at("boot/etc/yaboot.conf")).unwrap();
        assert_eq!(config, EL6.replace("/dev/sda1", clone.at("prep").to_str().unwrap()));
        assert_eq!(first_kernel(clone.dir.path()).as_deref(), Some("/vmlinuz-2.6.32-358.el6.ppc64"));
        fs::remove_file(clone.at("boot/vmlinuz-2.6.32-358.el6.ppc64")).unwrap();
        assert!(clone.refusal().contains("which is not in the clone"), "{}", clone.refusal());
    }

    #[test]
    fn what_does_not_fit_or_is_no_program_is_not_written() {
        let clone = Clone::new();
        fs::write(clone.at("prep"), [7; 8]).unwrap();
        let refused = apply(&clone.plan(), clone.dir.path(), &Script::lenient()).unwrap_err().to_string();
        assert!(refused.contains("has room for 8"), "{refused}");
        assert_eq!(fs::read(clone.at("prep")).unwrap(), [7; 8]);
        fs::write(clone.at("usr/lib/yaboot/yaboot"), "#!/bin/sh").unwrap();
        let refused = apply(&clone.plan(), clone.dir.path(), &Script::lenient()).unwrap_err().to_string();
        assert!(refused.contains("neither /usr/lib/yaboot/yaboot nor"), "{refused}");
    }

    #[test]
    fn a_link_to_the_configuration_never_leads_out_of_the_clone() {
        let clone = Clone::new();
        fs::remove_file(clone.at("etc/yaboot.conf")).unwrap();
        for target in ["/boot/etc/yaboot.conf", "../../../boot/etc/yaboot.conf"] {
            std::os::unix::fs::symlink(target, clone.at("etc/yaboot.conf")).unwrap();
            assert_eq!(config(clone.dir.path()), clone.at("boot/etc/yaboot.conf"), "{target}");
            fs::remove_file(clone.at("etc/yaboot.conf")).unwrap();
        }
    }

    #[test]
    fn sles_keeps_its_first_stage_elsewhere_and_a_configuration_may_name_no_partition() {
        let clone = Clone::new();
        fs::remove_file(clone.at("usr/lib/yaboot/yaboot")).unwrap();
        fs::create_dir_all(clone.at("lib/lilo/chrp")).unwrap();
        fs::write(clone.at("lib/lilo/chrp/yaboot.chrp"), "\x7fELF sles").unwrap();
        let (path, _) = first_stage(clone.dir.path(), EL6).unwrap();
        assert_eq!(path, clone.at("lib/lilo/chrp/yaboot.chrp"));
        assert_eq!(with_boot("timeout = 5\n", "/dev/vda1"), "boot=/dev/vda1\ntimeout = 5\n");
        assert_eq!(with_boot("#boot=/x\nboot = /dev/sdz9\n", "/dev/vda1"), "#boot=/x\nboot=/dev/vda1\n");
    }
}
