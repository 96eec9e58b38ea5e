//! Fits logical volumes into the physical volumes of their group and places their extents.

use crate::layout::{Layout, LogicalVolume, VolumeGroup};

use super::fit::{Part, distribute};
use super::text::Size;
use super::{
    PE_START_BYTES, PlanError, PlannedDisk, PlannedGroup, PlannedPhysicalVolume, PlannedVolume, Segment,
    device_node, device_size, minimum,
};

/// A volume group on the chosen disks.
///
/// # Errors
/// Its volumes do not fit into it, or it is on a device that the layout does not have.
pub(super) fn planned_group(
    layout: &Layout,
    group: &VolumeGroup,
    disks: &[PlannedDisk],
) -> Result<PlannedGroup, PlanError> {
    let physical_volumes = physical_volumes(group, disks)?;
    let capacity = physical_volumes.iter().map(|pv| pv.extents).sum();
    let parts: Vec<Part> = group.logical_volumes.iter().map(|v| part(layout, group, v)).collect();
    let too_small = || {
        let least: u64 = parts.iter().map(Part::least).sum();
        let what = format!(
            "the volumes of group {} take {} at least, its physical volumes have {}",
            group.name,
            Size(least * group.extent_bytes),
            Size(capacity * group.extent_bytes)
        );
        PlanError::Broken { what }
    };
    let sizes = distribute(&parts, capacity).ok_or_else(too_small)?;
    let sizes: Vec<u64> = group
        .logical_volumes
        .iter()
        .zip(sizes)
        .map(|(volume, size)| size / stripes(volume) * stripes(volume))
        .collect();
    let segments = place(&group.logical_volumes, &sizes, &physical_volumes).ok_or_else(too_small)?;
    let volumes = group
        .logical_volumes
        .iter()
        .zip(segments)
        .zip(&sizes)
        .map(|((volume, segments), extents)| PlannedVolume {
            name: volume.name.clone(),
            uuid: volume.uuid.clone(),
            extents: *extents,
            tags: volume.tags.clone(),
            segments,
        })
        .collect();
    Ok(PlannedGroup {
        name: group.name.clone(),
        uuid: group.uuid.clone(),
        extent_bytes: group.extent_bytes,
        physical_volumes,
        free_extents: capacity - sizes.iter().sum::<u64>(),
        volumes,
    })
}

fn physical_volumes(
    group: &VolumeGroup,
    disks: &[PlannedDisk],
) -> Result<Vec<PlannedPhysicalVolume>, PlanError> {
    let made = |pv: &crate::layout::PhysicalVolume| {
        let size_bytes = device_size(&pv.device, disks)?;
        let extents = size_bytes.saturating_sub(PE_START_BYTES) / group.extent_bytes;
        let device = device_node(&pv.device, disks)?;
        Some(PlannedPhysicalVolume { device, uuid: pv.uuid.clone(), size_bytes, extents })
    };
    let lost = || PlanError::Broken { what: format!("volume group {} is on a missing device", group.name) };
    group.physical_volumes.iter().map(|pv| made(pv).ok_or_else(lost)).collect()
}

fn stripes(volume: &LogicalVolume) -> u64 {
    u64::from(volume.stripes.max(1))
}

fn part(layout: &Layout, group: &VolumeGroup, volume: &LogicalVolume) -> Part {
    let captured = volume.size_bytes.div_ceil(group.extent_bytes);
    let minimum = minimum::of_volume(layout, group, volume).bytes / group.extent_bytes;
    Part { minimum, captured: captured.next_multiple_of(stripes(volume)), grow: volume.grow }
}

/// Gives every volume its extents: striped ones first, for they need several physical volumes at once.
fn place(
    volumes: &[LogicalVolume],
    sizes: &[u64],
    physical_volumes: &[PlannedPhysicalVolume],
) -> Option<Vec<Vec<Segment>>> {
    let mut used = vec![0_u64; physical_volumes.len()];
    let mut placed = vec![Vec::new(); volumes.len()];
    let mut order: Vec<usize> = (0..volumes.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(volumes[*i].stripes));
    for i in order {
        let free = |used: &[u64], pv: usize| physical_volumes[pv].extents - used[pv];
        let mut left = sizes[i];
        if volumes[i].stripes > 1 {
            let count = usize::try_from(volumes[i].stripes).ok()?;
            let mut roomy: Vec<usize> = (0..used.len()).collect();
            roomy.sort_by_key(|pv| std::cmp::Reverse(free(&used, *pv)));
            let (chosen, each) = (roomy.get(..count)?, left / stripes(&volumes[i]));
            if chosen.iter().any(|pv| free(&used, *pv) < each) {
                return None;
            }
            let stripes = chosen.iter().map(|pv| (*pv, used[*pv])).collect();
            chosen.iter().for_each(|pv| used[*pv] += each);
            placed[i].push(Segment { extents: left, stripe_bytes: volumes[i].stripe_bytes, stripes });
            continue;
        }
        for pv in 0..used.len() {
            let extents = free(&used, pv).min(left);
            if extents > 0 {
                placed[i].push(Segment { extents, stripe_bytes: None, stripes: vec![(pv, used[pv])] });
                used[pv] += extents;
                left -= extents;
            }
        }
        if left > 0 {
            return None;
        }
    }
    Some(placed)
}
