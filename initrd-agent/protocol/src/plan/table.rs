//! Fits one partition table onto one disk.

use crate::inventory::DiskFacts;
use crate::layout::{DeviceRef, Disk, Grow, Layout, Partition, PartitionTable, TableKind};

use super::fit::{Part, distribute};
use super::minimum::{self, Need};
use super::{ALIGN_BYTES, MIB, PlanError, PlannedDisk};

/// The bytes of a GPT's 128 entries; a backup of them and one sector of header end the disk.
const GPT_ENTRIES_BYTES: u64 = 16384;

/// The end of a disk that no tool rounds differently: pages of the largest block size in common use.
const END_GRAIN: u64 = 4096;

/// What a disk must have room for at least.
pub(super) fn needed(layout: &Layout, disk: &Disk, sector_bytes: u32) -> Need {
    let Some(table) = &disk.table else {
        let device = DeviceRef::WholeDisk { disk: disk.name.clone() };
        return minimum::of_content(layout, &device, disk.size_bytes, Grow::Keep);
    };
    let slots = slots(layout, disk, table);
    let mut parts: Vec<Need> = slots.iter().map(|slot| slot.need.clone()).collect();
    let units: u64 = slots.iter().map(|slot| slot.lead + slot.part().least()).sum();
    let bytes = ALIGN_BYTES + units * ALIGN_BYTES + tail_bytes(table.kind, sector_bytes);
    let rounding = bytes - parts.iter().map(|p| p.bytes).sum::<u64>();
    parts.push(Need::new(rounding, "table and alignment"));
    Need { bytes, why: format!("disk '{}' in all", disk.name), parts }
}

/// What a table keeps to itself at the end of the disk.
fn tail_bytes(kind: TableKind, sector_bytes: u32) -> u64 {
    match kind {
        TableKind::Gpt => GPT_ENTRIES_BYTES + u64::from(sector_bytes),
        TableKind::Mbr => 0,
    }
}

/// Where partitions must end.
fn usable_end(kind: TableKind, facts: &DiskFacts) -> u64 {
    let size = match kind {
        TableKind::Gpt => facts.size_bytes,
        // Start and length are 32-bit numbers of sectors.
        TableKind::Mbr => facts.size_bytes.min(u64::from(u32::MAX) * u64::from(facts.sector_bytes)),
    };
    size.saturating_sub(tail_bytes(kind, facts.sector_bytes)) / END_GRAIN * END_GRAIN
}

/// A partition that takes room of its own, in the order on the disk.
struct Slot<'a> {
    partition: &'a Partition,
    grow: Grow,
    need: Need,
    /// Units before it: a logical partition is preceded by its extended boot record.
    lead: u64,
}

impl Slot<'_> {
    fn part(&self) -> Part {
        Part { minimum: units(self.need.bytes), captured: units(self.partition.size_bytes), grow: self.grow }
    }
}

fn units(bytes: u64) -> u64 {
    bytes.div_ceil(ALIGN_BYTES)
}

/// Primary partitions by start; logical ones where their extended partition is, in the order of their numbers, which
/// is the order of the chain that numbers them.
fn slots<'a>(layout: &Layout, disk: &Disk, table: &'a PartitionTable) -> Vec<Slot<'a>> {
    let mbr = table.kind == TableKind::Mbr;
    let extended =
        table.partitions.iter().find(|p| p.is_extended(table.kind)).map(|p| (p.number, p.start_bytes));
    let mut partitions: Vec<&Partition> =
        table.partitions.iter().filter(|p| Some(p.number) != extended.map(|(number, _)| number)).collect();
    let logical = |p: &Partition| mbr && p.number > 4;
    partitions.sort_by_key(|p| match extended {
        Some((_, start)) if logical(p) => (start, p.number),
        _ => (p.start_bytes, 0),
    });
    let growing = |p: &Partition| p.grow != Grow::Fixed;
    let last =
        if partitions.iter().any(|p| growing(p)) { None } else { last_growable(layout, disk, &partitions) };
    partitions
        .into_iter()
        .map(|partition| {
            let grow =
                if Some(partition.number) == last { Grow::Share { weight: 1 } } else { partition.grow };
            let need = minimum::of_partition(layout, disk, partition, grow);
            Slot { partition, grow, need, lead: u64::from(logical(partition)) }
        })
        .collect()
}

