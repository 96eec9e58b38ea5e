//! Makes the volume groups of a plan.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use lvm2_cmd_wrapper::metadata::{Group, PhysicalVolume, Segment, Volume, is_uuid, new_uuid};
use lvm2_cmd_wrapper::{Lvm, LvmError};
use sysclone_exec::Runner;
use sysclone_protocol::plan::{self, PE_START_BYTES, PlannedGroup};

/// Makes a group with its volumes and activates them.
///
/// # Errors
/// An lvm2 command failed.
pub(super) fn make(runner: &dyn Runner, group: &PlannedGroup) -> anyhow::Result<()> {
    let name = &group.name;
    let lvm = initrd(runner, group);
    let metadata = metadata(group).with_context(|| format!("describing volume group {name}"))?;
    lvm.make_group(&metadata).with_context(|| format!("making volume group {name}"))?;
    lvm.activate(name).with_context(|| format!("activating volume group {name}"))
}

/// Makes the volumes of a group that exists usable.
///
/// # Errors
/// There is no such group on its devices.
pub(super) fn activate(runner: &dyn Runner, group: &PlannedGroup) -> anyhow::Result<()> {
    let name = &group.name;
    initrd(runner, group).activate(name).with_context(|| format!("activating volume group {name}"))
}

/// Lets go of a group's volumes.
///
/// # Errors
/// Something still uses one.
pub(super) fn deactivate(runner: &dyn Runner, group: &PlannedGroup) -> anyhow::Result<()> {
    let name = &group.name;
    initrd(runner, group).deactivate(name).with_context(|| format!("deactivating volume group {name}"))
}

fn initrd<'a>(runner: &'a dyn Runner, group: &PlannedGroup) -> Lvm<'a> {
    let devices: Vec<&str> = group.physical_volumes.iter().map(|pv| pv.device.as_str()).collect();
    Lvm::initrd(runner, &devices)
}

fn metadata(group: &PlannedGroup) -> Result<Group, LvmError> {
    let physical_volumes = group
        .physical_volumes
        .iter()
        .map(|pv| PhysicalVolume {
            device: pv.device.clone(),
            uuid: pv.uuid.clone(),
            size_bytes: pv.size_bytes,
            start_bytes: PE_START_BYTES,
            extents: pv.extents,
        })
        .collect();
    let volume = |volume: &plan::PlannedVolume| {
        Ok(Volume {
            name: volume.name.clone(),
            uuid: kept_or_new(volume.uuid.as_deref())?,
            tags: volume.tags.clone(),
            segments: volume.segments.iter().map(segment).collect(),
        })
    };
    Ok(Group {
        name: group.name.clone(),
        uuid: kept_or_new(Some(&group.uuid))?,
        extent_bytes: group.extent_bytes,
        physical_volumes,
        volumes: group.volumes.iter().map(volume).collect::<Result<_, LvmError>>()?,
        // A clock before 1970 is no reason to fail; the time is for people.
        created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()),
    })
}

/// lvm2's own stripe size where the plan says none.
const STRIPE_BYTES: u64 = 64 << 10;

fn segment(segment: &plan::Segment) -> Segment {
    Segment {
        extents: segment.extents,
        stripe_bytes: segment.stripe_bytes.unwrap_or(STRIPE_BYTES),
        stripes: segment.stripes.clone(),
    }
}

fn kept_or_new(uuid: Option<&str>) -> Result<String, LvmError> {
    match uuid.filter(|uuid| is_uuid(uuid)) {
        Some(uuid) => Ok(uuid.to_owned()),
        None => new_uuid(),
    }
}
