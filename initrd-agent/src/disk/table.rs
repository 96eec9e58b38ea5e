//! Reads partition tables: GPT (UEFI specification, chapter 5) and MBR.

use std::io;
use std::os::unix::fs::FileExt;

use anyhow::{Context as _, bail};
use sysclone_protocol::layout::{Grow, Partition, PartitionTable, TableKind};

/// Most partition entries that are looked at; the specification's minimum and every tool's default is 128.
const MAX_ENTRIES: u32 = 1024;

/// Reads the partition table of a disk; none when it has none.
///
/// # Errors
/// The disk cannot be read, or has a GPT whose checksum is wrong.
pub(super) fn read_table(disk: &impl FileExt, sector_bytes: u32) -> anyhow::Result<Option<PartitionTable>> {
    let mut mbr = [0; 512];
    disk.read_exact_at(&mut mbr, 0).context("reading its first sector")?;
    if mbr[510..] != [0x55, 0xaa] {
        return Ok(None);
    }
    if (0..4).any(|i| mbr[446 + 16 * i + 4] == 0xee) {
        return read_gpt(disk, u64::from(sector_bytes)).map(Some);
    }
    Ok(read_mbr(&mbr, u64::from(sector_bytes)))
}

fn read_gpt(disk: &impl FileExt, sector: u64) -> anyhow::Result<PartitionTable> {
    let mut header = vec![0; 512];
    disk.read_exact_at(&mut header, sector).context("reading its GPT header")?;
    if &header[..8] != b"EFI PART" {
        bail!("it has a protective MBR but no GPT header");
    }
    let length = le32(&header, 12) as usize;
    if !(92..=512).contains(&length) {
        bail!("its GPT header has a length of {length} bytes");
    }
    let mut summed = header[..length].to_vec();
    summed[16..20].fill(0);
    if crc32(&summed) != le32(&header, 16) {
        bail!("the checksum of its GPT header is wrong");
    }
    let (at, count, size) = (le64(&header, 72), le32(&header, 80), le32(&header, 84));
    if count > MAX_ENTRIES || !(128..=4096).contains(&size) {
        bail!("its GPT has {count} entries of {size} bytes");
    }
    let mut entries = vec![0; (count * size) as usize];
    disk.read_exact_at(&mut entries, at * sector).context("reading its GPT entries")?;
    if crc32(&entries) != le32(&header, 88) {
        bail!("the checksum of its GPT entries is wrong");
    }
    let mut partitions: Vec<Partition> = entries
        .chunks(size as usize)
        .zip(1..)
        .filter(|(entry, _)| entry[..16].iter().any(|b| *b != 0))
        .map(|(entry, number)| gpt_partition(entry, number, sector))
        .collect();
    partitions.sort_by_key(|p| p.start_bytes);
    Ok(PartitionTable { kind: TableKind::Gpt, id: Some(guid(&header[56..72])), partitions })
}

fn gpt_partition(entry: &[u8], number: u32, sector: u64) -> Partition {
    let (first, last) = (le64(entry, 32), le64(entry, 40));
    let name: Vec<u16> =
        entry[56..128].chunks(2).map(|c| u16::from_le_bytes([c[0], c[1]])).take_while(|c| *c != 0).collect();
    let name = String::from_utf16_lossy(&name);
    Partition {
        number,
        start_bytes: first * sector,
        size_bytes: (last + 1).saturating_sub(first) * sector,
        type_id: guid(&entry[..16]),
        uuid: Some(guid(&entry[16..32])),
        name: (!name.is_empty()).then_some(name),
        attributes: attributes(le64(entry, 48)),
        bootable: false,
        grow: Grow::Fixed,
    }
}

/// The attribute bits in the words that sfdisk reads.
fn attributes(bits: u64) -> Option<String> {
    let words: Vec<String> = (0..64)
        .filter(|bit| bits >> bit & 1 == 1)
        .map(|bit| match bit {
            0 => "RequiredPartition".to_owned(),
            1 => "NoBlockIOProtocol".to_owned(),
            2 => "LegacyBIOSBootable".to_owned(),
            bit => format!("GUID:{bit}"),
        })
        .collect();
    (!words.is_empty()).then(|| words.join(","))
}

