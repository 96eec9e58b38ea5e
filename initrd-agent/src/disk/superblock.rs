//! Reads filesystem superblocks: what mkfs must be told to make the same filesystem again.

use std::os::unix::fs::FileExt;

use anyhow::{Context as _, bail};
use sysclone_protocol::layout::FsFeatures;

use super::table::{le32, read_at};

/// What a device holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Superblock {
    /// `ext2`, `ext3`, `ext4`, `xfs`, `swap`.
    pub kind: String,
    /// UUID, lower case.
    pub uuid: Option<String>,
    /// Label.
    pub label: Option<String>,
    /// How it was made.
    pub features: FsFeatures,
}

/// Reads the superblock of a device; none when it holds no filesystem known here.
///
/// # Errors
/// The device cannot be read, or its filesystem uses a feature without a name here: a clone of it could be made
/// wrong.
pub(super) fn read_superblock(device: &impl FileExt) -> anyhow::Result<Option<Superblock>> {
    if let Some(block) = read_at(device, 1024, 1024)?
        && block[56..58] == [0x53, 0xef]
    {
        return ext(&block).map(Some);
    }
    if let Some(block) = read_at(device, 0, 512)?
        && &block[..4] == b"XFSB"
    {
        return xfs(&block).map(Some);
    }
    for page in [4096, 8192, 16384, 65536] {
        if let Some(block) = read_at(device, 0, page)?
            && &block[page - 10..] == b"SWAPSPACE2"
        {
            return Ok(Some(swap(&block)));
        }
    }
    Ok(None)
}

/// Feature bits and the names that mke2fs and dumpe2fs give them. `None` is state, not a feature of making.
type Bits = &'static [(u32, Option<&'static str>)];

const EXT_COMPAT: Bits = &[
    (0x1, Some("dir_prealloc")),
    (0x2, Some("imagic_inodes")),
    (0x4, Some("has_journal")),
    (0x8, Some("ext_attr")),
    (0x10, Some("resize_inode")),
    (0x20, Some("dir_index")),
    (0x200, Some("sparse_super2")),
    (0x400, Some("fast_commit")),
    (0x800, Some("stable_inodes")),
    (0x1000, None),
];
const EXT_INCOMPAT: Bits = &[
    (0x1, Some("compression")),
    (0x2, Some("filetype")),
    (0x4, None),
    (0x8, Some("journal_dev")),
    (0x10, Some("meta_bg")),
    (0x40, Some("extent")),
    (0x80, Some("64bit")),
    (0x100, Some("mmp")),
    (0x200, Some("flex_bg")),
    (0x400, Some("ea_inode")),
    (0x1000, Some("dirdata")),
    (0x2000, Some("metadata_csum_seed")),
    (0x4000, Some("large_dir")),
    (0x8000, Some("inline_data")),
    (0x10000, Some("encrypt")),
    (0x20000, Some("casefold")),
];
const EXT_RO_COMPAT: Bits = &[
    (0x1, Some("sparse_super")),
    (0x2, Some("large_file")),
    (0x8, Some("huge_file")),
    (0x10, Some("uninit_bg")),
    (0x20, Some("dir_nlink")),
    (0x40, Some("extra_isize")),
    (0x100, Some("quota")),
    (0x200, Some("bigalloc")),
    (0x400, Some("metadata_csum")),
    (0x1000, Some("read-only")),
    (0x2000, Some("project")),
    (0x8000, Some("verity")),
    (0x10000, None),
];
/// Default mount options in the superblock, by tune2fs name.
const EXT_MOUNT: Bits = &[
    (0x1, Some("debug")),
    (0x2, Some("bsdgroups")),
    (0x4, Some("user_xattr")),
    (0x8, Some("acl")),
    (0x10, Some("uid16")),
    (0x100, Some("nobarrier")),
    (0x200, Some("block_validity")),
    (0x400, Some("discard")),
    (0x800, Some("nodelalloc")),
];

