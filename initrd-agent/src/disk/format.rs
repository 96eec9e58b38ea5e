//! The mkfs command of each filesystem: same UUID, label and features as the captured one.

use std::collections::BTreeMap;

use anyhow::bail;
use sysclone_exec::Command;
use sysclone_protocol::plan::PlannedFilesystem;

use super::{MKE2FS, MKFS_BTRFS, MKFS_VFAT, MKFS_XFS, MKSWAP, TUNE2FS};

/// The commands that make a filesystem, in order.
///
/// # Errors
/// The kind is none that this version makes.
pub(super) fn commands(filesystem: &PlannedFilesystem) -> anyhow::Result<Vec<Command>> {
    let command = match filesystem.facts.kind.as_str() {
        "ext2" | "ext3" | "ext4" => return Ok(ext(filesystem)),
        "xfs" => xfs(filesystem),
        "btrfs" => btrfs(filesystem),
        "vfat" => vfat(filesystem),
        "swap" => swap(filesystem),
        other => bail!("a {other} filesystem cannot be made by this version"),
    };
    Ok(vec![command])
}

/// Features are given in full, so neither this mke2fs's defaults nor its configuration add one.
fn ext(filesystem: &PlannedFilesystem) -> Vec<Command> {
    let facts = &filesystem.facts;
    // Zeroing all inode tables now would write gigabytes; the kernel does it in the background where it matters.
    let mut extended = vec!["lazy_itable_init=1,lazy_journal_init=1".to_owned()];
    extended.extend(facts.features.hash_seed.iter().map(|seed| format!("hash_seed={seed}")));
    let none = std::iter::once("none");
    let features: Vec<&str> = none.chain(facts.features.features.iter().map(String::as_str)).collect();
    let mut command = Command::new(MKE2FS).args(["-q", "-F", "-t", facts.kind.as_str()]);
    command = command.args(["-O", &features.join(","), "-E", &extended.join(",")]);
    let percent = |points: u32| format!("{}.{:02}", points / 100, points % 100);
    for (flag, value) in [
        ("-b", facts.features.block_bytes.map(|n| n.to_string())),
        ("-I", facts.features.inode_bytes.map(|n| n.to_string())),
        ("-i", facts.features.bytes_per_inode.map(|n| n.to_string())),
        ("-m", facts.features.reserved_basis_points.map(percent)),
        ("-U", facts.uuid.clone()),
        ("-L", facts.label.clone()),
    ] {
        command = with_option(command, flag, value.as_deref());
    }
    let mut commands = vec![command.arg(&filesystem.device)];
    commands.extend(default_mount_options(filesystem));
    commands
}

/// mke2fs sets `user_xattr` and `acl` by itself; what differs is set afterwards.
fn default_mount_options(filesystem: &PlannedFilesystem) -> Option<Command> {
    const DEFAULTS: [&str; 2] = ["user_xattr", "acl"];
    let options = &filesystem.facts.features.default_mount_options;
    let unset = DEFAULTS.iter().filter(|o| !options.iter().any(|have| have == *o)).map(|o| format!("^{o}"));
    let set = options.iter().filter(|o| !DEFAULTS.contains(&o.as_str())).cloned();
    let changes: Vec<String> = unset.chain(set).collect();
    let changes = (!changes.is_empty()).then(|| changes.join(","))?;
    Some(Command::new(TUNE2FS).args(["-o", &changes, &filesystem.device]))
}

/// mkfs.xfs groups what it is told: `-m` for metadata, `-i` for inodes and so on.
fn xfs(filesystem: &PlannedFilesystem) -> Command {
    let facts = &filesystem.facts;
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for feature in &facts.features.features {
        let (name, value) = feature.split_once('=').unwrap_or((feature, "1"));
        let group = match name {
            "sparse" | "nrext64" | "attr" | "projid32bit" => "-i",
            "ftype" => "-n",
            "lazy-count" => "-l",
            "sectsize" => "-s",
            _ => "-m",
        };
        let option = if name == "sectsize" { format!("size={value}") } else { feature.clone() };
        groups.entry(group).or_default().push(option);
        if feature == "crc=0" {
            // Version 4 knows none of these; a newer mkfs.xfs would turn them on and refuse.
            let off = ["finobt=0", "rmapbt=0", "reflink=0", "inobtcount=0", "bigtime=0"].map(str::to_owned);
            groups.entry("-m").or_default().extend(off);
            groups.entry("-i").or_default().push("sparse=0".to_owned());
        }
    }
    groups.entry("-m").or_default().extend(facts.uuid.iter().map(|uuid| format!("uuid={uuid}")));
    groups.entry("-i").or_default().extend(facts.features.inode_bytes.map(|n| format!("size={n}")));
    groups.entry("-b").or_default().extend(facts.features.block_bytes.map(|n| format!("size={n}")));
    // -K: discarding a whole disk before making a filesystem takes minutes on some and changes nothing here.
    let mut command = Command::new(MKFS_XFS).args(["-q", "-f", "-K"]);
    for (flag, options) in groups.iter().filter(|(_, options)| !options.is_empty()) {
        command = command.args([*flag, &options.join(",")]);
    }
    with_option(command, "-L", facts.label.as_deref()).arg(&filesystem.device)
}

