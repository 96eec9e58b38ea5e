//! The planner as a whole: what it chooses, what it refuses, and that its plans are sound.

use proptest::prelude::*;

use super::*;
use crate::layout::{
    Disk, FsFeatures, Grow, LogicalVolume, Partition, PhysicalVolume, TableKind, VolumeGroup,
};

const GIB: u64 = 1 << 30;

fn part(number: u32, size_bytes: u64, grow: Grow) -> Partition {
    let start_bytes = u64::from(number) * 10 * GIB;
    let (type_id, uuid, name, attributes) = ("83".into(), None, None, None);
    Partition { number, start_bytes, size_bytes, type_id, uuid, name, attributes, bootable: false, grow }
}

fn table(kind: TableKind, partitions: Vec<Partition>) -> Disk {
    let table = Some(PartitionTable { kind, id: None, partitions });
    Disk { name: "vda".into(), size_bytes: 4 * GIB, sector_bytes: 512, rules: DiskRules::default(), table }
}

fn fs(device: DeviceRef, kind: &str, at: Option<&str>, used_bytes: u64) -> Filesystem {
    Filesystem {
        device,
        kind: kind.into(),
        uuid: None,
        label: None,
        mount_point: at.map(str::to_owned),
        options: None,
        used_bytes,
        features: FsFeatures::default(),
        subvolumes: vec![],
    }
}

fn lv(name: &str) -> DeviceRef {
    DeviceRef::LogicalVolume { group: "vg0".into(), volume: name.into() }
}

fn p(number: u32) -> DeviceRef {
    DeviceRef::Partition { disk: "vda".into(), number }
}

fn volume(name: &str, size_bytes: u64, grow: Grow) -> LogicalVolume {
    LogicalVolume {
        name: name.into(),
        uuid: None,
        size_bytes,
        segment_type: "linear".into(),
        stripes: 1,
        stripe_bytes: None,
        tags: vec![],
        grow,
    }
}

fn group(pvs: &[u32], volumes: Vec<LogicalVolume>) -> VolumeGroup {
    let pv = |number: &u32| PhysicalVolume { device: p(*number), uuid: format!("pv{number}") };
    VolumeGroup {
        name: "vg0".into(),
        uuid: "vg".into(),
        extent_bytes: 4 * MIB,
        physical_volumes: pvs.iter().map(pv).collect(),
        logical_volumes: volumes,
    }
}

/// bios_grub, /boot and a volume group with root, var and swap on a disk of 4 GiB.
fn bios_lvm() -> Layout {
    let partitions = vec![
        part(1, MIB, Grow::Fixed),
        part(2, 256 * MIB, Grow::Fixed),
        part(3, 3 * GIB, Grow::Share { weight: 1 }),
    ];
    let volumes = vec![
        volume("root", 1500 * MIB, Grow::Keep),
        volume("var", 600 * MIB, Grow::Keep),
        volume("swap", 128 * MIB, Grow::Fixed),
    ];
    Layout {
        disks: vec![table(TableKind::Gpt, partitions)],
        volume_groups: vec![group(&[3], volumes)],
        filesystems: vec![
            fs(lv("swap"), "swap", None, 0),
            fs(lv("var"), "xfs", Some("/var"), 60 * MIB),
            fs(p(2), "ext4", Some("/boot"), 40 * MIB),
            fs(lv("root"), "ext4", Some("/"), 400 * MIB),
        ],
    }
}

fn disk(name: &str, size_bytes: u64) -> DiskFacts {
    let (serial, transport) = (Some(format!("S-{name}")), Some("nvme".into()));
    DiskFacts { name: name.into(), size_bytes, sector_bytes: 512, serial, transport, ..DiskFacts::default() }
}

fn onto(layout: &Layout, disks: Vec<DiskFacts>) -> Result<InstallPlan, PlanError> {
    plan(layout, &Inventory { disks, ..Inventory::default() }, &BTreeMap::new())
}

fn partitions(plan: &InstallPlan) -> &[Partition] {
    &plan.disks[0].table.as_ref().unwrap().partitions
}

fn extents(plan: &InstallPlan) -> Vec<u64> {
    plan.groups[0].volumes.iter().map(|v| v.extents).collect()
}