/// The last partition that holds something that can have another size.
fn last_growable(layout: &Layout, disk: &Disk, partitions: &[&Partition]) -> Option<u32> {
    let grows = |number: u32| {
        let device = DeviceRef::Partition { disk: disk.name.clone(), number };
        let group =
            layout.volume_groups.iter().any(|g| g.physical_volumes.iter().any(|pv| pv.device == device));
        group || layout.filesystems.iter().any(|f| f.device == device && !matches!(&*f.kind, "swap" | "vfat"))
    };
    partitions.iter().rev().map(|p| p.number).find(|number| grows(*number))
}

/// The table of a chosen disk.
///
/// # Errors
/// The disk is too small, which [`needed`] would have said before.
pub(super) fn planned_disk(
    layout: &Layout,
    disk: &Disk,
    facts: &DiskFacts,
) -> Result<PlannedDisk, PlanError> {
    let label = disk.name.clone();
    let Some(table) = &disk.table else {
        return Ok(PlannedDisk { label, facts: facts.clone(), table: None });
    };
    let slots = slots(layout, disk, table);
    let end = usable_end(table.kind, facts);
    let room = (end / ALIGN_BYTES).saturating_sub(1 + slots.iter().map(|s| s.lead).sum::<u64>());
    let parts: Vec<Part> = slots.iter().map(Slot::part).collect();
    let sizes = distribute(&parts, room).ok_or_else(|| PlanError::NoDisk {
        label: label.clone(),
        need: needed(layout, disk, facts.sector_bytes).lines(2).join("\n"),
        candidates: format!("  {}: too small", facts.device()),
    })?;
    let mut partitions = Vec::new();
    let mut start = ALIGN_BYTES;
    for (slot, size) in slots.iter().zip(&sizes) {
        start += slot.lead * ALIGN_BYTES;
        let size_bytes = bytes_of(slot, *size, facts.sector_bytes);
        partitions.push(Partition { start_bytes: start, size_bytes, ..slot.partition.clone() });
        start += size * ALIGN_BYTES;
    }
    // What is left behind the last whole unit belongs to the last partition when that grows at all.
    if let (Some(Slot { grow: Grow::Share { .. }, .. }), Some(last)) = (slots.last(), partitions.last_mut()) {
        last.size_bytes = last.size_bytes.max(end - last.start_bytes);
    }
    add_extended(table, &mut partitions);
    Ok(PlannedDisk {
        label,
        facts: facts.clone(),
        table: Some(PartitionTable { partitions, ..table.clone() }),
    })
}

/// A captured size is kept to the sector; a new one is in whole units.
fn bytes_of(slot: &Slot<'_>, size: u64, sector_bytes: u32) -> u64 {
    let captured = slot.partition.size_bytes.next_multiple_of(u64::from(sector_bytes));
    match slot.grow {
        Grow::Fixed => captured,
        Grow::Keep if size == units(slot.partition.size_bytes) => captured,
        Grow::Keep | Grow::Share { .. } => size * MIB,
    }
}

/// Puts the extended partition around the logical ones, beginning with the first one's boot record.
fn add_extended(table: &PartitionTable, partitions: &mut Vec<Partition>) {
    let Some(extended) = table.partitions.iter().find(|p| p.is_extended(table.kind)) else {
        return;
    };
    let logical = || partitions.iter().filter(|p| p.number > 4);
    let (Some(first), Some(last)) = (logical().next(), logical().next_back()) else { return };
    let start_bytes = first.start_bytes - ALIGN_BYTES;
    let size_bytes = last.start_bytes + last.size_bytes - start_bytes;
    partitions.push(Partition { start_bytes, size_bytes, ..extended.clone() });
    partitions.sort_by_key(|p| p.start_bytes);
}
