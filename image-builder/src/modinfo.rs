//! What a kernel module says about itself: the `.modinfo` section, a list of `key=value` texts ended by zero bytes.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};

use crate::elf;
use crate::tree::read;

/// The suffixes that module files have, with compression or without.
const SUFFIXES: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// One module's statements about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ModInfo {
    /// Modules whose symbols it uses.
    pub depends: Vec<String>,
    /// Soft dependencies as written (`pre: crc32c post: x`).
    pub softdeps: Vec<String>,
    /// Patterns that ask for it.
    pub aliases: Vec<String>,
    /// Firmware files it may ask for.
    pub firmware: Vec<String>,
}

/// The module name that belongs to a file name, or nothing when it is no module (`snd-pcm.ko.xz` → `snd_pcm`).
pub(crate) fn name_of_file(file: &str) -> Option<String> {
    let stem = SUFFIXES.iter().find_map(|suffix| file.strip_suffix(suffix))?;
    Some(canonical(stem))
}

/// The kernel takes `-` and `_` in module names for the same.
pub(crate) fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// A module file's bytes, unpacked when the file is compressed.
pub(crate) fn read_module(path: &Path) -> Result<Vec<u8>> {
    let data = read(path)?;
    let unpacked = match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => {
            let mut out = Vec::new();
            lzma_rs::xz_decompress(&mut data.as_slice(), &mut out).map(|()| out).map_err(anyhow::Error::from)
        }
        Some("zst") => zstd::decode_all(data.as_slice()).map_err(anyhow::Error::from),
        Some("gz") => {
            let mut out = Vec::new();
            let read = flate2::read::GzDecoder::new(data.as_slice()).read_to_end(&mut out);
            read.map(|_| out).map_err(anyhow::Error::from)
        }
        _ => Ok(data),
    };
    unpacked.with_context(|| format!("unpacking {}", path.display()))
}

/// Reads the statements out of an unpacked module.
pub(crate) fn parse(module: &[u8]) -> Result<ModInfo> {
    let mut info = ModInfo::default();
    for (key, value) in statements(elf::section(module, ".modinfo")?) {
        match key {
            "depends" => info.depends = value.split(',').filter(|d| !d.is_empty()).map(canonical).collect(),
            "softdep" => info.softdeps.push(value.to_owned()),
            "alias" => info.aliases.push(value.to_owned()),
            "firmware" => info.firmware.push(value.to_owned()),
            _ => {}
        }
    }
    Ok(info)
}

/// The `key=value` texts of a `.modinfo` section or a `modules.builtin.modinfo` file.
pub(crate) fn statements(section: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    section.split(|&b| b == 0).filter_map(|text| std::str::from_utf8(text).ok()?.split_once('='))
}

/// The part of a soft dependency that must be loaded first (`pre: a b post: c` → a, b): modules or aliases, which
/// need not exist.
pub(crate) fn before(softdep: &str) -> impl Iterator<Item = &str> {
    let words = softdep.split_ascii_whitespace().skip_while(|w| *w != "pre:").skip(1);
    words.take_while(|w| *w != "post:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_names_come_from_file_names() {
        assert_eq!(name_of_file("dm-thin-pool.ko.xz").as_deref(), Some("dm_thin_pool"));
        assert_eq!(name_of_file("ext4.ko").as_deref(), Some("ext4"));
        assert_eq!(name_of_file("modules.dep"), None);
    }

    #[test]
    fn only_what_must_come_first_is_taken_from_a_soft_dependency() {
        assert_eq!(before("pre: crc32c sha256 post: b").collect::<Vec<_>>(), ["crc32c", "sha256"]);
        assert_eq!(before("post: b").count(), 0);
    }

    #[test]
    fn statements_survive_bytes_that_are_not_text() {
        let section = b"alias=fs-ext4\0\xff\xfe=x\0\0nothing\0depends=a,b\0";
        assert_eq!(statements(section).collect::<Vec<_>>(), [("alias", "fs-ext4"), ("depends", "a,b")]);
    }
}
