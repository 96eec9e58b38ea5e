//! The phases on real block devices: loop devices that each hold one filesystem without a partition table. Root is
//! needed. Partitions and volume groups want kernel features that a test machine may lack; whole installations in
//! virtual machines cover them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use sysclone_exec::System;
use sysclone_protocol::inventory::{DiskFacts, Inventory};
use sysclone_protocol::layout::{DeviceRef, Disk, DiskRules, Filesystem, Layout, Subvolume};

use super::superblock::superblock_of;
use super::*;

const MIB: u64 = 1 << 20;

/// A loop device over a sparse file, gone when dropped.
struct Loop {
    name: String,
    size_bytes: u64,
    file: tempfile::NamedTempFile,
}

impl Loop {
    fn new(size_bytes: u64) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size_bytes).unwrap();
        let node = tool("losetup", &["-f", "--show", file.path().to_str().unwrap()]);
        Self { name: node.trim().trim_start_matches("/dev/").to_owned(), size_bytes, file }
    }

    fn node(&self) -> String {
        format!("/dev/{}", self.name)
    }

    fn facts(&self) -> DiskFacts {
        let (name, size_bytes) = (self.name.clone(), self.size_bytes);
        DiskFacts { name, size_bytes, sector_bytes: 512, ..DiskFacts::default() }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        tool("losetup", &["-d", &self.node()]);
    }
}

/// A directory to mount at; nothing stays mounted on it, whatever becomes of the test. What is unmounted from it
/// also goes from the copies that mount namespaces made in the meantime got, which would keep the device in use.
struct MountPoint(tempfile::TempDir);

impl MountPoint {
    fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        let path = made.path().to_str().unwrap();
        tool("mount", &["--bind", path, path]);
        tool("mount", &["--make-shared", path]);
        made
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        // A test that fails leaves more than this can clean; its own failure is what counts.
        let _ = Command::new("umount").args(["-q", "-R"]).arg(self.path()).output();
    }
}

fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What this kernel can mount; FAT for one may be missing.
fn mountable(kind: &str) -> bool {
    fs::read_to_string("/proc/filesystems").unwrap().lines().any(|line| line.trim() == kind)
}

/// A golden client's device made by the real tool, and its place in a layout under the label of the device's name.
fn golden(size_bytes: u64, program: &str, args: &[&str], at: Option<&str>) -> (Disk, Filesystem) {
    let device = Loop::new(size_bytes);
    let node = device.node();
    tool(program, &[args, &[node.as_str()]].concat());
    let found = superblock_of(&node).unwrap().unwrap();
    if program == "mkfs.btrfs" {
        // mkfs tells the kernel of the device, which then would not mount another one with the same UUID.
        tool("btrfs", &["device", "scan", "--forget", &node]);
    }
    // A loop device that something looks at lives on for a moment, and nothing may be there twice.
    tool("wipefs", &["-q", "-a", &node]);
    let name = format!("{program}-{}", at.unwrap_or("none"));
    let rules = DiskRules::default();
    let disk = Disk { name: name.clone(), size_bytes, sector_bytes: 512, rules, table: None };
    let filesystem = Filesystem {
        device: DeviceRef::WholeDisk { disk: name },
        kind: found.kind,
        uuid: found.uuid,
        label: found.label,
        mount_point: at.map(str::to_owned),
        options: None,
        used_bytes: MIB,
        features: found.features,
        subvolumes: vec![],
    };
    (disk, filesystem)
}

