//! The phases of destructive disk work, as types.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::mount::MountFlags;
use sysclone_exec::Runner;
use sysclone_protocol::inventory::Inventory;
use sysclone_protocol::layout::{DeviceRef, DiskRules, Filesystem, Layout, MountedAt, PartitionTable};
use sysclone_protocol::plan::{InstallPlan, PlanError, PlannedDisk, plan};

use super::{clear, format, nodes, resume, sfdisk, subvolumes, verify, volumes};

/// A machine and a layout, both only looked at.
#[derive(Debug, Clone)]
pub struct Probed {
    inventory: Inventory,
    layout: Layout,
}

impl Probed {
    /// Brings together what the machine has and what it shall hold.
    #[must_use]
    pub fn new(inventory: Inventory, layout: Layout) -> Self {
        Self { inventory, layout }
    }

    /// Decides on disks and sizes; touches nothing.
    ///
    /// # Errors
    /// The layout does not go onto this machine in exactly one way.
    pub fn plan(self, rules: &BTreeMap<String, DiskRules>) -> Result<Planned, PlanError> {
        plan(&self.layout, &self.inventory, rules).map(|plan| Planned { plan })
    }
}

/// A decision; the disks are still as they were.
#[derive(Debug)]
pub struct Planned {
    plan: InstallPlan,
}

impl Planned {
    /// The plan for people, several lines.
    #[must_use]
    pub fn text(&self) -> String {
        self.plan.to_string()
    }

    /// The plan itself.
    #[must_use]
    pub fn plan(&self) -> &InstallPlan {
        &self.plan
    }

    /// Takes the chosen disks, and no others, out of every use and removes what was on them.
    ///
    /// # Errors
    /// Something holds a disk that cannot be made to let go.
    pub fn clear(self, runner: &dyn Runner) -> anyhow::Result<Cleared> {
        clear::clear(runner, &self.plan)?;
        Ok(Cleared { plan: self.plan })
    }