/// The ext2/3/4 superblock, offsets as in the kernel's documentation (`filesystems/ext4/super`).
fn ext(b: &[u8]) -> anyhow::Result<Superblock> {
    let mut features = names(le32(b, 0x5c), EXT_COMPAT, "compatible")?;
    features.extend(names(le32(b, 0x60), EXT_INCOMPAT, "incompatible")?);
    features.extend(names(le32(b, 0x64), EXT_RO_COMPAT, "read-only compatible")?);
    let has = |name: &str| features.iter().any(|f| f == name);
    let kind = match (has("extent") || has("64bit") || has("flex_bg"), has("has_journal")) {
        (true, _) => "ext4",
        (false, true) => "ext3",
        (false, false) => "ext2",
    };
    let block = 1024_u32 << le32(b, 0x18).min(6);
    let wide = if has("64bit") { u64::from(le32(b, 0x150)) << 32 } else { 0 };
    let blocks = u64::from(le32(b, 0x4)) | wide;
    let inodes = u64::from(le32(b, 0)).max(1);
    let journal = if le32(b, 0x100) & 0x60 == 0x60 {
        Some("journal_data_writeback")
    } else if le32(b, 0x100) & 0x40 != 0 {
        Some("journal_data_ordered")
    } else if le32(b, 0x100) & 0x20 != 0 {
        Some("journal_data")
    } else {
        None
    };
    let mut mount = names(le32(b, 0x100) & !0x60, EXT_MOUNT, "default mount option")?;
    mount.extend(journal.map(str::to_owned));
    Ok(Superblock {
        kind: kind.into(),
        uuid: Some(uuid(&b[0x68..0x78])),
        label: text(&b[0x78..0x88]),
        features: FsFeatures {
            block_bytes: Some(block),
            inode_bytes: Some(u32::from(u16::from_le_bytes([b[0x58], b[0x59]]))),
            bytes_per_inode: Some((blocks * u64::from(block) / inodes).max(u64::from(block))),
            features,
            default_mount_options: mount,
            hash_seed: Some(uuid(&b[0xec..0xfc])),
        },
    })
}

fn names(bits: u32, known: Bits, what: &str) -> anyhow::Result<Vec<String>> {
    let all = known.iter().fold(0, |all, (bit, _)| all | bit);
    if bits & !all != 0 {
        bail!("its ext {what} features have unknown bits {:#x}", bits & !all);
    }
    Ok(known
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .filter_map(|(_, name)| name.map(str::to_owned))
        .collect())
}

/// The XFS superblock (big-endian), offsets as in "XFS Algorithms & Data Structures".
fn xfs(b: &[u8]) -> anyhow::Result<Superblock> {
    let be16 = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
    let be32 = |at: usize| u32::from_be_bytes(b[at..at + 4].try_into().expect("four bytes"));
    let (version, features2) = (be16(100), be32(200));
    let (ro, incompat) = (be32(212), be32(216));
    let v5 = version & 0xf == 5;
    if !v5 && version & 0xf != 4 {
        bail!("its XFS version {} is not 4 or 5", version & 0xf);
    }
    if v5 && (ro & !0xf != 0 || incompat & !0x7f != 0) {
        bail!("its XFS features have unknown bits {:#x}/{:#x}", ro & !0xf, incompat & !0x7f);
    }
    let on = |bits: u32, bit: u32| u8::from(v5 && bits & bit != 0);
    let mut features = vec![format!("crc={}", u8::from(v5))];
    if v5 {
        features.push(format!("finobt={}", on(ro, 1)));
        features.push(format!("rmapbt={}", on(ro, 2)));
        features.push(format!("reflink={}", on(ro, 4)));
        features.push(format!("inobtcount={}", on(ro, 8)));
        features.push(format!("bigtime={}", on(incompat, 8)));
        features.push(format!("sparse={}", on(incompat, 2)));
        // Named only when on: an older mkfs.xfs does not know the word.
        if on(incompat, 0x20) == 1 {
            features.push("nrext64=1".into());
        }
    } else {
        features.push(format!("ftype={}", u8::from(features2 & 0x200 != 0)));
        features.push(format!("lazy-count={}", u8::from(features2 & 0x2 != 0)));
    }
    // A changed UUID leaves the original one in the metadata (META_UUID); the visible one is what counts.
    Ok(Superblock {
        kind: "xfs".into(),
        uuid: Some(uuid(&b[32..48])),
        label: text(&b[108..120]),
        features: FsFeatures {
            block_bytes: Some(be32(4)),
            inode_bytes: Some(u32::from(be16(104))),
            features,
            ..FsFeatures::default()
        },
    })
}

fn swap(b: &[u8]) -> Superblock {
    Superblock {
        kind: "swap".into(),
        uuid: Some(uuid(&b[1036..1052])),
        label: text(&b[1052..1068]),
        features: FsFeatures { block_bytes: u32::try_from(b.len()).ok(), ..FsFeatures::default() },
    }
}

fn uuid(b: &[u8]) -> String {
    let hex: String = b.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn text(b: &[u8]) -> Option<String> {
    let end = b.iter().position(|b| *b == 0).unwrap_or(b.len());
    let text = String::from_utf8_lossy(&b[..end]).trim_end().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Reads the superblock of a device by path.
///
/// # Errors
/// As [`read_superblock`], naming the device.
pub(super) fn superblock_of(device: &str) -> anyhow::Result<Option<Superblock>> {
    let file = std::fs::File::open(device).with_context(|| format!("opening {device}"))?;
    read_superblock(&file).with_context(|| format!("reading the filesystem on {device}"))
}

#[cfg(test)]
mod tests {
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
                assert_eq!(found.features.features, ["crc=0", "ftype=1", "lazy-count=1"]);
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
}