/// A layout of one disk for each filesystem, and a machine with a device for each; `plan` gets the rules that say
/// which is for which.
fn layout() -> (Layout, Vec<Loop>, BTreeMap<String, DiskRules>) {
    let fat = mountable("vfat").then_some("/boot/efi");
    let made = [
        golden(256 * MIB, "mke2fs", &["-q", "-t", "ext4", "-L", "root", "-O", "^metadata_csum"], Some("/")),
        golden(400 * MIB, "mkfs.xfs", &["-q", "-f", "-L", "var", "-m", "bigtime=0"], Some("/var")),
        golden(300 * MIB, "mkfs.btrfs", &["-q", "-L", "data"], Some("/srv/data")),
        golden(64 * MIB, "mkfs.vfat", &["-F", "32", "-s", "1", "-n", "EFI"], fat),
        golden(64 * MIB, "mkswap", &["-q", "-L", "paging"], None),
    ];
    let loops: Vec<Loop> = made.iter().map(|(disk, _)| Loop::new(disk.size_bytes * 2)).collect();
    let rule = |device: &Loop| DiskRules { name: Some(device.name.clone()), ..DiskRules::default() };
    let rules =
        made.iter().zip(&loops).map(|((disk, _), device)| (disk.name.clone(), rule(device))).collect();
    let (disks, filesystems) = made.into_iter().unzip();
    (Layout { disks, filesystems, ..Layout::default() }, loops, rules)
}

fn planned(layout: &Layout, loops: &[Loop], rules: &BTreeMap<String, DiskRules>) -> Planned {
    let inventory = Inventory { disks: loops.iter().map(Loop::facts).collect(), ..Inventory::default() };
    Probed::new(inventory, layout.clone()).plan(rules).unwrap()
}

fn install(planned: Planned, at: &Path) -> anyhow::Result<Mounted> {
    let cleared = planned.clear(&System)?;
    cleared.partition(&System)?.assemble(&System)?.format(&System)?.mount(&System, at)
}

#[test]
fn filesystems_are_made_mounted_verified_let_go_and_cleared_again() {
    let (layout, loops, rules) = layout();
    let at = MountPoint::new();
    let mounted = install(planned(&layout, &loops, &rules), at.path()).unwrap();
    for file in ["etc-file", "var/log", "srv/data/d"] {
        fs::write(at.path().join(file), "content").unwrap();
    }
    mounted.verify(&System).unwrap();
    mounted.unmount(&System).unwrap();
    assert_eq!(fs::read_dir(at.path()).unwrap().count(), 0, "everything is unmounted");
    for (device, wanted) in loops.iter().zip(&layout.filesystems) {
        let blkid = tool("blkid", &["-p", "-o", "export", &device.node()]);
        for (key, value) in [("UUID", &wanted.uuid), ("LABEL", &wanted.label)] {
            let line = format!("{key}={}", value.as_deref().unwrap());
            assert!(blkid.lines().any(|found| found == line), "{line} is not in {blkid}");
        }
    }
    tool("fsck.ext4", &["-fn", &loops[0].node()]);
    tool("xfs_db", &["-r", "-c", "sb 0", "-c", "print uuid", &loops[1].node()]);
    tool("btrfs", &["check", "--readonly", &loops[2].node()]);
    tool("fsck.vfat", &["-n", &loops[3].node()]);

    // The same once more, over what is mounted and swapped to.
    let mounted = install(planned(&layout, &loops, &rules), at.path()).unwrap();
    tool("swapon", &[&loops[4].node()]);
    drop(mounted);
    let _cleared = planned(&layout, &loops, &rules).clear(&System).unwrap();
    assert_eq!(fs::read_dir(at.path()).unwrap().count(), 0, "everything is unmounted");
    for device in &loops {
        let swaps = fs::read_to_string("/proc/swaps").unwrap();
        assert!(!swaps.lines().any(|line| line.split_whitespace().next() == Some(&device.node())));
        assert_eq!(tool("wipefs", &["--noheadings", &device.node()]), "");
    }
}

