//! Reads back what the phases made.

use std::fs::File;

use anyhow::{Context as _, bail, ensure};
use lvm2_cmd_wrapper::Lvm;
use sysclone_exec::Runner;
use sysclone_protocol::layout::Partition;
use sysclone_protocol::plan::{InstallPlan, PE_START_BYTES, PlannedDisk, PlannedFilesystem, PlannedGroup};

use super::superblock::superblock_of;
use super::table::read_table;

/// Compares the disks with the plan.
///
/// # Errors
/// The first difference.
pub(super) fn verify(runner: &dyn Runner, plan: &InstallPlan) -> anyhow::Result<()> {
    for disk in &plan.disks {
        table(disk)?;
    }
    for group in &plan.groups {
        volume_group(runner, group)?;
    }
    plan.filesystems.iter().try_for_each(filesystem)
}

fn table(disk: &PlannedDisk) -> anyhow::Result<()> {
    let Some(planned) = &disk.table else { return Ok(()) };
    let node = disk.facts.device();
    let file = File::open(&node).with_context(|| format!("opening {node}"))?;
    let found = read_table(&file, disk.facts.sector_bytes)
        .with_context(|| format!("reading back the table of {node}"))?
        .with_context(|| format!("{node} has no partition table after it was written"))?;
    ensure!(found.kind == planned.kind, "{node} has a table of another kind than was written");
    let differ = |a: &Partition, b: &Partition| {
        (a.number, a.start_bytes, a.size_bytes, &a.name, &a.attributes, a.bootable)
            != (b.number, b.start_bytes, b.size_bytes, &b.name, &b.attributes, b.bootable)
            || !a.type_id.eq_ignore_ascii_case(&b.type_id)
            || !a.uuid.as_deref().unwrap_or("").eq_ignore_ascii_case(b.uuid.as_deref().unwrap_or(""))
    };
    if found.partitions.len() != planned.partitions.len() {
        bail!("{node} has {} partitions, {} were written", found.partitions.len(), planned.partitions.len());
    }
    match planned.partitions.iter().zip(&found.partitions).find(|(a, b)| differ(a, b)) {
        Some((planned, found)) => bail!("{node}: partition {planned:?} was written, {found:?} is there"),
        None => Ok(()),
    }
}

fn volume_group(runner: &dyn Runner, group: &PlannedGroup) -> anyhow::Result<()> {
    let name = &group.name;
    let reading = || format!("reading back volume group {name}");
    let devices: Vec<&str> = group.physical_volumes.iter().map(|pv| pv.device.as_str()).collect();
    let lvm = Lvm::initrd(runner, &devices);
    let pvs = lvm.pvs().with_context(reading)?;
    for planned in &group.physical_volumes {
        let found = pvs.iter().find(|pv| pv.device == planned.device && pv.group == *name);
        let found = found.with_context(|| format!("{} is not in volume group {name}", planned.device))?;
        ensure!(
            found.uuid == planned.uuid && found.start_bytes == PE_START_BYTES,
            "{} is physical volume {} (data at {}) instead of {}",
            planned.device,
            found.uuid,
            found.start_bytes,
            planned.uuid
        );
    }
    let volumes = lvm.lvs().with_context(reading)?;
    for planned in &group.volumes {
        let found = volumes.iter().find(|v| v.group == *name && v.name == planned.name);
        let found = found.with_context(|| format!("logical volume {name}/{} is not there", planned.name))?;
        let size = planned.extents * group.extent_bytes;
        ensure!(
            found.size_bytes == size,
            "logical volume {name}/{} has {} bytes instead of {size}",
            planned.name,
            found.size_bytes
        );
    }
    Ok(())
}

fn filesystem(planned: &PlannedFilesystem) -> anyhow::Result<()> {
    let device = &planned.device;
    let found =
        superblock_of(device)?.with_context(|| format!("{device} holds no filesystem after it was made"))?;
    let facts = &planned.facts;
    ensure!(found.kind == facts.kind, "{device} holds {} instead of {}", found.kind, facts.kind);
    ensure!(found.uuid == facts.uuid, "{device} has UUID {:?} instead of {:?}", found.uuid, facts.uuid);
    ensure!(found.label == facts.label, "{device} has label {:?} instead of {:?}", found.label, facts.label);
    let (mut have, mut want) = (found.features.features, facts.features.features.clone());
    // The kernel turns this one on by itself when the first file over 2 GiB is written.
    have.retain(|f| f != "large_file");
    want.retain(|f| f != "large_file");
    have.sort();
    want.sort();
    ensure!(have == want, "{device} has features {have:?} instead of {want:?}");
    Ok(())
}
