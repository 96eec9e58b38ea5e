//! Compares what is read with what the filesystems' own tools print or were told.

use std::fs::File;
use std::process::Command;

use super::*;

const UUID: &str = "01234567-89ab-4cde-8f01-23456789abcd";

fn made(size: u64, program: &str, args: &[&str]) -> (tempfile::NamedTempFile, Superblock) {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(size).unwrap();
    let output = Command::new(program).args(args).arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = read_superblock(&File::open(file.path()).unwrap()).unwrap().unwrap();
    (file, found)
}

#[test]
fn ext_features_are_those_that_dumpe2fs_prints() {
    for (kind, extra) in
        [("ext2", ""), ("ext3", ""), ("ext4", ""), ("ext4", "^metadata_csum,^64bit,uninit_bg")]
    {
        let mut args = vec!["-q", "-t", kind, "-U", UUID, "-L", "a label"];
        if !extra.is_empty() {
            args.extend(["-O", extra]);
        }
        if kind == "ext3" {
            args.extend(["-m", "1"]);
        }
        let (file, found) = made(64 << 20, "mke2fs", &args);
        let printed = Command::new("dumpe2fs").arg("-h").arg(file.path()).output().unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        let line = |key: &str| {
            printed.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default().trim().to_owned()
        };
        let mut theirs: Vec<String> =
            line("Filesystem features:").split_whitespace().map(str::to_owned).collect();
        let mut ours = found.features.features.clone();
        theirs.sort();
        ours.sort();
        assert_eq!((found.kind.as_str(), ours), (kind, theirs));
        assert_eq!((found.uuid.as_deref(), found.label.as_deref()), (Some(UUID), Some("a label")));
        assert_eq!(found.features.hash_seed.unwrap_or_default(), line("Directory Hash Seed:"));
        assert_eq!(found.features.block_bytes.unwrap().to_string(), line("Block size:"));
        assert_eq!(found.features.inode_bytes.unwrap().to_string(), line("Inode size:"));
        assert_eq!(found.features.reserved_basis_points, Some(if kind == "ext3" { 100 } else { 500 }));
        let mut theirs: Vec<String> =
            line("Default mount options:").split_whitespace().map(str::to_owned).collect();
        let mut ours = found.features.default_mount_options;
        theirs.sort();
        ours.sort();
        assert_eq!(ours, theirs);
    }
}

#[test]
fn xfs_features_are_those_it_was_made_with() {
    for options in [
        "crc=1,finobt=1,rmapbt=0,reflink=1,inobtcount=1,bigtime=1",
        "crc=1,finobt=1,rmapbt=1,reflink=1,inobtcount=1,bigtime=0",
        "crc=1,finobt=0,rmapbt=0,reflink=0,inobtcount=0,bigtime=0",
        "crc=0,finobt=0,rmapbt=0,reflink=0,inobtcount=0,bigtime=0",
    ] {
        let uuid = format!("{options},uuid={UUID}");
        let (_file, found) = made(512 << 20, "mkfs.xfs", &["-q", "-f", "-L", "data", "-m", &uuid]);
        assert_eq!((found.kind.as_str(), found.uuid.as_deref()), ("xfs", Some(UUID)));
        assert_eq!(found.label.as_deref(), Some("data"));
        let given: Vec<&str> = options.split(',').collect();
        if given[0] == "crc=1" {
            for option in given {
                assert!(found.features.features.iter().any(|f| f == option), "{option}: {found:?}");
            }
        } else {
            let others = ["crc=0", "ftype=1", "lazy-count=1", "attr=2", "projid32bit=1", "sectsize=512"];
            assert_eq!(found.features.features, others);
        }
    }
}

#[test]
fn swap_is_read() {
    let (_file, found) = made(16 << 20, "mkswap", &["-q", "-U", UUID, "-L", "paging"]);
    assert_eq!((found.kind.as_str(), found.uuid.as_deref()), ("swap", Some(UUID)));
    assert_eq!(found.label.as_deref(), Some("paging"));
}

#[test]
fn nothing_is_found_on_a_blank_device() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    assert_eq!(read_superblock(&file).unwrap(), None);
}

