//! Swap areas.

use std::fs::File;

use sysclone_protocol::layout::FsFeatures;

use super::super::table::read_at;
use super::{Superblock, text, uuid};

/// Page sizes of Linux architectures; the signature ends the first page.
const PAGES: [usize; 4] = [4096, 8192, 16384, 65536];

/// Looks for a swap area.
pub(super) fn read(device: &File) -> anyhow::Result<Option<Superblock>> {
    for page in PAGES {
        if let Some(block) = read_at(device, 0, page)?
            && &block[page - 10..] == b"SWAPSPACE2"
        {
            return Ok(Some(parse(&block)));
        }
    }
    Ok(None)
}

fn parse(b: &[u8]) -> Superblock {
    Superblock {
        kind: "swap".into(),
        uuid: Some(uuid(&b[1036..1052])),
        label: text(&b[1052..1068]),
        features: FsFeatures { block_bytes: u32::try_from(b.len()).ok(), ..FsFeatures::default() },
    }
}