#[test]
fn a_larger_disk_keeps_captured_volumes_and_leaves_the_rest_free() {
    let plan = onto(&bios_lvm(), vec![disk("nvme0n1", 6 * GIB)]).unwrap();
    let sizes: Vec<u64> = partitions(&plan).iter().map(|p| p.size_bytes).collect();
    // The last partition ends with the last whole 4 KiB before the backup table of 33 sectors.
    assert_eq!(sizes, [MIB, 256 * MIB, 6 * GIB - 258 * MIB - 20480]);
    assert_eq!(extents(&plan), [375, 150, 32]);
    let points: Vec<_> = plan.filesystems.iter().map(|f| f.facts.mount_point.as_deref()).collect();
    assert_eq!(points, [Some("/"), Some("/boot"), Some("/var"), None]);
    assert_eq!(plan.filesystems[1].device, "/dev/nvme0n1p2");
    assert_eq!(plan.device(&lv("root")).as_deref(), Some("/dev/vg0/root"));
}

#[test]
fn the_plan_reads_well() {
    let mut layout = bios_lvm();
    layout.disks[0].table.as_mut().unwrap().partitions[1].name = Some("boot".into());
    layout.filesystems[3].uuid = Some("01234567-89ab-4cde-8f01-23456789abcd".into());
    let text = onto(&layout, vec![disk("nvme0n1", 12 * GIB)]).unwrap().to_string();
    assert_eq!(
        text,
        "\
overwrite /dev/nvme0n1 12.0 GiB nvme model=? serial=S-nvme0n1 wwn=? as 'vda' of the image
  GPT
  /dev/nvme0n1p1        1 MiB  -
  /dev/nvme0n1p2      256 MiB  ext4 /boot  \"boot\"
  /dev/nvme0n1p3     11.7 GiB  volume group vg0
volume group vg0 on /dev/nvme0n1p3
  root               1500 MiB  ext4 / 01234567-89ab-4cde-8f01-23456789abcd
  var                 600 MiB  xfs /var
  swap                128 MiB  swap
  (free)             9800 MiB
"
    );
}

#[test]
fn a_smaller_disk_takes_from_kept_volumes_but_never_below_their_minimum() {
    let plan = onto(&bios_lvm(), vec![disk("sda", 2 * GIB)]).unwrap();
    let sizes = extents(&plan);
    assert!(sizes[0] < 375 && sizes[0] * 4 >= 400 + 64, "{sizes:?}");
    assert!(sizes[1] < 150 && sizes[1] * 4 >= 300, "{sizes:?}");
    assert_eq!((sizes[2], plan.groups[0].free_extents), (32, 0));
}

#[test]
fn a_disk_that_is_too_small_is_refused_with_the_arithmetic() {
    let error = onto(&bios_lvm(), vec![disk("sda", 900 * MIB)]).unwrap_err().to_string();
    assert_eq!(
        error,
        "\
no disk of this machine fits 'vda' of the image:
  /dev/sda 900 MiB nvme model=? serial=S-sda wwn=?: too small: 1168 MiB needed, 900 MiB there, 268 MiB short
needed:
    1168 MiB  disk 'vda' in all
           1 MiB  partition 1: captured, fixed size
         256 MiB  partition 2: ext4 /boot, fixed size
         909 MiB  partition 3: volume group vg0 with 1 MiB of metadata
             480 MiB  root: ext4 /, 400 MiB used + 64 MiB reserve + 15 MiB for the filesystem itself
             300 MiB  var: xfs /var, the least that it can be made with
             128 MiB  swap: swap, fixed size
           2 MiB  table and alignment"
    );
}

#[test]
fn two_disks_that_fit_are_listed_and_neither_is_taken() {
    let error = onto(&bios_lvm(), vec![disk("sda", 6 * GIB), disk("sdb", 7 * GIB), disk("sdc", GIB)]);
    assert_eq!(
        error.unwrap_err().to_string(),
        "\
more than one disk of this machine fits 'vda' of the image:
  /dev/sda 6144 MiB nvme model=? serial=S-sda wwn=?
  /dev/sdb 7168 MiB nvme model=? serial=S-sdb wwn=?
name one: chdef <node> installdisk=serial=S-sda (or wwn=, path=, name=)"
    );
}