#[test]
fn btrfs_is_read() {
    for (options, features) in [
        (
            &[][..],
            "^mixed-bg extref ^raid56 skinny-metadata no-holes free-space-tree csum=crc32c nodesize=16384 metadata=dup",
        ),
        (
            &[
                "-O",
                "^no-holes,^skinny-metadata",
                "-R",
                "^free-space-tree",
                "--csum",
                "xxhash",
                "-m",
                "single",
            ],
            "^mixed-bg extref ^raid56 ^skinny-metadata ^no-holes ^free-space-tree csum=xxhash nodesize=16384 metadata=single",
        ),
    ] {
        let args = [&["-q", "-L", "data", "-U", UUID][..], options].concat();
        let (_file, found) = made(300 << 20, "mkfs.btrfs", &args);
        assert_eq!(found.features.features.join(" "), features);
        assert_eq!((found.kind.as_str(), found.features.block_bytes), ("btrfs", Some(4096)));
    }
}

#[test]
fn every_size_of_fat_is_read() {
    for (size, options, features) in [
        (4 << 20, &["-F", "12"][..], "fat=12 cluster=2048"),
        (64 << 20, &["-F", "16", "-s", "8"], "fat=16 cluster=4096"),
        (512 << 20, &["-F", "32", "-s", "1"], "fat=32 cluster=512"),
        (512 << 20, &["-F", "32", "-S", "4096"], "fat=32 cluster=4096"),
    ] {
        let (_file, found) =
            made(size, "mkfs.vfat", &[&["-i", "abcd1234", "-n", "EFI SYS"], options].concat());
        assert_eq!(found.features.features.join(" "), features);
        assert_eq!((found.uuid.as_deref(), found.label.as_deref()), (Some("ABCD-1234"), Some("EFI SYS")));
    }
}

#[test]
fn kind_uuid_and_label_are_those_that_blkid_finds() {
    for (program, args) in [
        ("mke2fs", &["-q", "-t", "ext4", "-L", "root fs"][..]),
        ("mke2fs", &["-q", "-t", "ext3"]),
        ("mke2fs", &["-q", "-t", "ext2", "-L", "sixteen bytes 16"]),
        ("mkfs.xfs", &["-q", "-f", "-L", "twelve bytes"]),
        ("mkfs.btrfs", &["-q", "-L", "b t r"]),
        ("mkfs.vfat", &["-F", "32", "-n", "ESP"]),
        ("mkfs.vfat", &["-F", "16"]),
        ("mkswap", &["-q", "-L", "paging"]),
    ] {
        let (file, found) = made(512 << 20, program, args);
        let output = Command::new("blkid").args(["-p", "-o", "export"]).arg(file.path()).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let value = |key: &str| {
            let line = printed.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='))?;
            Some(line.replace("\\ ", " "))
        };
        assert_eq!(Some(found.kind), value("TYPE"), "{program} {args:?}");
        assert_eq!(found.uuid, value("UUID"), "{program} {args:?}");
        assert_eq!(found.label, value("LABEL"), "{program} {args:?}");
    }
}

#[test]
fn no_changed_byte_makes_a_reader_panic() {
    use std::os::unix::fs::FileExt;
    for (program, args, at, length) in [
        ("mke2fs", &["-q", "-t", "ext4"][..], 1024, 1024),
        ("mkfs.xfs", &["-q", "-f"], 0, 512),
        ("mkfs.btrfs", &["-q"], 64 << 10, 4096),
        ("mkfs.vfat", &["-F", "16"], 0, 512),
        ("mkfs.vfat", &["-F", "32"], 0, 512),
        ("mkswap", &["-q"], 0, 4096),
    ] {
        let (file, _) = made(300 << 20, program, args);
        let file = File::options().read(true).write(true).open(file.path()).unwrap();
        let mut block = vec![0; length];
        file.read_exact_at(&mut block, at).unwrap();
        for (i, byte) in block.iter().enumerate().step_by(length / 512) {
            for changed in [0, 0x7f, 0xff, byte ^ 0x10] {
                file.write_all_at(&[changed], at + i as u64).unwrap();
                // Whatever it says, it says it without panicking.
                let _ = read_superblock(&file);
            }
            file.write_all_at(&[*byte], at + i as u64).unwrap();
        }
        // Numbers of several bytes at their largest.
        for i in (0..length - 8).step_by(4) {
            file.write_all_at(&[0xff; 8], at + i as u64).unwrap();
            let _ = read_superblock(&file);
            file.write_all_at(&block[i..i + 8], at + i as u64).unwrap();
        }
    }
}
