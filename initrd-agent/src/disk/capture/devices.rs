//! Finds the layout's name of a block device.

use anyhow::{Context as _, bail};
use lvm2_cmd_wrapper::{LvReport, Lvm, LvmError, PvReport, VgReport};
use sysclone_protocol::inventory::DiskFacts;
use sysclone_protocol::layout::{DeviceRef, Filesystem, Grow, LogicalVolume, PhysicalVolume, VolumeGroup};

use super::super::blocks::Blocks;
use super::super::nodes::number_of;

/// What lvm2 reports.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    pvs: Vec<PvReport>,
    vgs: Vec<VgReport>,
    lvs: Vec<LvReport>,
}

impl Volumes {
    /// Asks lvm2.
    ///
    /// # Errors
    /// It failed.
    pub(super) fn read(lvm: &Lvm<'_>) -> Result<Self, LvmError> {
        Ok(Self { pvs: lvm.pvs()?, vgs: lvm.vgs()?, lvs: lvm.lvs()? })
    }
}

/// A machine's devices.
pub(super) struct Devices<'a> {
    pub(super) blocks: &'a Blocks,
    pub(super) disks: &'a [DiskFacts],
    pub(super) volumes: &'a Volumes,
}

impl Devices<'_> {
    /// What the device with this `major:minor` is.
    ///
    /// # Errors
    /// It is neither a disk, a partition of one, nor a logical volume.
    pub(super) fn of_number(&self, number: &str) -> anyhow::Result<DeviceRef> {
        let name = self.node(number)?.trim_start_matches("/dev/").to_owned();
        let volume = |lv: &&LvReport| {
            number_of(&format!("/dev/{}/{}", lv.group, lv.name)).is_ok_and(|found| found == number)
        };
        if let Some(map) = self.blocks.attribute(&name, "dm/name") {
            let Some(lv) = self.volumes.lvs.iter().find(volume) else {
                bail!(
                    "it is on {map}, which is no logical volume; this version cannot make such a device again"
                );
            };
            return Ok(DeviceRef::LogicalVolume { group: lv.group.clone(), volume: lv.name.clone() });
        }
        self.on_disk(&name)
    }

    /// The node of the device with this `major:minor`, which `/proc` may call `/dev/root`.
    ///
    /// # Errors
    /// There is no such device.
    pub(super) fn node(&self, number: &str) -> anyhow::Result<String> {
        let name = self.blocks.by_number(number).with_context(|| format!("there is no device {number}"))?;
        Ok(format!("/dev/{name}"))
    }

    /// A disk or a partition by its kernel name.
    fn on_disk(&self, name: &str) -> anyhow::Result<DeviceRef> {
        let disk = self.blocks.disk_of(name);
        if !self.disks.iter().any(|facts| facts.name == disk) {
            bail!(
                "it is on {name}, which is no disk or partition; this version cannot make such a device again"
            );
        }
        match self.blocks.attribute(name, "partition") {
            Some(number) => {
                let number =
                    number.parse().with_context(|| format!("{name} has partition number {number}"))?;
                Ok(DeviceRef::Partition { disk, number })
            }
            None => Ok(DeviceRef::WholeDisk { disk }),
        }
    }

    /// The volume groups that filesystems are on.
    ///
    /// # Errors
    /// One is on something that is no disk or partition.
    pub(super) fn groups_of(&self, filesystems: &[Filesystem]) -> anyhow::Result<Vec<VolumeGroup>> {
        let used = |vg: &&VgReport| {
            let on = |fs: &Filesystem| matches!(&fs.device, DeviceRef::LogicalVolume { group, .. } if *group == vg.name);
            filesystems.iter().any(on)
        };
        self.volumes.vgs.iter().filter(used).map(|vg| self.group(vg)).collect()
    }

    fn group(&self, vg: &VgReport) -> anyhow::Result<VolumeGroup> {
        let mut physical_volumes = Vec::new();
        for pv in self.volumes.pvs.iter().filter(|pv| pv.group == vg.name) {
            let device = number_of(&pv.device)
                .and_then(|number| self.blocks.by_number(&number).context("it has no device"))
                .and_then(|name| self.on_disk(&name))
                .with_context(|| format!("physical volume {} of volume group {}", pv.device, vg.name))?;
            physical_volumes.push(PhysicalVolume { device, uuid: pv.uuid.clone() });
        }
        let volume = |lv: &LvReport| LogicalVolume {
            name: lv.name.clone(),
            uuid: Some(lv.uuid.clone()),
            size_bytes: lv.size_bytes,
            segment_type: lv.segment_type.clone(),
            stripes: lv.stripes,
            stripe_bytes: (lv.stripe_bytes > 0).then_some(lv.stripe_bytes),
            tags: lv.tags.clone(),
            grow: Grow::Fixed,
        };
        Ok(VolumeGroup {
            name: vg.name.clone(),
            uuid: vg.uuid.clone(),
            extent_bytes: vg.extent_bytes,
            physical_volumes,
            logical_volumes: self.volumes.lvs.iter().filter(|lv| lv.group == vg.name).map(volume).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::Tree;
    use super::super::super::inventory::inventory_under;
    use super::*;

    #[test]
    fn disks_and_partitions_are_found_by_number_and_stacked_devices_are_named() {
        let tree = Tree::load("stacked");
        let disks = inventory_under(tree.root()).unwrap().disks;
        let (blocks, volumes) = (Blocks::under(tree.root()), Volumes::default());
        let devices = Devices { blocks: &blocks, disks: &disks, volumes: &volumes };
        let partition = DeviceRef::Partition { disk: "sda".into(), number: 2 };
        assert_eq!(devices.of_number("8:2").unwrap(), partition);
        assert_eq!(devices.of_number("8:48").unwrap(), DeviceRef::WholeDisk { disk: "sdd".into() });
        for (number, name) in [("9:0", "on md0,"), ("253:1", "on crypt,"), ("7:9", "no device 7:9")] {
            let error = devices.of_number(number).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
