//! Plans and sizes for people.

use std::fmt;

use crate::inventory::DiskFacts;
use crate::layout::TableKind;

use super::{InstallPlan, MIB, PlannedDisk, PlannedGroup};

/// Shows bytes with a binary unit, rounded up to a MiB or cut to a tenth of a GiB or TiB.
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.0.div_ceil(MIB);
        let tenths = |unit: u64| format!("{}.{}", mib / unit, mib % unit * 10 / unit);
        let text = match mib {
            0..10_240 => format!("{mib} MiB"),
            10_240..10_485_760 => format!("{} GiB", tenths(1024)),
            _ => format!("{} TiB", tenths(1 << 20)),
        };
        f.pad(&text)
    }
}

/// One line that tells a disk from every other.
pub(super) fn describe(facts: &DiskFacts) -> String {
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".into());
    format!(
        "{} {} {} model={} serial={} wwn={}",
        facts.device(),
        Size(facts.size_bytes),
        or(&facts.transport),
        or(&facts.model),
        or(&facts.serial),
        or(&facts.wwn)
    )
}

impl fmt::Display for InstallPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disks.iter().try_for_each(|disk| self.disk(f, disk))?;
        self.groups.iter().try_for_each(|group| self.group(f, group))
    }
}

impl InstallPlan {
    fn disk(&self, f: &mut fmt::Formatter<'_>, disk: &PlannedDisk) -> fmt::Result {
        writeln!(f, "overwrite {} as '{}' of the image", describe(&disk.facts), disk.label)?;
        let Some(table) = &disk.table else {
            return writeln!(f, "  {}", self.content(&disk.facts.device()));
        };
        let kind = match table.kind {
            TableKind::Gpt => "GPT",
            TableKind::Mbr => "MBR",
        };
        let id = table.id.as_deref().map(|id| format!(" {id}")).unwrap_or_default();
        writeln!(f, "  {kind}{id}")?;
        for partition in &table.partitions {
            let node = disk.facts.partition_device(partition.number);
            let (size, content) = (Size(partition.size_bytes).to_string(), self.content(&node));
            let name = partition.name.as_deref().map(|name| format!("  \"{name}\"")).unwrap_or_default();
            writeln!(f, "  {node:<16} {size:>10}  {content}{name}")?;
        }
        Ok(())
    }

    fn group(&self, f: &mut fmt::Formatter<'_>, group: &PlannedGroup) -> fmt::Result {
        let devices: Vec<&str> = group.physical_volumes.iter().map(|pv| pv.device.as_str()).collect();
        writeln!(f, "volume group {} on {}", group.name, devices.join(" "))?;
        let bytes = |extents: u64| Size(extents * group.extent_bytes).to_string();
        for volume in &group.volumes {
            let content = self.content(&format!("/dev/{}/{}", group.name, volume.name));
            writeln!(f, "  {:<16} {:>10}  {content}", volume.name, bytes(volume.extents))?;
        }
        writeln!(f, "  {:<16} {:>10}", "(free)", bytes(group.free_extents))
    }

    /// What will be on a device.
    fn content(&self, node: &str) -> String {
        if let Some(fs) = self.filesystems.iter().find(|fs| fs.device == node) {
            let mut words = vec![fs.facts.kind.clone()];
            words.extend(fs.facts.mounts().map(|mount| match mount.subvolume {
                Some(path) => format!("{} ({path})", mount.point),
                None => mount.point.to_owned(),
            }));
            words.extend(fs.facts.uuid.clone());
            return words.join(" ");
        }
        let group = self.groups.iter().find(|g| g.physical_volumes.iter().any(|pv| pv.device == node));
        group.map_or_else(|| "-".to_owned(), |group| format!("volume group {}", group.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_a_unit_that_is_easy_to_read() {
        for (bytes, text) in [
            (1, "1 MiB"),
            (976 * MIB, "976 MiB"),
            (10 << 30, "10.0 GiB"),
            (1_920_383_410_176, "1788.4 GiB"),
            (12 << 40, "12.0 TiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
