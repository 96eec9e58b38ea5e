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
    read_mbr(disk, &mbr, u64::from(sector_bytes))
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
    disk.read_exact_at(&mut entries, at.saturating_mul(sector)).context("reading its GPT entries")?;
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
        start_bytes: first.saturating_mul(sector),
        size_bytes: last.saturating_add(1).saturating_sub(first).saturating_mul(sector),
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

/// Types of the container of logical partitions.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// Most links of a chain of logical partitions that are followed; Linux makes nodes for fewer.
const MAX_LOGICAL: u32 = 256;

fn read_mbr(disk: &impl FileExt, mbr: &[u8], sector: u64) -> anyhow::Result<Option<PartitionTable>> {
    // A filesystem's boot sector ends like an MBR; its bytes there are no sane entries.
    if (0..4).any(|slot| mbr_entry(mbr, slot)[0] & 0x7f != 0) {
        return Ok(None);
    }
    let mut partitions = Vec::new();
    for number in 1..=4 {
        let entry = mbr_entry(mbr, number as usize - 1);
        partitions.extend(mbr_partition(entry, number, 0, sector));
        if EXTENDED.contains(&entry[4]) {
            partitions.extend(logical(disk, u64::from(le32(entry, 8)), sector)?);
        }
    }
    partitions.sort_by_key(|p| (p.start_bytes, p.number));
    let id = Some(format!("0x{:08x}", le32(mbr, 440)));
    Ok((!partitions.is_empty()).then_some(PartitionTable { kind: TableKind::Mbr, id, partitions }))
}

/// Follows the extended boot records from the first sector of the extended partition. The first entry of each is a
/// logical partition, relative to the record; the second is the next record, relative to the extended partition.
fn logical(disk: &impl FileExt, extended: u64, sector: u64) -> anyhow::Result<Vec<Partition>> {
    let mut partitions = Vec::new();
    let (mut at, mut number) = (extended, 5);
    for _ in 0..MAX_LOGICAL {
        let mut record = [0; 512];
        disk.read_exact_at(&mut record, at * sector)
            .with_context(|| format!("reading its extended boot record in sector {at}"))?;
        if record[510..] != [0x55, 0xaa] {
            bail!("sector {at} should be an extended boot record but has no signature");
        }
        if let Some(partition) = mbr_partition(mbr_entry(&record, 0), number, at, sector) {
            partitions.push(partition);
            number += 1;
        }
        let next = mbr_entry(&record, 1);
        if next[4] == 0 || le32(next, 12) == 0 {
            return Ok(partitions);
        }
        at = extended + u64::from(le32(next, 8));
    }
    bail!("its chain of logical partitions has no end");
}

fn mbr_entry(record: &[u8], slot: usize) -> &[u8] {
    &record[446 + 16 * slot..][..16]
}

