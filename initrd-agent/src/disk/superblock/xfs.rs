//! XFS, versions 4 and 5; big-endian on disk.

use std::fs::File;

use anyhow::{bail, ensure};
use sysclone_protocol::layout::FsFeatures;

use super::super::table::read_at;
use super::{Superblock, text, uuid};

/// Read-only compatible features that are known: finobt, rmapbt, reflink, inobtcount.
const RO_COMPAT: u32 = 0xf;
/// Incompatible ones: ftype, sparse inodes, changed UUID, bigtime, needs repair, nrext64. exchange-range and parent
/// pointers are known too, but not carried over: nothing that reads the clone needs them, and mkfs.xfs may not know
/// how to make them.
const INCOMPAT: u32 = 0xff;
const NEEDS_REPAIR: u32 = 0x10;

/// Looks for XFS.
pub(super) fn read(device: &File) -> anyhow::Result<Option<Superblock>> {
    match read_at(device, 0, 512)? {
        Some(block) if &block[..4] == b"XFSB" => parse(&block).map(Some),
        _ => Ok(None),
    }
}

fn parse(b: &[u8]) -> anyhow::Result<Superblock> {
    let be16 = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
    let be32 = |at: usize| u32::from_be_bytes(b[at..at + 4].try_into().expect("four bytes are four bytes"));
    let mut features = match be16(100) & 0xf {
        5 => version5(be32(212), be32(216))?,
        4 => version4(be32(200)),
        other => bail!("its XFS version {other} is not 4 or 5"),
    };
    features.push(format!("sectsize={}", be16(102)));
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

fn version5(ro: u32, incompat: u32) -> anyhow::Result<Vec<String>> {
    ensure!(
        ro & !RO_COMPAT == 0 && incompat & !INCOMPAT == 0,
        "its XFS features have unknown bits {:#x}/{:#x}",
        ro & !RO_COMPAT,
        incompat & !INCOMPAT
    );
    ensure!(incompat & NEEDS_REPAIR == 0, "its XFS needs a repair (xfs_repair)");
    let on = |bits: u32, bit: u32| u8::from(bits & bit != 0);
    let mut features = vec![
        "crc=1".to_owned(),
        format!("finobt={}", on(ro, 1)),
        format!("rmapbt={}", on(ro, 2)),
        format!("reflink={}", on(ro, 4)),
        format!("inobtcount={}", on(ro, 8)),
        format!("bigtime={}", on(incompat, 8)),
        format!("sparse={}", on(incompat, 2)),
    ];
    // Named only when on: an older mkfs.xfs does not know the word.
    if incompat & 0x20 != 0 {
        features.push("nrext64=1".to_owned());
    }
    Ok(features)
}

fn version4(features2: u32) -> Vec<String> {
    let on = |bit: u32| u8::from(features2 & bit != 0);
    vec![
        "crc=0".to_owned(),
        format!("ftype={}", on(0x200)),
        format!("lazy-count={}", on(0x2)),
        format!("attr={}", 1 + on(0x8)),
        format!("projid32bit={}", on(0x80)),
    ]
}