#[test]
fn subvolumes_are_made_and_mounted_where_they_were() {
    let (disk, mut filesystem) = golden(300 * MIB, "mkfs.btrfs", &["-q", "-L", "root"], None);
    let part = |path: &str, at: &str, options: Option<&str>| Subvolume {
        path: path.into(),
        mount_point: at.into(),
        options: options.map(str::to_owned),
        default: at == "/",
    };
    let compressed = Some("noatime,nofail,compress=zstd:3,subvol=@home");
    filesystem.subvolumes = vec![part("@", "/", None), part("@home", "/home", compressed)];
    let loops = vec![Loop::new(disk.size_bytes)];
    let layout = Layout { disks: vec![disk], filesystems: vec![filesystem], ..Layout::default() };
    let at = MountPoint::new();
    let mounted = install(planned(&layout, &loops, &BTreeMap::new()), at.path()).unwrap();
    fs::write(at.path().join("file"), "content").unwrap();
    fs::write(at.path().join("home/file"), "content").unwrap();
    let home = at.path().join("home");
    let options = tool("findmnt", &["-n", "-o", "OPTIONS", home.to_str().unwrap()]);
    assert!(options.contains("subvol=/@home") && options.contains("compress=zstd:3"), "{options}");
    mounted.verify(&System).unwrap();
    let plan = mounted.plan().to_string();
    assert!(plan.contains("btrfs / (@) /home (@home)"), "{plan}");
    mounted.unmount(&System).unwrap();

    // Mounted without a word of subvolumes, it is the root that the golden client had.
    tool("mount", &[&loops[0].node(), at.path().to_str().unwrap()]);
    let found = fs::read_to_string(at.path().join("file"));
    let listed = tool("btrfs", &["subvolume", "list", at.path().to_str().unwrap()]);
    tool("umount", &[at.path().to_str().unwrap()]);
    assert_eq!(found.unwrap(), "content");
    assert!(listed.contains("path @\n") && listed.contains("path @home\n"), "{listed}");
}

#[test]
fn what_is_not_as_planned_is_noticed() {
    let (layout, loops, rules) = layout();
    let at = MountPoint::new();
    let mounted = install(planned(&layout, &loops, &rules), at.path()).unwrap();
    let device = Loop::new(MIB);
    tool("mkswap", &["-q", "-f", "-U", "01234567-89ab-4cde-8f01-23456789abcd", &loops[4].node()]);
    let error = mounted.verify(&System).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{} has UUID Some(\"01234567", loops[4].node())), "{error}");
    mounted.unmount(&System).unwrap();
    assert!(superblock_of(&device.node()).unwrap().is_none());
}

#[test]
fn a_filesystem_of_the_least_size_that_is_planned_has_room_for_the_content_and_the_reserve() {
    let used = 700 * MIB;
    for (program, args) in [
        ("mke2fs", &["-q", "-t", "ext4"][..]),
        ("mke2fs", &["-q", "-t", "ext3", "-i", "8192"]),
        ("mkfs.xfs", &["-q", "-f"]),
        ("mkfs.btrfs", &["-q"]),
    ] {
        let (mut disk, mut filesystem) = golden(8192 * MIB, program, args, Some("/"));
        filesystem.used_bytes = used;
        disk.rules = DiskRules::default();
        let layout = Layout { disks: vec![disk], filesystems: vec![filesystem], ..Layout::default() };
        let least = (used / MIB..8192).find(|mib| {
            let disks = vec![DiskFacts {
                name: "sdx".into(),
                size_bytes: mib * MIB,
                sector_bytes: 512,
                ..DiskFacts::default()
            }];
            sysclone_protocol::plan::plan(
                &layout,
                &Inventory { disks, ..Inventory::default() },
                &BTreeMap::new(),
            )
            .is_ok()
        });
        let device = [Loop::new(least.unwrap() * MIB)];
        let at = MountPoint::new();
        let mut rules = BTreeMap::new();
        rules.insert(String::new(), DiskRules { name: Some(device[0].name.clone()), ..DiskRules::default() });
        let mounted = install(planned(&layout, &device, &rules), at.path()).unwrap();
        let stat = rustix::fs::statvfs(at.path()).unwrap();
        let free = stat.f_bfree * stat.f_frsize;
        assert!(free >= used + 64 * MIB, "{program} {args:?}: {} MiB free of {least:?}", free / MIB);
        mounted.unmount(&System).unwrap();
    }
}

#[test]
fn loop_devices_are_no_disks_of_a_machine() {
    let device = Loop::new(MIB);
    assert!(inventory().unwrap().disks.iter().all(|disk| disk.name != device.name));
    assert!(File::open(device.node()).is_ok());
}