fn btrfs(filesystem: &PlannedFilesystem) -> Command {
    let facts = &filesystem.facts;
    // -K as for XFS. Without a cache of what blkid saw a moment ago it looks whether the UUID is free as things are.
    let mut command = Command::new(MKFS_BTRFS).args(["-q", "-f", "-K", "-d", "single"]);
    command = command.env("BLKID_FILE", "/dev/null");
    let mut features = Vec::new();
    for feature in &facts.features.features {
        command = match feature.split_once('=') {
            Some(("csum", kind)) => command.args(["--csum", kind]),
            Some(("nodesize", bytes)) => command.args(["-n", bytes]),
            Some(("metadata", profile)) => command.args(["-m", profile]),
            // Older versions know this one only as a runtime feature, newer ones take both.
            None if feature.trim_start_matches('^') == "free-space-tree" => command.args(["-R", feature]),
            // Two that no default turns on; naming them off is refused by versions that do not know them.
            None if matches!(feature.as_str(), "^mixed-bg" | "^raid56") => command,
            _ => {
                features.push(feature.as_str());
                command
            }
        };
    }
    if !features.is_empty() {
        command = command.args(["-O", &features.join(",")]);
    }
    let sector = facts.features.block_bytes.map(|n| n.to_string());
    command = with_option(command, "-s", sector.as_deref());
    command = with_option(command, "-U", facts.uuid.as_deref());
    with_option(command, "-L", facts.label.as_deref()).arg(&filesystem.device)
}

/// Clusters keep their size in bytes, so a small volume stays the kind of FAT that it was.
fn vfat(filesystem: &PlannedFilesystem) -> Command {
    let facts = &filesystem.facts;
    let sector = facts.features.block_bytes.unwrap_or(512);
    let mut command = Command::new(MKFS_VFAT).args(["-S", &sector.to_string()]);
    for feature in &facts.features.features {
        command = match feature.split_once('=') {
            Some(("fat", bits)) => command.args(["-F", bits]),
            Some(("cluster", bytes)) => {
                let sectors = (bytes.parse::<u32>().unwrap_or(0) / sector).max(1);
                command.args(["-s", &sectors.to_string()])
            }
            _ => command,
        };
    }
    let serial = facts.uuid.as_deref().map(|uuid| uuid.replace('-', ""));
    command = with_option(command, "-i", serial.as_deref());
    with_option(command, "-n", facts.label.as_deref()).arg(&filesystem.device)
}

fn swap(filesystem: &PlannedFilesystem) -> Command {
    let facts = &filesystem.facts;
    let page = facts.features.block_bytes.map(|n| n.to_string());
    let mut command = with_option(Command::new(MKSWAP).args(["-q", "-f"]), "-p", page.as_deref());
    command = with_option(command, "-U", facts.uuid.as_deref());
    with_option(command, "-L", facts.label.as_deref()).arg(&filesystem.device)
}

