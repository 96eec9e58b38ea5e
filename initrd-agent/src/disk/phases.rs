//! The phases of destructive disk work, as types.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lvm2_cmd_wrapper as lvm;
use rustix::mount::{MountFlags, UnmountFlags};
use sysclone_exec::{Command, Runner};
use sysclone_protocol::inventory::Inventory;
use sysclone_protocol::layout::{DeviceRef, DiskRules, Layout, PartitionTable, TableKind};
use sysclone_protocol::plan::{InstallPlan, PlanError, PlannedDisk, plan};

use super::{SFDISK, clear, format, nodes, verify};

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
        for disk in &self.plan.disks {
            clear::clear_disk(runner, &disk.facts.name)
                .with_context(|| format!("clearing {}", disk.facts.device()))?;
        }
        Ok(Cleared { plan: self.plan })
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
            let script = sfdisk_script(table, disk.facts.sector_bytes);
            let command =
                Command::new(SFDISK).args(["--quiet", "--wipe", "always", "--wipe-partitions", "always"]);
            let command = command.args(["--no-reread", "--no-tell-kernel", node.as_str()]).stdin(script);
            runner.run(&command).with_context(|| format!("partitioning {node}"))?;
            reread(disk, table)?;
        }
        Ok(Partitioned { plan: self.plan })
    }
}

fn reread(disk: &PlannedDisk, table: &PartitionTable) -> anyhow::Result<()> {
    let node = disk.facts.device();
    let partitions: Vec<String> =
        table.partitions.iter().map(|p| disk.facts.partition_device(p.number)).collect();
    nodes::reread_table(&node).with_context(|| format!("making the kernel read the new table of {node}"))?;
    nodes::wait_for(&partitions)?;
    for partition in &partitions {
        clear::wipe_ends(partition).with_context(|| format!("clearing {partition}"))?;
    }
    Ok(())
}

/// The input of sfdisk for a table. Sizes are in sectors, so nothing is rounded on the way.
fn sfdisk_script(table: &PartitionTable, sector_bytes: u32) -> String {
    let sector = u64::from(sector_bytes);
    let kind = match table.kind {
        TableKind::Gpt => "gpt",
        TableKind::Mbr => "dos",
    };
    let mut script = format!("label: {kind}\n");
    if let Some(id) = &table.id {
        script += &format!("label-id: {id}\n");
    }
    script += &format!("unit: sectors\nsector-size: {sector}\n");
    for p in &table.partitions {
        script += &format!(
            "{}: start={}, size={}, type={}",
            p.number,
            p.start_bytes / sector,
            p.size_bytes / sector,
            p.type_id
        );
        if let Some(uuid) = &p.uuid {
            script += &format!(", uuid={uuid}");
        }
        if let Some(name) = &p.name {
            script += &format!(", name=\"{}\"", escaped(name));
        }
        if let Some(attributes) = &p.attributes {
            script += &format!(", attrs=\"{attributes}\"");
        }
        if p.bootable {
            script += ", bootable";
        }
        script.push('\n');
    }
    script
}

/// sfdisk reads `\xNN` in quoted values; a name may hold quotes and newlines.
fn escaped(name: &str) -> String {
    name.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-_. ".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("\\x{b:02x}")
            }
        })
        .collect()
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
            let devices: Vec<&str> =
                group.physical_volumes.iter().map(|(device, _)| device.as_str()).collect();
            let making = || format!("making volume group {} on {}", group.name, devices.join(" "));
            for (device, uuid) in &group.physical_volumes {
                lvm::pvcreate(runner, device, uuid).with_context(making)?;
            }
            lvm::vgcreate(runner, &group.name, group.extent_bytes, &devices).with_context(making)?;
            for volume in &group.volumes {
                lvm::lvcreate(runner, &group.name, (&volume.name, volume.extents), &volume.tags)
                    .with_context(|| format!("making logical volume {}/{}", group.name, volume.name))?;
            }
            lvm::activate(runner, &group.name)
                .with_context(|| format!("activating volume group {}", group.name))?;
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
            for command in format::commands(filesystem)? {
                runner
                    .run(&command)
                    .with_context(|| format!("making {} on {}", filesystem.facts.kind, filesystem.device))?;
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
        let mut mounted = Mounted { plan: self.plan, root: at.to_owned(), points: Vec::new() };
        for filesystem in mounted.plan.filesystems.clone() {
            let Some(point) = &filesystem.facts.mount_point else { continue };
            let point = at.join(point.trim_start_matches('/'));
            let mounting = || format!("mounting {} at {}", filesystem.device, point.display());
            std::fs::create_dir_all(&point).with_context(mounting)?;
            rustix::mount::mount(
                filesystem.device.as_str(),
                &point,
                filesystem.facts.kind.as_str(),
                MountFlags::NOATIME,
                None,
            )
            .with_context(mounting)?;
            mounted.points.push(point);
        }
        Ok(mounted)
    }
}

/// The clone's tree is mounted and may be written.
#[derive(Debug)]
pub struct Mounted {
    plan: InstallPlan,
    root: PathBuf,
    points: Vec<PathBuf>,
}

impl Mounted {
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
        for point in self.points.iter().rev() {
            rustix::mount::unmount(point, UnmountFlags::empty())
                .with_context(|| format!("unmounting {}", point.display()))?;
        }
        for group in &self.plan.groups {
            lvm::deactivate(runner, &group.name)
                .with_context(|| format!("deactivating volume group {}", group.name))?;
        }
        for disk in &self.plan.disks {
            nodes::flush(&disk.facts.device())
                .with_context(|| format!("flushing {}", disk.facts.device()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sysclone_protocol::layout::{Grow, Partition};

    use super::*;

    #[test]
    fn the_sfdisk_script_keeps_every_fact_and_escapes_names() {
        let partition = Partition {
            number: 2,
            start_bytes: 2 << 20,
            size_bytes: 256 << 20,
            type_id: "0FC63DAF-8483-4772-8E79-3D69D8477DE4".into(),
            uuid: Some("AAAA".into()),
            name: Some("b\"\nsize=1".into()),
            attributes: Some("LegacyBIOSBootable".into()),
            bootable: false,
            grow: Grow::Fixed,
        };
        let table =
            PartitionTable { kind: TableKind::Gpt, id: Some("BBBB".into()), partitions: vec![partition] };
        assert_eq!(
            sfdisk_script(&table, 512),
            "label: gpt\nlabel-id: BBBB\nunit: sectors\nsector-size: 512\n2: start=4096, size=524288, \
             type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=AAAA, name=\"b\\x22\\x0asize\\x3d1\", \
             attrs=\"LegacyBIOSBootable\"\n"
        );
    }
}
