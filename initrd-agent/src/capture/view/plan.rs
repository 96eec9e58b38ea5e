//! Decides how each file system is read. Pure: what it is told is all it goes by.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A mounted file system of the golden client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// Mount point.
    pub(super) point: PathBuf,
    /// Its type.
    pub(super) kind: String,
    /// Where it is, when that is a logical volume.
    pub(super) volume: Option<Volume>,
}

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Volume {
    pub(super) group: String,
    pub(super) name: String,
    pub(super) segment_type: String,
    pub(super) size_bytes: u64,
}

/// Room in a volume group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) extent_bytes: u64,
    pub(super) free_extents: u64,
}

/// How a file system is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// From a snapshot of its logical volume, with room for this many bytes of changes.
    Lvm { group: String, origin: String, snapshot: String, size_bytes: u64 },
    /// From a read-only snapshot of its btrfs subvolume.
    Btrfs,
    /// As it is, for this reason.
    Live { reason: String },
}

/// What may be used.
pub(super) struct Means {
    /// Volume groups by name; none when there is no lvm2.
    pub(super) groups: BTreeMap<String, Room>,
    /// Whether there is a `btrfs` program.
    pub(super) btrfs: bool,
}

const MIB: u64 = 1 << 20;

/// A snapshot gets room for a fifth of its volume to change while it is read, but for 64 MiB at least; with less than
/// a twentieth (16 MiB), it is not worth trying.
fn wanted(volume: &Volume) -> u64 {
    (volume.size_bytes / 5).max(64 * MIB)
}

fn least(volume: &Volume) -> u64 {
    (volume.size_bytes / 20).max(16 * MIB)
}

/// One way for each source.
pub(super) fn plan(sources: &[Source], means: &Means) -> Vec<Way> {
    let mut ways: Vec<Option<Way>> = sources.iter().map(|source| without_volume(source, means)).collect();
    for (group, room) in &means.groups {
        let of_group = |source: &Source| source.volume.clone().filter(|volume| volume.group == *group);
        let mut open: Vec<(usize, Volume)> = (0..sources.len())
            .filter(|index| ways[*index].is_none())
            .filter_map(|index| Some((index, of_group(&sources[index])?)))
            .collect();
        // The largest gives way until what is left has enough.
        open.sort_by_key(|(_, volume)| std::cmp::Reverse(volume.size_bytes));
        let sizes = loop {
            match shares(&open, *room) {
                Some(sizes) => break sizes,
                None => {
                    let (index, volume) = open.remove(0);
                    let free = room.free_extents * room.extent_bytes / MIB;
                    let need = least(&volume) / MIB;
                    let reason = format!(
                        "a snapshot needs {need} MiB, and the volume group {group} has {free} MiB free"
                    );
                    ways[index] = Some(Way::Live { reason });
                }
            }
        };
        for ((index, volume), size_bytes) in open.into_iter().zip(sizes) {
            let snapshot = format!("sysclone-capture-{}", volume.name);
            ways[index] = Some(Way::Lvm { group: volume.group, origin: volume.name, snapshot, size_bytes });
        }
    }
    let missing = || Way::Live { reason: "its volume group was not found".to_owned() };
    ways.into_iter().map(|way| way.unwrap_or_else(missing)).collect()
}

/// The way of what no LVM snapshot can be made of.
fn without_volume(source: &Source, means: &Means) -> Option<Way> {
    let live = |reason: &str| Some(Way::Live { reason: reason.to_owned() });
    let simple = |kind: &str| matches!(kind, "linear" | "striped") || kind.starts_with("raid");
    match (source.kind.as_str(), &source.volume) {
        ("btrfs", _) if means.btrfs => Some(Way::Btrfs),
        ("btrfs", _) => live("there is no btrfs program"),
        (_, None) => live("it is on no logical volume"),
        (_, Some(volume)) if !simple(&volume.segment_type) => {
            live(&format!("its volume is of type {}", volume.segment_type))
        }
        (_, Some(volume)) if !means.groups.contains_key(&volume.group) => {
            live("its volume group was not found")
        }
        (_, Some(_)) => None,
    }
}

/// Bytes for each snapshot, in whole extents; none when one of them would be too small.
fn shares(open: &[(usize, Volume)], room: Room) -> Option<Vec<u64>> {
    let free = room.free_extents.saturating_mul(room.extent_bytes);
    let all: u64 = open.iter().map(|(_, volume)| wanted(volume)).sum();
    let share = |volume: &Volume| {
        let size = if all <= free {
            wanted(volume)
        } else {
            wanted(volume) / MIB * (free / MIB) / (all / MIB) * MIB
        };
        let whole = size / room.extent_bytes * room.extent_bytes;
        (whole >= least(volume)).then_some(whole)
    };
    open.iter().map(|(_, volume)| share(volume)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(point: &str, kind: &str, volume: Option<(&str, u64)>) -> Source {
        let volume = volume.map(|(name, mib)| Volume {
            group: "vg0".into(),
            name: name.into(),
            segment_type: "linear".into(),
            size_bytes: mib * MIB,
        });
        Source { point: point.into(), kind: kind.into(), volume }
    }

    fn means(free_mib: u64) -> Means {
        let room = Room { extent_bytes: 4 * MIB, free_extents: free_mib / 4 };
        Means { groups: [("vg0".to_owned(), room)].into(), btrfs: false }
    }

    /// MiB of each snapshot, or the reason for none.
    fn shown(sources: &[Source], means: &Means) -> Vec<String> {
        let way = |way| match way {
            Way::Lvm { snapshot, size_bytes, .. } => format!("{snapshot} {}", size_bytes / MIB),
            Way::Btrfs => "btrfs".to_owned(),
            Way::Live { reason } => reason,
        };
        plan(sources, means).into_iter().map(way).collect()
    }

    #[test]
    fn every_volume_gets_a_snapshot_while_there_is_room() {
        let sources = [
            source("/", "ext4", Some(("root", 1600))),
            source("/boot", "ext4", None),
            source("/var", "xfs", Some(("var", 512))),
        ];
        let boot = "it is on no logical volume";
        assert_eq!(
            shown(&sources, &means(1800)),
            ["sysclone-capture-root 320", boot, "sysclone-capture-var 100"]
        );
        assert_eq!(
            shown(&sources, &means(200)),
            ["sysclone-capture-root 148", boot, "sysclone-capture-var 48"],
            "less for each when there is less"
        );
        let none = "a snapshot needs 80 MiB, and the volume group vg0 has 72 MiB free";
        assert_eq!(
            shown(&sources, &means(72)),
            [none, boot, "sysclone-capture-var 72"],
            "the largest gives way"
        );
        let none = none.replace("72", "0");
        let small = "a snapshot needs 25 MiB, and the volume group vg0 has 0 MiB free";
        assert_eq!(shown(&sources, &means(0)), [none.as_str(), boot, small]);
    }

    #[test]
    fn what_has_no_snapshots_says_why() {
        let mut thin = source("/", "ext4", Some(("root", 1600)));
        if let Some(volume) = &mut thin.volume {
            volume.segment_type = "thin".into();
        }
        let sources = [thin, source("/data", "btrfs", Some(("data", 100)))];
        assert_eq!(
            shown(&sources, &means(1000)),
            ["its volume is of type thin", "there is no btrfs program"]
        );
        let means = Means { groups: BTreeMap::new(), btrfs: true };
        let sources = [source("/", "btrfs", None), source("/x", "xfs", Some(("x", 100)))];
        assert_eq!(shown(&sources, &means), ["btrfs", "its volume group was not found"]);
    }
}
