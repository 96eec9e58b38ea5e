//! The names in an initramfs: cpio archives (`newc`) one after the other, the last of them compressed
//! (kernel documentation, early-userspace/buffer-format).

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read};

const HEADER_BYTES: usize = 110;
const TRAILER: &str = "TRAILER!!!";
/// No name in an initramfs is longer than the kernel's PATH_MAX.
const LONGEST_NAME: u64 = 4096;

/// Names of the kernel modules in it, as the kernel shows them; none when it is compressed in a way that is not read
/// here.
pub(crate) fn module_names(mut image: impl BufRead) -> io::Result<Option<BTreeSet<String>>> {
    let mut modules = BTreeSet::new();
    loop {
        skip_padding(&mut image)?;
        let start = image.fill_buf()?;
        match start {
            [] => return Ok(Some(modules)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                read_archives(io::BufReader::new(zstd::Decoder::with_buffer(image)?), &mut modules)?;
                return Ok(Some(modules));
            }
            [0x1f, 0x8b, ..] => {
                read_archives(io::BufReader::new(flate2::bufread::MultiGzDecoder::new(image)), &mut modules)?;
                return Ok(Some(modules));
            }
            [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => read_archive(&mut image, &mut modules)?,
            _ => return Ok(None),
        }
    }
}

fn read_archives(mut plain: impl BufRead, modules: &mut BTreeSet<String>) -> io::Result<()> {
    loop {
        skip_padding(&mut plain)?;
        if plain.fill_buf()?.is_empty() {
            return Ok(());
        }
        read_archive(&mut plain, modules)?;
    }
}

/// Archives are padded with zero bytes.
fn skip_padding(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        let ended = zeros < buffer.len() || buffer.is_empty();
        input.consume(zeros);
        if ended {
            return Ok(());
        }
    }
}

fn read_archive(input: &mut impl Read, modules: &mut BTreeSet<String>) -> io::Result<()> {
    loop {
        let mut header = [0; HEADER_BYTES];
        input.read_exact(&mut header)?;
        if !header.starts_with(b"0707") {
            return Err(malformed("no cpio header where one should be"));
        }
        let (size, name_len) = (field(&header, 6)?, field(&header, 11)?);
        if name_len > LONGEST_NAME {
            return Err(malformed("a name is too long"));
        }
        let mut name = Vec::new();
        input.take(name_len).read_to_end(&mut name)?;
        skip(input, padding(HEADER_BYTES as u64 + name_len))?;
        let name = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
        if name == TRAILER {
            return Ok(());
        }
        if let Some(module) = module_of(&name) {
            modules.insert(module);
        }
        skip(input, size + padding(size))?;
    }
}

fn module_of(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let stem = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().find_map(|end| name.strip_suffix(end))?;
    Some(stem.replace('-', "_"))
}

/// The hexadecimal field with this number; six bytes of magic come before the first.
fn field(header: &[u8], number: usize) -> io::Result<u64> {
    let start = 6 + number * 8;
    let text = std::str::from_utf8(&header[start..start + 8]).ok();
    text.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or_else(|| malformed("a number is malformed"))
}

fn padding(length: u64) -> u64 {
    length.next_multiple_of(4) - length
}

fn skip(input: &mut impl Read, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut input.take(bytes), &mut io::sink())?;
    if skipped == bytes { Ok(()) } else { Err(malformed("it ends too early")) }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A cpio archive with empty-looking files of these names.
    pub(in crate::initramfs) fn archive(names: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for name in names.iter().chain([&TRAILER]) {
            let content = if *name == TRAILER { &b""[..] } else { b"\x7fELF!" };
            let fields = [0, 0o100_644, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
            let header: String = fields.iter().map(|field| format!("{field:08X}")).collect();
            bytes.extend(format!("070701{header}{name}\0").bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn names(image: &[u8]) -> Option<Vec<String>> {
        module_names(image).unwrap().map(|names| names.into_iter().collect())
    }

    #[test]
    fn modules_are_found_behind_microcode_and_compression() {
        let early = archive(&["kernel/x86/microcode/GenuineIntel.bin"]);
        let main =
            archive(&["init", "lib/modules/6.1/virtio-blk.ko", "lib/modules/6.1/ahci.ko.xz", "etc/x.kof"]);
        let zstd = zstd::encode_all(&main[..], 1).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, &main).unwrap();
        let gzip = gzip.finish().unwrap();
        for body in [main, zstd, gzip] {
            assert_eq!(names(&[early.clone(), body].concat()).unwrap(), ["ahci", "virtio_blk"]);
        }
    }

    #[test]
    fn other_compressions_are_not_guessed_and_damage_is_an_error() {
        assert_eq!(names(b"\xfd7zXZ\0..."), None);
        assert_eq!(names(b"").unwrap(), [""; 0]);
        let whole = archive(&["lib/a.ko"]);
        assert!(module_names(&whole[..130]).is_err());
        let mut wrong = whole;
        wrong[6..14].copy_from_slice(b"XXXXXXXX");
        wrong[54..62].copy_from_slice(b"XXXXXXXX");
        assert!(module_names(&wrong[..]).is_err());
    }
}