    /// Goes on with what an interrupted installation of this plan left. `check` looks at the clone's root, mounted
    /// read-only at `at` without replaying its journal, and says whether it is that installation's; until then
    /// nothing is written.
    ///
    /// # Errors
    /// The disks do not hold what the plan makes, or `check` refuses.
    pub fn resume(
        self,
        runner: &dyn Runner,
        at: &Path,
        check: &dyn Fn(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Formatted> {
        resume::resume(runner, &self.plan, (at, check))?;
        Ok(Formatted { plan: self.plan })
    }
}

/// The chosen disks are empty.
#[derive(Debug)]
pub struct Cleared {
    plan: InstallPlan,
}

impl Cleared {
    /// Writes the partition tables and waits for the partitions' device nodes.
    ///
    /// # Errors
    /// sfdisk failed, or the kernel did not take the table.
    pub fn partition(self, runner: &dyn Runner) -> anyhow::Result<Partitioned> {
        for disk in &self.plan.disks {
            let Some(table) = &disk.table else { continue };
            let node = disk.facts.device();
            let command = sfdisk::command(&node, table, disk.facts.sector_bytes);
            runner.run(&command).with_context(|| format!("partitioning {node}"))?;
            reread(disk, table)?;
        }
        Ok(Partitioned { plan: self.plan })
    }
}

fn reread(disk: &PlannedDisk, table: &PartitionTable) -> anyhow::Result<()> {
    let node = disk.facts.device();
    nodes::reread_table(&node).with_context(|| format!("making the kernel read the new table of {node}"))?;
    for partition in table.partitions.iter().filter(|p| !p.is_extended(table.kind)) {
        let node = disk.facts.partition_device(partition.number);
        nodes::wait_for(std::slice::from_ref(&node))?;
        nodes::check_size(&node, partition.size_bytes)?;
        clear::wipe_ends(&node).with_context(|| format!("clearing {node}"))?;
    }
    Ok(())
}

/// The tables are written and the partitions are there.
#[derive(Debug)]
pub struct Partitioned {
    plan: InstallPlan,
}

impl Partitioned {
    /// Makes the volume groups.
    ///
    /// # Errors
    /// An lvm2 command failed.
    pub fn assemble(self, runner: &dyn Runner) -> anyhow::Result<Assembled> {
        for group in &self.plan.groups {
            volumes::make(runner, group)?;
        }
        Ok(Assembled { plan: self.plan })
    }
}

/// Every device that gets a filesystem is there.
#[derive(Debug)]
pub struct Assembled {
    plan: InstallPlan,
}

impl Assembled {
    /// Makes the filesystems and swap areas.
    ///
    /// # Errors
    /// A mkfs failed.
    pub fn format(self, runner: &dyn Runner) -> anyhow::Result<Formatted> {
        for filesystem in &self.plan.filesystems {
            let node = &filesystem.device;
            nodes::wait_for(std::slice::from_ref(node))?;
            nodes::check_size(node, filesystem.size_bytes)?;
            clear::wipe_ends(node).with_context(|| format!("clearing {node}"))?;
            for command in format::commands(filesystem)? {
                runner
                    .run(&command)
                    .with_context(|| format!("making {} on {node}", filesystem.facts.kind))?;
            }
            if !filesystem.facts.subvolumes.is_empty() {
                subvolumes::make(runner, filesystem)
                    .with_context(|| format!("making the subvolumes of {node}"))?;
            }
        }
        Ok(Formatted { plan: self.plan })
    }
}

/// The filesystems are made and empty.
#[derive(Debug)]
pub struct Formatted {
    plan: InstallPlan,
}

impl Formatted {
    /// Mounts them as one tree at `at`, which must exist.
    ///
    /// # Errors
    /// A mount failed.
    pub fn mount(self, _runner: &dyn Runner, at: &Path) -> anyhow::Result<Mounted> {
        let mut points = Vec::new();
        for (filesystem, mount) in self.plan.mounts() {
            let point = at.join(mount.point.trim_start_matches('/'));
            let (device, kind) = (filesystem.device.as_str(), filesystem.facts.kind.as_str());
            let mounting = || format!("mounting {device} at {}", point.display());
            std::fs::create_dir_all(&point).with_context(mounting)?;
            let options = CString::new(options(&filesystem.facts, &mount)).with_context(mounting)?;
            rustix::mount::mount(device, &point, kind, MountFlags::NOATIME, &*options)
                .with_context(mounting)?;
            points.push(point);
        }
        Ok(Mounted { plan: self.plan, root: at.to_owned(), points })
    }
}

/// Which subvolume, and how what is written is compressed: content that took so much room on the golden client would
/// take more without. It is so for the whole filesystem, whichever mount says it (`btrfs(5)`). Everything else in fstab
/// is for the clone's own life.
fn options(filesystem: &Filesystem, mount: &MountedAt<'_>) -> String {
    let words = filesystem.mounts().filter_map(|mount| mount.options).flat_map(|options| options.split(','));
    let compression = words.into_iter().find(|word| word.starts_with("compress")).map(str::to_owned);
    let subvolume = mount.subvolume.map(|path| format!("subvol=/{path}"));
    subvolume.into_iter().chain(compression).collect::<Vec<_>>().join(",")
}

/// The clone's tree is mounted and may be written.
#[derive(Debug)]
pub struct Mounted {
    plan: InstallPlan,
    root: PathBuf,
    points: Vec<PathBuf>,
}

impl Mounted {
    /// Unmounts everything and mounts it again, so that what was written is in the file systems themselves and not
    /// only in their journals.
    ///
    /// # Errors
    /// A file system is still in use, or could not be mounted.
    pub fn mount_again(self, runner: &dyn Runner) -> anyhow::Result<Self> {
        unmount(&self.points)?;
        Formatted { plan: self.plan }.mount(runner, &self.root)
    }

    /// Where its file systems are mounted.
    #[must_use]
    pub fn points(&self) -> &[PathBuf] {
        &self.points
    }

    /// Where the clone's `/` is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The device node of the disk with this label in the layout.
    #[must_use]
    pub fn disk_device(&self, label: &str) -> Option<String> {
        Some(self.plan.disks.iter().find(|d| d.label == label)?.facts.device())
    }

    /// The device node of a layout device.
    #[must_use]
    pub fn device(&self, device: &DeviceRef) -> Option<String> {
        self.plan.device(device)
    }

    /// The plan that was carried out.
    #[must_use]
    pub fn plan(&self) -> &InstallPlan {
        &self.plan
    }

    /// Reads tables, volume groups and superblocks back from the disks and compares them with the plan.
    ///
    /// # Errors
    /// They cannot be read, or differ; the first difference is named.
    pub fn verify(&self, runner: &dyn Runner) -> anyhow::Result<()> {
        verify::verify(runner, &self.plan)
    }

    /// Flushes and unmounts everything and lets go of the volume groups.
    ///
    /// # Errors
    /// A filesystem is still in use, or could not be flushed.
    pub fn unmount(self, runner: &dyn Runner) -> anyhow::Result<()> {
        unmount(&self.points)?;
        for group in &self.plan.groups {
            volumes::deactivate(runner, group)?;
        }
        for disk in &self.plan.disks {
            nodes::flush(&disk.facts.device())
                .with_context(|| format!("flushing {}", disk.facts.device()))?;
        }
        Ok(())
    }
}

fn unmount(points: &[PathBuf]) -> anyhow::Result<()> {
    points.iter().rev().try_for_each(|point| {
        super::unmount::unmount(point).with_context(|| format!("unmounting {}", point.display()))
    })
}
