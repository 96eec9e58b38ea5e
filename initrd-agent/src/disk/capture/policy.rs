//! What a captured layout does on a disk of another size, until an administrator says otherwise; described at
//! [`Grow`].

use sysclone_protocol::layout::{DeviceRef, Filesystem, Grow, Layout};

const MIB: u64 = 1 << 20;

/// Filesystems that a larger disk is for.
const GROWING: &[&str] = &["ext2", "ext3", "ext4", "xfs", "btrfs"];

/// Sets what grows.
pub(super) fn choose(layout: &mut Layout) {
    let growing: Vec<DeviceRef> =
        layout.filesystems.iter().filter(|fs| grows(fs)).map(|fs| fs.device.clone()).collect();
    let physical: Vec<DeviceRef> =
        layout.volume_groups.iter().flat_map(|g| &g.physical_volumes).map(|pv| pv.device.clone()).collect();
    for disk in &mut layout.disks {
        for partition in disk.table.iter_mut().flat_map(|table| &mut table.partitions) {
            let device = DeviceRef::Partition { disk: disk.name.clone(), number: partition.number };
            if growing.contains(&device) || physical.contains(&device) {
                let weight = u32::try_from(partition.size_bytes / MIB).unwrap_or(u32::MAX).max(1);
                partition.grow = Grow::Share { weight };
            }
        }
    }
    for group in &mut layout.volume_groups {
        for volume in &mut group.logical_volumes {
            let device = DeviceRef::LogicalVolume { group: group.name.clone(), volume: volume.name.clone() };
            if growing.contains(&device) {
                volume.grow = Grow::Keep;
            }
        }
    }
}

/// `/boot` is as large as it needs to be, and what is not mounted is not known well enough to be made smaller.
fn grows(fs: &Filesystem) -> bool {
    let boot = |at: &str| at == "/boot" || at.starts_with("/boot/");
    GROWING.contains(&fs.kind.as_str()) && fs.mounts().any(|mount| !boot(mount.point))
}

#[cfg(test)]
mod tests {
    use sysclone_protocol::layout::{
        Disk, DiskRules, FsFeatures, LogicalVolume, Partition, PartitionTable, PhysicalVolume, TableKind,
        VolumeGroup,
    };

    use super::*;

    fn fs(device: DeviceRef, kind: &str, at: Option<&str>) -> Filesystem {
        Filesystem {
            device,
            kind: kind.into(),
            uuid: None,
            label: None,
            mount_point: at.map(str::to_owned),
            options: None,
            used_bytes: 0,
            features: FsFeatures::default(),
            subvolumes: vec![],
        }
    }

    fn partition(number: u32) -> Partition {
        Partition {
            number,
            start_bytes: 0,
            size_bytes: u64::from(number) * 100 * MIB,
            type_id: "T".into(),
            uuid: None,
            name: None,
            attributes: None,
            bootable: false,
            grow: Grow::Fixed,
        }
    }

    fn volume(name: &str) -> LogicalVolume {
        LogicalVolume {
            name: name.into(),
            uuid: None,
            size_bytes: 0,
            segment_type: "linear".into(),
            stripes: 1,
            stripe_bytes: None,
            tags: vec![],
            grow: Grow::Fixed,
        }
    }

    #[test]
    fn groups_and_filesystems_grow_and_all_else_is_fixed() {
        let p = |number| DeviceRef::Partition { disk: "vda".into(), number };
        let lv = |name: &str| DeviceRef::LogicalVolume { group: "vg0".into(), volume: name.into() };
        let mut layout = Layout {
            disks: vec![Disk {
                name: "vda".into(),
                size_bytes: 0,
                sector_bytes: 512,
                rules: DiskRules::default(),
                table: Some(PartitionTable {
                    kind: TableKind::Gpt,
                    id: None,
                    partitions: (1..=6).map(partition).collect(),
                }),
            }],
            volume_groups: vec![VolumeGroup {
                name: "vg0".into(),
                uuid: "u".into(),
                extent_bytes: 4 << 20,
                physical_volumes: vec![PhysicalVolume { device: p(6), uuid: "p".into() }],
                logical_volumes: vec![volume("root"), volume("swap"), volume("raw")],
            }],
            filesystems: vec![
                fs(p(2), "vfat", Some("/boot/efi")),
                fs(p(3), "ext4", Some("/boot")),
                fs(p(4), "xfs", Some("/home")),
                fs(p(5), "ext4", None),
                fs(lv("root"), "ext4", Some("/")),
                fs(lv("swap"), "swap", None),
            ],
        };
        choose(&mut layout);
        let partitions: Vec<Grow> =
            layout.disks[0].table.iter().flat_map(|t| &t.partitions).map(|p| p.grow).collect();
        let share = |weight| Grow::Share { weight };
        let fixed = Grow::Fixed;
        assert_eq!(partitions, [fixed, fixed, fixed, share(400), fixed, share(600)]);
        let volumes: Vec<Grow> = layout.volume_groups[0].logical_volumes.iter().map(|v| v.grow).collect();
        assert_eq!(volumes, [Grow::Keep, fixed, fixed]);
    }
}