fn mbr_partition(entry: &[u8], number: u32, base: u64, sector: u64) -> Option<Partition> {
    let (kind, start, sectors) = (entry[4], u64::from(le32(entry, 8)), le32(entry, 12));
    (kind != 0 && sectors != 0).then(|| Partition {
        number,
        start_bytes: (base + start) * sector,
        size_bytes: u64::from(sectors) * sector,
        type_id: format!("{kind:02x}"),
        uuid: None,
        name: None,
        attributes: None,
        bootable: entry[0] == 0x80,
        grow: Grow::Fixed,
    })
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

/// Writes the checksums of a GPT that it should have; none where there is no GPT to mend.
#[cfg(any(test, fuzzing))]
pub(super) fn mend_gpt(disk: &mut [u8], sector: usize) -> Option<()> {
    let header = disk.get(sector..sector + 512)?;
    let (length, at) = (le32(header, 12) as usize, usize::try_from(le64(header, 72)).ok()?);
    let size = le32(header, 80).checked_mul(le32(header, 84))? as usize;
    let start = at.checked_mul(sector)?;
    let entries = crc32(disk.get(start..start.checked_add(size)?)?);
    let header = disk.get_mut(sector..sector + length.clamp(92, 512))?;
    header[88..92].copy_from_slice(&entries.to_le_bytes());
    header[16..20].fill(0);
    let sum = crc32(header).to_le_bytes();
    header[16..20].copy_from_slice(&sum);
    Some(())
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

    /// What sfdisk itself reads from the disk: number, start and size in sectors, type, flag.
    fn as_sfdisk_reads(file: &File) -> Vec<(u32, u64, u64, String, bool)> {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let output = Command::new("sfdisk").args(["-J", &path]).output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let row = |p: &serde_json::Value| {
            let node = p["node"].as_str().unwrap();
            let number = node.strip_prefix(&path).unwrap().trim_start_matches('p').parse().unwrap();
            let kind = format!("{:0>2}", p["type"].as_str().unwrap());
            let bootable = p["bootable"].as_bool().unwrap_or_default();
            (number, p["start"].as_u64().unwrap(), p["size"].as_u64().unwrap(), kind, bootable)
        };
        json["partitiontable"]["partitions"].as_array().unwrap().iter().map(row).collect()
    }

    #[test]
    fn an_mbr_with_logical_partitions_is_read_as_sfdisk_reads_it() {
        for script in [
            "label: dos\nlabel-id: 0x12345678\nsize=8MiB, type=41\ntype=8e, bootable\n",
            "label: dos\n1: size=8MiB\n2: type=5\n5: size=10MiB\n6: size=4MiB, type=82\n7: type=8e\n",
            "label: dos\n1: start=40960, size=20480\n4: start=2048, size=30000, type=f\n5: start=4096, size=2048\n",
        ] {
            let file = disk(script);
            let table = read_table(&file, 512).unwrap().unwrap();
            assert_eq!(table.kind, TableKind::Mbr);
            let mut ours: Vec<_> = table
                .partitions
                .iter()
                .map(|p| (p.number, p.start_bytes / 512, p.size_bytes / 512, p.type_id.clone(), p.bootable))
                .collect();
            ours.sort_unstable();
            assert_eq!(ours, as_sfdisk_reads(&file), "{script}");
        }
        assert_eq!(
            read_table(&disk("label: dos\nlabel-id: 0x12345678\nsize=8MiB\n"), 512)
                .unwrap()
                .unwrap()
                .id
                .unwrap(),
            "0x12345678"
        );
    }

    #[test]
    fn a_chain_of_logical_partitions_that_bites_its_tail_ends() {
        let file = disk("label: dos\n1: type=5\n5: size=4MiB\n6: size=4MiB\n");
        // The second link of the first record leads back to itself.
        file.write_all_at(&0_u32.to_le_bytes(), 2048 * 512 + 446 + 16 + 8).unwrap();
        assert_eq!(
            read_table(&file, 512).unwrap_err().to_string(),
            "its chain of logical partitions has no end"
        );
    }

    #[test]
    fn no_changed_byte_makes_the_reader_panic() {
        for (script, length) in [
            ("label: gpt\nsize=1MiB, name=a\nsize=20MiB\n", 1536),
            ("label: dos\n1: size=8MiB\n2: type=5\n5: size=10MiB\n6: size=4MiB\n", 512),
        ] {
            let file = disk(script);
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, 0).unwrap();
            for (i, byte) in bytes.iter().enumerate() {
                for changed in [0, 0x05, 0x7f, 0xff] {
                    file.write_all_at(&[changed], i as u64).unwrap();
                    // Whatever it says, it says it without panicking.
                    let _ = read_table(&file, 512);
                }
                file.write_all_at(&[*byte], i as u64).unwrap();
            }
        }
    }

    #[test]
    fn a_blank_disk_has_no_table() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        assert_eq!(read_table(&file, 512).unwrap(), None);
    }
}