fn with_option(command: Command, flag: &str, value: Option<&str>) -> Command {
    match value {
        Some(value) => command.args([flag, value]),
        None => command,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use sysclone_exec::{Runner as _, System};
    use sysclone_protocol::layout::{DeviceRef, Filesystem, FsFeatures};

    use super::super::superblock::{Superblock, read_superblock};
    use super::*;

    fn lines(kind: &str, features: &[&str], change: fn(&mut Filesystem)) -> Vec<String> {
        let mut facts = Filesystem {
            device: DeviceRef::WholeDisk { disk: "a".into() },
            kind: kind.into(),
            uuid: Some("U".into()),
            label: Some("L".into()),
            mount_point: None,
            options: None,
            used_bytes: 0,
            subvolumes: vec![],
            features: FsFeatures {
                block_bytes: Some(4096),
                features: features.iter().map(|f| (*f).to_owned()).collect(),
                ..FsFeatures::default()
            },
        };
        change(&mut facts);
        let planned = PlannedFilesystem { device: "/dev/x".into(), size_bytes: 1 << 30, facts };
        commands(&planned).unwrap().iter().map(Command::line).collect()
    }

    #[test]
    fn every_kind_has_its_commands() {
        let old = |fs: &mut Filesystem| {
            fs.features.inode_bytes = Some(128);
            fs.features.default_mount_options = vec!["acl".into(), "journal_data_ordered".into()];
            fs.features.reserved_basis_points = Some(150);
        };
        let same = |_: &mut Filesystem| {};
        assert_eq!(
            lines("ext3", &["has_journal", "filetype"], old),
            [
                "mke2fs -q -F -t ext3 -O none,has_journal,filetype -E lazy_itable_init=1,lazy_journal_init=1 \
                 -b 4096 -I 128 -m 1.50 -U U -L L /dev/x",
                "tune2fs -o \"^user_xattr,journal_data_ordered\" /dev/x",
            ]
        );
        assert_eq!(
            lines("xfs", &["crc=1", "reflink=0", "sparse=1", "sectsize=512"], same),
            ["mkfs.xfs -q -f -K -b size=4096 -i sparse=1 -m crc=1,reflink=0,uuid=U -s size=512 -L L /dev/x"]
        );
        assert_eq!(
            lines("xfs", &["crc=0", "ftype=0", "lazy-count=1", "attr=2"], same),
            ["mkfs.xfs -q -f -K -b size=4096 -i sparse=0,attr=2 -l lazy-count=1 -m \
              crc=0,finobt=0,rmapbt=0,reflink=0,inobtcount=0,bigtime=0,uuid=U -n ftype=0 -L L /dev/x"]
        );
        assert_eq!(
            lines(
                "btrfs",
                &["^mixed-bg", "no-holes", "^free-space-tree", "csum=xxhash", "metadata=dup"],
                same
            ),
            [
                "mkfs.btrfs -q -f -K -d single -R \"^free-space-tree\" --csum xxhash -m dup -O no-holes -s 4096 -U U \
              -L L /dev/x"
            ]
        );
        assert_eq!(
            lines("vfat", &["fat=32", "cluster=8192"], |fs| fs.uuid = Some("ABCD-1234".into())),
            ["mkfs.vfat -S 4096 -F 32 -s 2 -i ABCD1234 -n L /dev/x"]
        );
        assert_eq!(lines("swap", &[], same), ["mkswap -q -f -p 4096 -U U -L L /dev/x"]);
    }

    fn remade(size: u64, original: &Superblock) -> Superblock {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        let planned = PlannedFilesystem {
            device: file.path().display().to_string(),
            size_bytes: size,
            facts: Filesystem {
                device: DeviceRef::WholeDisk { disk: "a".into() },
                kind: original.kind.clone(),
                uuid: original.uuid.clone(),
                label: original.label.clone(),
                mount_point: None,
                options: None,
                used_bytes: 0,
                features: original.features.clone(),
                subvolumes: vec![],
            },
        };
        for command in commands(&planned).unwrap() {
            System.run(&command).unwrap();
        }
        read_superblock(&File::open(file.path()).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn a_filesystem_is_remade_with_every_fact_of_the_original() {
        let originals: &[(&str, &[&str], u64)] = &[
            ("mke2fs", &["-q", "-t", "ext4", "-L", "BOOT"], 256 << 20),
            (
                "mke2fs",
                &["-q", "-t", "ext4", "-O", "^metadata_csum,^64bit,uninit_bg", "-I", "128", "-b", "1024"],
                64 << 20,
            ),
            ("mke2fs", &["-q", "-t", "ext3", "-i", "65536"], 64 << 20),
            ("mke2fs", &["-q", "-t", "ext2"], 64 << 20),
            ("mkfs.xfs", &["-q", "-f", "-L", "var"], 400 << 20),
            (
                "mkfs.xfs",
                &["-q", "-f", "-m", "rmapbt=1,bigtime=0,inobtcount=0", "-i", "size=1024"],
                400 << 20,
            ),
            ("mkfs.xfs", &["-q", "-f", "-m", "crc=0,finobt=0"], 400 << 20),
            ("mke2fs", &["-q", "-t", "ext4", "-m", "0"], 64 << 20),
            ("mkfs.btrfs", &["-q", "-L", "data"], 256 << 20),
            ("mkfs.btrfs", &["-q", "-O", "^no-holes", "-R", "^free-space-tree", "-m", "single"], 256 << 20),
            ("mkfs.vfat", &["-F", "16", "-s", "4", "-n", "EFI"], 64 << 20),
            ("mkfs.vfat", &["-F", "32", "-s", "1"], 64 << 20),
            ("mkswap", &["-q", "-L", "swap"], 64 << 20),
        ];
        for (program, args, size) in originals {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(*size).unwrap();
            let output = std::process::Command::new(program).args(*args).arg(file.path()).output().unwrap();
            assert!(
                output.status.success(),
                "{program} {args:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            let original = read_superblock(&File::open(file.path()).unwrap()).unwrap().unwrap();
            let same = remade(*size, &original);
            assert_eq!(same, original, "{program} {args:?}");
            // The same on a disk of another size, but for what follows from the size.
            let other = remade(size * 2, &original);
            assert_eq!(
                (other.uuid, other.label, other.features.features),
                (original.uuid, original.label, original.features.features)
            );
        }
    }
}
