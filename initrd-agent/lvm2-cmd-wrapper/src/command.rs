//! Runs lvm2.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use sysclone_exec::{Command, Output, Runner, Tool};

use crate::LvmError;
use crate::metadata::Group;
use crate::report::{self, LV_FIELDS, LvReport, PV_FIELDS, PvReport, VG_FIELDS, VgReport};

/// The one program of lvm2; its commands are its first argument.
pub const LVM: Tool = Tool("lvm");

/// Without udev lvm2 must make its own device nodes; a devices file, a backup directory or a daemon of some other
/// system must not steer it; and data begins where the plan says, whatever the disk says about its alignment.
const INITRD: &str = "activation{udev_sync=0 udev_rules=0 verify_udev_operations=0 monitoring=0} \
    backup{backup=0 archive=0} global{use_lvmpolld=0 use_lvmlockd=0 event_activation=0 system_id_source=none}";
const INITRD_DEVICES: &str = "use_devicesfile=0 obtain_device_list_from_udev=0 external_device_info_source=none \
    multipath_component_detection=0 md_component_detection=0 data_alignment_detection=0 \
    data_alignment_offset_detection=0 scan_lvs=0";

/// lvm2 with a view of the machine.
pub struct Lvm<'a> {
    runner: &'a dyn Runner,
    config: Option<String>,
    metadata_only: bool,
}

impl<'a> Lvm<'a> {
    /// lvm2 as the running system is configured.
    #[must_use]
    pub fn host(runner: &'a dyn Runner) -> Self {
        Self { runner, config: None, metadata_only: false }
    }

    /// lvm2 without udev and state, that sees these devices and no others.
    #[must_use]
    pub fn initrd(runner: &'a dyn Runner, devices: &[&str]) -> Self {
        let accepted: String = devices.iter().map(|d| format!("\"a|^{}$|\",", escaped(d))).collect();
        let filter = format!("[{accepted}\"r|.*|\"]");
        let config = format!("{INITRD} devices{{{INITRD_DEVICES} filter={filter} global_filter={filter}}}");
        Self { runner, config: Some(config), metadata_only: false }
    }

    /// Leaves the kernel's device mapper alone: groups are made on disk, but nothing becomes active. Works where the
    /// kernel has no device mapper.
    #[must_use]
    pub fn metadata_only(mut self) -> Self {
        self.metadata_only = true;
        self
    }

    /// All physical volumes.
    ///
    /// # Errors
    /// `pvs` failed or printed something else.
    pub fn pvs(&self) -> Result<Vec<PvReport>, LvmError> {
        self.report("pvs", &["-o", PV_FIELDS], report::parse_pvs)
    }

    /// All volume groups.
    ///
    /// # Errors
    /// `vgs` failed or printed something else.
    pub fn vgs(&self) -> Result<Vec<VgReport>, LvmError> {
        self.report("vgs", &["-o", VG_FIELDS], report::parse_vgs)
    }

    /// All logical volumes that a user made; what lvm2 made beneath them is not listed.
    ///
    /// # Errors
    /// `lvs` failed or printed something else.
    pub fn lvs(&self) -> Result<Vec<LvReport>, LvmError> {
        self.report("lvs", &["--segments", "-o", LV_FIELDS], report::parse_lvs)
    }

    /// Makes a volume group with its physical and logical volumes on disk; activates nothing.
    ///
    /// # Errors
    /// A name or UUID in it is none, or a command failed.
    pub fn make_group(&self, group: &Group) -> Result<(), LvmError> {
        let text = group.render()?;
        for pv in &group.physical_volumes {
            let start = format!("{}b", pv.start_bytes);
            let start = ["--dataalignment", start.as_str()];
            let uuid = ["--norestorefile", "--uuid", pv.uuid.as_str()];
            self.run(
                "pvcreate",
                &[&["-q", "-ff", "-y"], &start[..], &uuid[..], &[pv.device.as_str()]].concat(),
            )?;
        }
        let file = MetadataFile::write(&group.name, &text)?;
        let path = file.0.display().to_string();
        self.run("vgcfgrestore", &["-q", "-f", &path, &group.name])?;
        Ok(())
    }

    /// Activates a volume group's volumes; their device nodes are there when this returns.
    ///
    /// # Errors
    /// `vgchange` failed.
    pub fn activate(&self, group: &str) -> Result<(), LvmError> {
        self.run("vgchange", &["-q", "-ay", group]).map(drop)
    }

    /// Deactivates a volume group's volumes.
    ///
    /// # Errors
    /// `vgchange` failed, for one because something still uses a volume.
    pub fn deactivate(&self, group: &str) -> Result<(), LvmError> {
        self.run("vgchange", &["-q", "-an", group]).map(drop)
    }

    pub(crate) fn report<Row>(
        &self,
        verb: &str,
        fields: &[&str],
        parse: fn(&str, &[u8]) -> Result<Vec<Row>, LvmError>,
    ) -> Result<Vec<Row>, LvmError> {
        let form = ["--reportformat", "json", "--units", "b", "--nosuffix"];
        let command = self.command(verb, &[&form[..], fields].concat());
        let output = self.runner.run(&command)?;
        parse(&command.line(), &output.stdout)
    }

    pub(crate) fn run(&self, verb: &str, args: &[&str]) -> Result<Output, LvmError> {
        Ok(self.runner.run(&self.command(verb, args))?)
    }

    fn command(&self, verb: &str, args: &[&str]) -> Command {
        let mut command = Command::new(LVM).arg(verb);
        if let Some(config) = &self.config {
            command = command.args(["--config", config.as_str()]);
        }
        if self.metadata_only {
            command = command.args(["--driverloaded", "n"]);
        }
        // The agent holds more open files than lvm2 likes to inherit.
        command.args(args).env("LVM_SUPPRESS_FD_WARNINGS", "1")
    }
}

/// Device names are literal: characters that mean something in a regular expression or in the configuration are not.
fn escaped(device: &str) -> String {
    device.chars().map(|c| if c.is_ascii_alphanumeric() || "/_-".contains(c) { c } else { '.' }).collect()
}

/// Metadata on its way to `vgcfgrestore`, which reads only files. Removed when dropped.
struct MetadataFile(PathBuf);

impl MetadataFile {
    fn write(group: &str, text: &str) -> Result<Self, LvmError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = std::env::temp_dir();
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = directory.join(format!("sysclone-{group}-{process}-{count}.vg"));
        let write = || {
            fs::create_dir_all(&directory)?;
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes())
        };
        write().map_err(|source| LvmError::File { path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for MetadataFile {
    fn drop(&mut self) {
        // A file left behind in the initrd's memory harms nobody.
        let _ = fs::remove_file(&self.0);
    }
}
