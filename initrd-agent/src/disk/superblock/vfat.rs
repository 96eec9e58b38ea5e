//! FAT12, FAT16 and FAT32.

use std::fs::File;

use sysclone_protocol::layout::FsFeatures;

use super::super::table::{le32, read_at};
use super::{Superblock, text};

/// Directory entries are this long; the label is one with this attribute.
const ENTRY_BYTES: usize = 32;
const VOLUME_LABEL: u8 = 0x08;
/// Attributes of a part of a long name, which has the label bit set too.
const LONG_NAME: u8 = 0x0f;

/// What the boot sector says.
struct Boot {
    sector: u64,
    cluster_sectors: u64,
    reserved: u64,
    fats: u64,
    fat_sectors: u64,
    root_entries: u64,
    sectors: u64,
}

/// Looks for FAT.
pub(super) fn read(device: &File) -> anyhow::Result<Option<Superblock>> {
    let Some(b) = read_at(device, 0, 512)? else { return Ok(None) };
    let Some(boot) = boot_sector(&b) else { return Ok(None) };
    let wide = &b[82..87] == b"FAT32";
    let serial = le32(&b, if wide { 67 } else { 39 });
    let fat = if wide { 32 } else { boot.narrow_kind() };
    let root = boot.root_directory(wide, u64::from(le32(&b, 44)));
    let entries =
        if wide { boot.cluster_sectors * boot.sector } else { boot.root_entries * ENTRY_BYTES as u64 };
    let directory = read_at(device, root, usize::try_from(entries).unwrap_or_default())?;
    Ok(Some(Superblock {
        kind: "vfat".into(),
        uuid: Some(format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)),
        label: directory.as_deref().and_then(label),
        features: FsFeatures {
            block_bytes: u32::try_from(boot.sector).ok(),
            features: vec![format!("fat={fat}"), format!("cluster={}", boot.cluster_sectors * boot.sector)],
            ..FsFeatures::default()
        },
    }))
}

/// A FAT boot sector; none when the sector is something else that starts like one.
fn boot_sector(b: &[u8]) -> Option<Boot> {
    let le16 = |at: usize| u64::from(u16::from_le_bytes([b[at], b[at + 1]]));
    let named = &b[82..87] == b"FAT32" || matches!(&b[54..59], b"FAT12" | b"FAT16");
    let (sector, cluster_sectors, fats) = (le16(11), u64::from(b[13]), u64::from(b[16]));
    let sane =
        (512..=4096).contains(&sector) && sector.is_power_of_two() && cluster_sectors.is_power_of_two();
    let either = |short: u64, long: usize| if short == 0 { u64::from(le32(b, long)) } else { short };
    (b[510..512] == [0x55, 0xaa] && matches!(b[0], 0xeb | 0xe9) && named && sane && matches!(fats, 1 | 2))
        .then(|| Boot {
            sector,
            cluster_sectors,
            reserved: le16(14),
            fats,
            fat_sectors: either(le16(22), 36),
            root_entries: le16(17),
            sectors: either(le16(19), 32),
        })
}

impl Boot {
    fn first_data_sector(&self) -> u64 {
        let root = (self.root_entries * ENTRY_BYTES as u64).div_ceil(self.sector);
        self.reserved + self.fats * self.fat_sectors + root
    }

    /// FAT12 has fewer than 4085 clusters, FAT16 has more.
    fn narrow_kind(&self) -> u8 {
        let clusters = self.sectors.saturating_sub(self.first_data_sector()) / self.cluster_sectors;
        if clusters < 4085 { 12 } else { 16 }
    }

    /// Where the root directory begins: behind the tables, or on FAT32 in a cluster (of which the first is number 2).
    fn root_directory(&self, wide: bool, cluster: u64) -> u64 {
        let tables = self.reserved + self.fats * self.fat_sectors;
        let sector = if wide {
            self.first_data_sector() + cluster.saturating_sub(2) * self.cluster_sectors
        } else {
            tables
        };
        sector * self.sector
    }
}

/// The label among directory entries. The one in the boot sector may be an old one.
fn label(directory: &[u8]) -> Option<String> {
    let entries = directory.chunks_exact(ENTRY_BYTES).take_while(|entry| entry[0] != 0);
    let is_label = |e: &&[u8]| e[0] != 0xe5 && e[11] & LONG_NAME != LONG_NAME && e[11] & VOLUME_LABEL != 0;
    let mut labels = entries.filter(is_label);
    labels.next().and_then(|entry| text(&entry[..11]))
}