#[test]
fn a_rule_of_the_node_decides_between_two() {
    let (layout, wwn) = (bios_lvm(), Some("naa.5000C500A1B2C3D4".to_owned()));
    let second = DiskFacts { wwn, path: Some("pci-0000:00:1f.2-ata-2".into()), ..disk("sdb", 7 * GIB) };
    let inventory = Inventory { disks: vec![disk("sda", 6 * GIB), second], ..Inventory::default() };
    let named = |text: &str| Some(text.to_owned());
    for rules in [
        DiskRules { serial: named("S-sdb"), ..DiskRules::default() },
        DiskRules { wwn: named("0x5000c500a1b2c3d4"), ..DiskRules::default() },
        DiskRules { path: named("/dev/disk/by-path/pci-0000:00:1f.2-ata-2"), ..DiskRules::default() },
        DiskRules { name: named("/dev/sdb"), ..DiskRules::default() },
        DiskRules { min_bytes: Some(7 * GIB), ..DiskRules::default() },
    ] {
        for label in ["", "vda"] {
            let plan = plan(&layout, &inventory, &BTreeMap::from([(label.to_owned(), rules.clone())]));
            assert_eq!(plan.unwrap().disks[0].facts.name, "sdb", "{rules:?}");
        }
    }
    let error = plan(&layout, &inventory, &BTreeMap::from([("sdx".to_owned(), DiskRules::default())]));
    assert_eq!(
        error.unwrap_err().to_string(),
        "the node's installdisk has rules for 'sdx', but the image's disks are: vda"
    );
}

#[test]
fn disks_that_must_not_be_touched_lose_with_their_reason_unless_they_are_named() {
    let large = || disk("sda", 6 * GIB);
    let named = DiskRules { serial: Some("S-sda".into()), ..DiskRules::default() };
    for (facts, reason, when_named) in [
        (DiskFacts { removable: true, ..large() }, "it is removable and was not named", true),
        (DiskFacts { transport: Some("usb".into()), ..large() }, "it is on USB and", true),
        (DiskFacts { transport: Some("iscsi".into()), ..large() }, "it is on ISCSI and", true),
        (
            DiskFacts { held_by: Some("multipath mpatha".into()), ..large() },
            "in use (multipath mpatha)",
            true,
        ),
        (DiskFacts { read_only: true, ..large() }, "it is read-only", false),
    ] {
        let error = onto(&bios_lvm(), vec![facts.clone()]).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        let mut layout = bios_lvm();
        layout.disks[0].rules = named.clone();
        assert_eq!(onto(&layout, vec![facts]).is_ok(), when_named, "{reason}");
    }
    assert!(onto(&bios_lvm(), vec![]).unwrap_err().to_string().contains("this machine has no disks"));
}