/// A disk as a machine leaves it that is reset over its files: the mounted file system's device, copied.
fn reset_over_its_files(kind: &(&str, &[&str])) -> (Layout, [Loop; 1]) {
    let (disk, filesystem) = golden(400 * MIB, kind.0, kind.1, Some("/"));
    let layout = Layout { disks: vec![disk], filesystems: vec![filesystem], ..Layout::default() };
    let (device, at) = ([Loop::new(400 * MIB)], MountPoint::new());
    let mounted = install(planned(&layout, &device, &only(&device)), at.path()).unwrap();
    fs::write(at.path().join("marker"), "mine").unwrap();
    let mounted = mounted.mount_again(&System).unwrap();
    for number in 0..50 {
        fs::write(at.path().join(format!("file{number}")), vec![7; 10_000]).unwrap();
    }
    tool("sync", &["-f", at.path().to_str().unwrap()]);
    let left = Loop::new(400 * MIB);
    tool("dd", &["bs=1M", "conv=fsync", &format!("if={}", device[0].node()), &format!("of={}", left.node())]);
    mounted.unmount(&System).unwrap();
    if kind.0 == "mkfs.btrfs" {
        tool("btrfs", &["device", "scan", "--forget", &device[0].node()]);
    }
    (layout, [left])
}

/// The rule that chooses the one disk.
fn only(device: &[Loop; 1]) -> BTreeMap<String, DiskRules> {
    let rule = DiskRules { name: Some(device[0].name.clone()), ..DiskRules::default() };
    BTreeMap::from([(String::new(), rule)])
}

/// What is on the disk. The kernel changes a superblock that it reads in its memory, where the device's readers may see
/// it as long as anybody has the device open; only what is written out counts.
fn content(device: &Loop) -> blake3::Hash {
    File::open(device.node()).unwrap().sync_all().unwrap();
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(device.file.reopen().unwrap()).unwrap();
    hasher.finalize()
}

#[test]
fn an_interrupted_installation_is_gone_on_with_and_until_it_is_known_not_a_byte_is_changed() {
    for kind in [
        ("mke2fs", &["-q", "-t", "ext4"][..]),
        ("mke2fs", &["-q", "-t", "ext3"]),
        ("mkfs.xfs", &["-q", "-f"]),
        ("mkfs.btrfs", &["-q"]),
    ] {
        let (layout, left) = reset_over_its_files(&kind);
        let (at, before) = (MountPoint::new(), content(&left[0]));
        let plan = || planned(&layout, &left, &only(&left));
        let check = |root: &Path| {
            assert_eq!(fs::read(root.join("marker")).unwrap(), b"mine", "{kind:?}");
            anyhow::bail!("another deployment")
        };
        let refused = plan().resume(&System, at.path(), &check).unwrap_err();
        assert!(format!("{refused:#}").contains("another deployment"), "{refused:#}");
        assert_eq!(content(&left[0]), before, "{kind:?}");
        let mounted = plan().resume(&System, at.path(), &|_| Ok(())).unwrap();
        let mounted = mounted.mount(&System, at.path()).unwrap();
        let files = (0..50).filter(|n| at.path().join(format!("file{n}")).exists());
        assert_eq!(files.count(), 50, "{kind:?}: the journal was replayed");
        mounted.unmount(&System).unwrap();
    }
}

#[test]
fn a_disk_that_holds_something_else_is_not_gone_on_with() {
    let (layout, loops, rules) = layout();
    let at = MountPoint::new();
    let before: Vec<_> = loops.iter().map(content).collect();
    let reached = |_: &Path| panic!("nothing is there to look at");
    let refused = planned(&layout, &loops, &rules).resume(&System, at.path(), &reached).unwrap_err();
    assert!(format!("{refused:#}").contains("holds no filesystem"), "{refused:#}");
    assert_eq!(loops.iter().map(content).collect::<Vec<_>>(), before);

    let (disk, filesystem) = golden(64 * MIB, "mke2fs", &["-q", "-t", "ext2"], Some("/"));
    let layout = Layout { disks: vec![disk], filesystems: vec![filesystem], ..Layout::default() };
    let device = [Loop::new(64 * MIB)];
    let refused = planned(&layout, &device, &only(&device)).resume(&System, at.path(), &reached).unwrap_err();
    assert!(refused.to_string().contains("without a journal"), "{refused:#}");
}
