//! The mkfs command of each filesystem: same UUID, label and features as the captured one.

use anyhow::bail;
use sysclone_exec::Command;
use sysclone_protocol::plan::PlannedFilesystem;

use super::{MKE2FS, MKFS_XFS, MKSWAP, TUNE2FS};

/// The commands that make a filesystem, in order.
///
/// # Errors
/// The kind is none that this version makes.
pub(super) fn commands(filesystem: &PlannedFilesystem) -> anyhow::Result<Vec<Command>> {
    let command = match filesystem.facts.kind.as_str() {
        "ext2" | "ext3" | "ext4" => return Ok(ext(filesystem)),
        "xfs" => xfs(filesystem),
        "swap" => swap(filesystem),
        other => bail!("a {other} filesystem cannot be made by this version"),
    };
    Ok(vec![command])
}

/// Features are given in full, so neither this mke2fs's defaults nor its configuration add one.
fn ext(filesystem: &PlannedFilesystem) -> Vec<Command> {
    let facts = &filesystem.facts;
    let mut extended = Vec::new();
    if let Some(seed) = &facts.features.hash_seed {
        extended.push(format!("hash_seed={seed}"));
    }
    // Zeroing all inode tables now would write gigabytes; the kernel does it in the background where it matters.
    extended.push("lazy_itable_init=1,lazy_journal_init=1".to_owned());
    let features: Vec<&str> =
        std::iter::once("none").chain(facts.features.features.iter().map(String::as_str)).collect();
    let mut command = Command::new(MKE2FS).args([
        "-q",
        "-F",
        "-t",
        facts.kind.as_str(),
        "-O",
        &features.join(","),
        "-E",
        &extended.join(","),
    ]);
    for (flag, value) in [
        ("-b", facts.features.block_bytes.map(|n| n.to_string())),
        ("-I", facts.features.inode_bytes.map(|n| n.to_string())),
        ("-i", facts.features.bytes_per_inode.map(|n| n.to_string())),
        ("-U", facts.uuid.clone()),
        ("-L", facts.label.clone()),
    ] {
        if let Some(value) = value {
            command = command.args([flag, value.as_str()]);
        }
    }
    let mut commands = vec![command.arg(&filesystem.device)];
    // mke2fs sets user_xattr and acl by itself; what differs is set afterwards.
    let options = &facts.features.default_mount_options;
    let unset = ["user_xattr", "acl"]
        .into_iter()
        .filter(|o| !options.iter().any(|have| have == o))
        .map(|o| format!("^{o}"));
    let set = options.iter().filter(|o| !matches!(o.as_str(), "user_xattr" | "acl")).cloned();
    let changes: Vec<String> = unset.chain(set).collect();
    if !changes.is_empty() {
        commands.push(Command::new(TUNE2FS).args([
            "-o",
            changes.join(",").as_str(),
            filesystem.device.as_str(),
        ]));
    }
    commands
}

fn xfs(filesystem: &PlannedFilesystem) -> Command {
    let facts = &filesystem.facts;
    let (mut metadata, mut inode, mut naming, mut log) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for feature in &facts.features.features {
        match feature.split('=').next().unwrap_or_default() {
            "sparse" | "nrext64" => inode.push(feature.clone()),
            "ftype" => naming.push(feature.clone()),
            "lazy-count" => log.push(feature.clone()),
            _ => metadata.push(feature.clone()),
        }
    }
    if metadata.iter().any(|m| m == "crc=0") {
        // Version 4 knows none of these; a newer mkfs.xfs would turn them on and refuse.
        metadata
            .extend(["finobt=0", "rmapbt=0", "reflink=0", "inobtcount=0", "bigtime=0"].map(str::to_owned));
        inode.push("sparse=0".into());
    }
    metadata.extend(facts.uuid.iter().map(|uuid| format!("uuid={uuid}")));
    inode.extend(facts.features.inode_bytes.map(|n| format!("size={n}")));
    let block = facts.features.block_bytes.map(|n| format!("size={n}")).into_iter().collect();
    // -K: discarding a whole disk before making a filesystem takes minutes on some and changes nothing here.
    let mut command = Command::new(MKFS_XFS).args(["-q", "-f", "-K"]);
    for (flag, values) in [("-b", block), ("-m", metadata), ("-i", inode), ("-n", naming), ("-l", log)] {
        let values: Vec<String> = values;
        if !values.is_empty() {
            command = command.args([flag, values.join(",").as_str()]);
        }
    }
    if let Some(label) = &facts.label {
        command = command.args(["-L", label.as_str()]);
    }
    command.arg(&filesystem.device)
}

fn swap(filesystem: &PlannedFilesystem) -> Command {
    let facts = &filesystem.facts;
    let mut command = Command::new(MKSWAP).arg("-q");
    for (flag, value) in [("-U", &facts.uuid), ("-L", &facts.label)] {
        if let Some(value) = value {
            command = command.args([flag, value.as_str()]);
        }
    }
    command.arg(&filesystem.device)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use sysclone_exec::{Runner as _, System};
    use sysclone_protocol::layout::{DeviceRef, Filesystem};

    use super::super::superblock::{Superblock, read_superblock};
    use super::*;

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