#[test]
fn a_rule_that_no_disk_satisfies_says_what_each_disk_has_instead() {
    let mut layout = bios_lvm();
    layout.disks[0].rules =
        DiskRules { rotational: Some(true), max_bytes: Some(GIB), ..DiskRules::default() };
    let spinning = DiskFacts { rotational: true, ..disk("sdb", 6 * GIB) };
    let error = onto(&layout, vec![disk("sda", 6 * GIB), spinning]).unwrap_err().to_string();
    for part in
        ["it is not a spinning disk", "it has 6144 MiB, more than 1024 MiB", "rules: rotational=true,max"]
    {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn two_layout_disks_need_two_disks_and_one_way_to_give_them() {
    let mut layout = bios_lvm();
    let mut second = table(TableKind::Gpt, vec![part(1, 5 * GIB, Grow::Fixed)]);
    second.name = "vdb".into();
    layout.disks.push(second);
    let both = onto(&layout, vec![disk("sda", 4 * GIB), disk("sdb", 8 * GIB)]).unwrap();
    let names: Vec<_> = both.disks.iter().map(|d| d.facts.name.as_str()).collect();
    assert_eq!(names, ["sda", "sdb"]);
    let error = onto(&layout, vec![disk("sdb", 8 * GIB)]).unwrap_err().to_string();
    assert!(error.contains("another disk of the image needs it too"), "{error}");
    let error = onto(&layout, vec![disk("sda", 8 * GIB), disk("sdb", 8 * GIB)]).unwrap_err();
    assert!(matches!(error, PlanError::Ambiguous { .. }));
}

#[test]
fn what_cannot_be_made_is_refused_before_a_disk_is_chosen() {
    type Case = (&'static str, fn(&mut Layout));
    let cases: [Case; 9] = [
        ("has the raid1 logical volume vg0/root, which", |l| {
            l.volume_groups[0].logical_volumes[0].segment_type = "raid1".into();
        }),
        ("logical volume vg0/root has 2 stripes", |l| {
            let root = &mut l.volume_groups[0].logical_volumes[0];
            (root.segment_type, root.stripes) = ("striped".into(), 2);
        }),
        ("has a zfs filesystem, which", |l| l.filesystems[1].kind = "zfs".into()),
        ("'root;x', which is no name", |l| l.volume_groups[0].logical_volumes[0].name = "root;x".into()),
        ("which it does not have", |l| l.filesystems[2].device = p(9)),
        ("two things are on", |l| l.filesystems[2].device = p(3)),
        ("mount point '/../etc'", |l| l.filesystems[2].mount_point = Some("/../etc".into())),
        ("has extents of 0 bytes", |l| l.volume_groups[0].extent_bytes = 0),
        ("partition 1 twice", |l| l.disks[0].table.as_mut().unwrap().partitions[1].number = 1),
    ];
    for (text, change) in cases {
        let mut layout = bios_lvm();
        change(&mut layout);
        let error = onto(&layout, vec![disk("sda", 6 * GIB)]).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn logical_partitions_lie_in_their_extended_partition_behind_a_boot_record_each() {
    let mut extended = part(2, 3 * GIB, Grow::Fixed);
    extended.type_id = "05".into();
    let partitions = vec![
        part(1, GIB, Grow::Fixed),
        extended,
        part(5, 512 * MIB, Grow::Fixed),
        part(6, GIB, Grow::Share { weight: 1 }),
    ];
    let layout = Layout {
        disks: vec![table(TableKind::Mbr, partitions)],
        filesystems: vec![fs(p(6), "ext4", Some("/"), 100 * MIB)],
        ..Layout::default()
    };
    let plan = onto(&layout, vec![disk("sda", 8 * GIB)]).unwrap();
    let places: Vec<_> =
        partitions_of(&plan).iter().map(|(n, start, size)| (*n, start / MIB, size / MIB)).collect();
    assert_eq!(places, [(1, 1, 1024), (2, 1025, 7167), (5, 1026, 512), (6, 1539, 6653)]);
}

fn partitions_of(plan: &InstallPlan) -> Vec<(u32, u64, u64)> {
    partitions(plan).iter().map(|p| (p.number, p.start_bytes, p.size_bytes)).collect()
}

#[test]
fn an_mbr_ends_where_its_numbers_end() {
    let layout = Layout {
        disks: vec![table(TableKind::Mbr, vec![part(1, GIB, Grow::Share { weight: 1 })])],
        filesystems: vec![fs(p(1), "xfs", Some("/"), 100 * MIB)],
        ..Layout::default()
    };
    let plan = onto(&layout, vec![disk("sda", 4 << 40)]).unwrap();
    let (_, start, size) = partitions_of(&plan)[0];
    assert!((start + size) / 512 <= u64::from(u32::MAX) && size > (2 << 40) - 2 * MIB);
}

#[test]
fn when_nothing_may_grow_the_last_partition_with_content_does() {
    let partitions =
        vec![part(1, GIB, Grow::Fixed), part(2, GIB, Grow::Fixed), part(3, 64 * MIB, Grow::Fixed)];
    let layout = Layout {
        disks: vec![table(TableKind::Gpt, partitions)],
        filesystems: vec![
            fs(p(1), "ext4", Some("/boot"), MIB),
            fs(p(2), "ext4", Some("/"), MIB),
            fs(p(3), "swap", None, 0),
        ],
        ..Layout::default()
    };
    let plan = onto(&layout, vec![disk("sda", 8 * GIB)]).unwrap();
    let sizes: Vec<u64> = partitions_of(&plan).iter().map(|(_, _, size)| size / MIB).collect();
    assert_eq!(sizes, [1024, 8192 - 1024 - 64 - 2, 64]);
}

#[test]
fn striped_volumes_lie_on_several_physical_volumes_and_linear_ones_fill_what_is_left() {
    let partitions = vec![part(1, 500 * MIB, Grow::Fixed), part(2, 500 * MIB, Grow::Share { weight: 1 })];
    let mut striped = volume("fast", 200 * MIB, Grow::Keep);
    (striped.segment_type, striped.stripes, striped.stripe_bytes) = ("striped".into(), 2, Some(64 << 10));
    let layout = Layout {
        disks: vec![table(TableKind::Gpt, partitions)],
        volume_groups: vec![group(&[1, 2], vec![volume("root", 500 * MIB, Grow::Keep), striped])],
        filesystems: vec![fs(lv("root"), "ext4", Some("/"), MIB)],
    };
    let plan = onto(&layout, vec![disk("sda", 2 * GIB)]).unwrap();
    let group = &plan.groups[0];
    let (root, fast) = (&group.volumes[0], &group.volumes[1]);
    // 124 extents fit on the first partition; the roomier second one is the first stripe.
    assert_eq!(
        fast.segments,
        [Segment { extents: 50, stripe_bytes: Some(65536), stripes: vec![(1, 0), (0, 0)] }]
    );
    let linear = |extents, pv, first| Segment { extents, stripe_bytes: None, stripes: vec![(pv, first)] };
    assert_eq!(root.segments, [linear(99, 0, 25), linear(26, 1, 25)]);
    // Such a group is not made smaller.
    let error = onto(&layout, vec![disk("sda", 900 * MIB)]).unwrap_err().to_string();
    assert!(error.contains("volume group vg0, which has several physical volumes"), "{error}");
}

#[test]
fn blocks_and_sectors_are_never_smaller_than_those_of_the_disk() {
    let mut layout = bios_lvm();
    for fs in &mut layout.filesystems {
        fs.features.block_bytes = Some(1024);
        fs.features.features = vec!["sectsize=512".into()];
    }
    let large = DiskFacts { sector_bytes: 4096, ..disk("nvme0n1", 6 * GIB) };
    for (facts, block, sector) in
        [(large, 4096, "sectsize=4096"), (disk("sda", 6 * GIB), 1024, "sectsize=512")]
    {
        for fs in onto(&layout, vec![facts]).unwrap().filesystems {
            let features = fs.facts.features;
            assert_eq!((features.block_bytes, features.features[0].as_str()), (Some(block), sector));
        }
    }
}

/// Everything that must hold for any plan.
fn check_sound(layout: &Layout, plan: &InstallPlan) {
    for disk in &plan.disks {
        let table = disk.table.as_ref().unwrap();
        let mut end = ALIGN_BYTES;
        let inner = |p: &&Partition| !p.is_extended(table.kind);
        for p in table.partitions.iter().filter(inner) {
            assert!(p.start_bytes >= end && p.start_bytes % ALIGN_BYTES == 0, "{plan}");
            assert!(p.size_bytes > 0 && p.size_bytes % u64::from(disk.facts.sector_bytes) == 0, "{plan}");
            end = p.start_bytes + p.size_bytes;
        }
        assert!(end + 33 * 512 <= disk.facts.size_bytes, "{plan}");
    }
    for group in &plan.groups {
        let taken: u64 = group.volumes.iter().map(|v| v.extents).sum();
        let capacity: u64 = group.physical_volumes.iter().map(|pv| pv.extents).sum();
        assert_eq!(taken + group.free_extents, capacity, "{plan}");
        let mut runs = Vec::new();
        for volume in &group.volumes {
            assert_eq!(volume.segments.iter().map(|s| s.extents).sum::<u64>(), volume.extents, "{plan}");
            for s in &volume.segments {
                let each = s.extents / s.stripes.len() as u64;
                runs.extend(s.stripes.iter().map(|(pv, first)| (*pv, *first, first + each)));
            }
        }
        runs.sort_unstable();
        for (pv, _, end) in &runs {
            assert!(*end <= group.physical_volumes[*pv].extents, "{plan}");
        }
        assert!(runs.windows(2).all(|w| w[0].0 != w[1].0 || w[0].2 <= w[1].1), "{plan}");
    }
    for made in &plan.filesystems {
        let captured = layout.filesystems.iter().find(|f| f.device == made.facts.device).unwrap();
        assert!(made.size_bytes >= captured.used_bytes, "{plan}");
    }
}

fn any_grow() -> impl Strategy<Value = Grow> {
    prop_oneof![Just(Grow::Fixed), Just(Grow::Keep), (0..4_u32).prop_map(|weight| Grow::Share { weight })]
}

proptest! {
    #[test]
    fn plans_are_sound_on_disks_of_any_size(
        size in 900 * MIB..40 * GIB, used in 0..1400 * MIB, grow in any_grow(), root in any_grow(),
        sector in prop_oneof![Just(512_u32), Just(4096)],
    ) {
        let mut layout = bios_lvm();
        layout.filesystems[3].used_bytes = used;
        layout.disks[0].table.as_mut().unwrap().partitions[2].grow = grow;
        layout.volume_groups[0].logical_volumes[0].grow = root;
        let facts = DiskFacts { sector_bytes: sector, ..disk("sda", size / 512 * 512) };
        if let Ok(plan) = onto(&layout, vec![facts]) {
            check_sound(&layout, &plan);
        } else {
            // A disk of the captured size always takes what it had.
            prop_assert!(size < 4 * GIB);
        }
    }

    #[test]
    fn partitions_of_any_size_and_policy_do_not_overlap(
        parts in proptest::collection::vec((1..4_000_000_000_u64, any_grow(), 0..100_u64), 1..6),
        size in 64 * MIB..64 * GIB, mbr in any::<bool>(),
    ) {
        let kind = if mbr { TableKind::Mbr } else { TableKind::Gpt };
        let made = |(i, (size, grow, _)): (usize, &(u64, Grow, u64))| {
            // An MBR has four primary partitions; those after the third are logical ones here.
            let number = if mbr && i >= 3 { i + 2 } else { i + 1 };
            part(u32::try_from(number).unwrap(), size.next_multiple_of(512), *grow)
        };
        let mut partitions: Vec<Partition> = parts.iter().enumerate().map(made).collect();
        if mbr && partitions.len() > 3 {
            partitions.push(Partition { type_id: "0f".into(), ..part(4, 1, Grow::Fixed) });
        }
        let filesystems = partitions.iter().zip(&parts).filter(|(p, _)| p.type_id == "83");
        let filesystems: Vec<Filesystem> = filesystems
            .map(|(at, (size, _, used))| {
                let point = format!("/m{}", at.number);
                fs(p(at.number), "ext4", Some(&point), size / 100 * used)
            })
            .collect();
        let layout = Layout { disks: vec![table(kind, partitions)], filesystems, ..Layout::default() };
        match onto(&layout, vec![disk("sda", size)]) {
            Ok(plan) => {
                check_sound_mbr(&layout, &plan);
                if !mbr { check_sound(&layout, &plan); }
            }
            Err(error) => prop_assert!(matches!(error, PlanError::NoDisk { .. }), "{error}"),
        }
    }
}

/// An MBR's logical partitions lie inside the extended one, each behind a MiB of its own.
fn check_sound_mbr(layout: &Layout, plan: &InstallPlan) {
    let table = plan.disks[0].table.as_ref().unwrap();
    assert_eq!(table.partitions.len(), layout.disks[0].table.as_ref().unwrap().partitions.len());
    let Some(extended) = table.partitions.iter().find(|p| p.is_extended(table.kind)) else { return };
    let mut end = extended.start_bytes;
    for p in table.partitions.iter().filter(|p| p.number > 4) {
        assert!(p.start_bytes >= end + ALIGN_BYTES, "{plan}");
        end = p.start_bytes + p.size_bytes;
    }
    assert!(end <= extended.start_bytes + extended.size_bytes, "{plan}");
    assert!(end <= plan.disks[0].facts.size_bytes, "{plan}");
}