fn read_mbr(mbr: &[u8], sector: u64) -> Option<PartitionTable> {
    let mut partitions = Vec::new();
    for number in 1..=4 {
        let entry = &mbr[446 + 16 * (number as usize - 1)..][..16];
        let (flag, kind, start, sectors) = (entry[0], entry[4], le32(entry, 8), le32(entry, 12));
        // A filesystem's boot sector ends like an MBR; its bytes there are no sane entry.
        if flag & 0x7f != 0 {
            return None;
        }
        if kind != 0 && sectors != 0 {
            partitions.push(Partition {
                number,
                start_bytes: u64::from(start) * sector,
                size_bytes: u64::from(sectors) * sector,
                type_id: format!("{kind:02x}"),
                uuid: None,
                name: None,
                attributes: None,
                bootable: flag == 0x80,
                grow: Grow::Fixed,
            });
        }
    }
    partitions.sort_by_key(|p| p.start_bytes);
    let id = Some(format!("0x{:08x}", le32(mbr, 440)));
    (!partitions.is_empty()).then_some(PartitionTable { kind: TableKind::Mbr, id, partitions })
}

/// A GUID as text; its first three fields are little-endian on disk.
fn guid(b: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02X}")).collect::<String>();
    let back = |bytes: &[u8]| hex(&bytes.iter().rev().copied().collect::<Vec<u8>>());
    format!("{}-{}-{}-{}-{}", back(&b[..4]), back(&b[4..6]), back(&b[6..8]), hex(&b[8..10]), hex(&b[10..16]))
}

pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes are four bytes"))
}

pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight bytes"))
}

/// CRC-32 (IEEE 802.3), bit by bit: a table is read once.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

/// Reads bytes at an offset, or none when the device is shorter.
pub(super) fn read_at(device: &impl FileExt, at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; len];
    match device.read_exact_at(&mut bytes, at) {
        Ok(()) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::{Command, Stdio};

    use super::*;

    /// A 100 MiB file partitioned by sfdisk from this script.
    fn disk(script: &str) -> File {
        use std::io::Write;
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(100 << 20).unwrap();
        let mut child =
            Command::new("sfdisk").arg("-q").arg(file.path()).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        file.into_file()
    }

    #[test]
    fn a_gpt_made_by_sfdisk_is_read() {
        let id = "11111111-2222-3333-4444-555555555555";
        let table = read_table(
            &disk(&format!(
                "label: gpt\nlabel-id: {id}\nsize=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios_grub\n\
                 size=20MiB, type=linux, name=\"b ö\", attrs=\"LegacyBIOSBootable,GUID:63\"\ntype=lvm, uuid={id}\n"
            )),
            512,
        )
        .unwrap()
        .unwrap();
        assert_eq!((table.kind, table.id.as_deref(), table.partitions.len()), (TableKind::Gpt, Some(id), 3));
        let [grub, boot, lvm] = &table.partitions[..] else { panic!() };
        assert_eq!((grub.start_bytes, grub.size_bytes), (1 << 20, 1 << 20));
        assert_eq!(grub.type_id, "21686148-6449-6E6F-744E-656564454649");
        assert_eq!(boot.name.as_deref(), Some("b ö"));
        assert_eq!(boot.attributes.as_deref(), Some("LegacyBIOSBootable,GUID:63"));
        assert_eq!(lvm.uuid.as_deref(), Some(id));
    }

    #[test]
    fn a_damaged_gpt_is_an_error() {
        let file = disk("label: gpt\nsize=1MiB\n");
        file.write_all_at(&[0xff], 1024 + 56).unwrap();
        assert_eq!(
            read_table(&file, 512).unwrap_err().to_string(),
            "the checksum of its GPT entries is wrong"
        );
    }

    #[test]
    fn an_mbr_made_by_sfdisk_is_read() {
        let table = read_table(
            &disk("label: dos\nlabel-id: 0x12345678\nsize=8MiB, type=41\ntype=8e, bootable\n"),
            512,
        )
        .unwrap()
        .unwrap();
        assert_eq!((table.kind, table.id.as_deref()), (TableKind::Mbr, Some("0x12345678")));
        assert_eq!(table.partitions[0].type_id, "41");
        assert!(table.partitions[1].bootable);
    }

    #[test]
    fn a_blank_disk_has_no_table() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        assert_eq!(read_table(&file, 512).unwrap(), None);
    }
}
