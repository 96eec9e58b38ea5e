//! Boot entries in the memory of UEFI firmware (UEFI specification 2.10, section 3.1), through the kernel's efivarfs:
//! one file for each variable, four bytes of attributes before the value.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Where the kernel shows the variables.
pub(super) const VARIABLES: &str = "/sys/firmware/efi/efivars";
/// The vendor of all variables that the specification names (`EFI_GLOBAL_VARIABLE`).
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Kept without power, visible while booting and afterwards.
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];
/// `LOAD_OPTION_ACTIVE`.
const ACTIVE: u32 = 1;

/// A file on a partition of a GPT, as firmware finds it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Number of the partition, from 1.
    pub number: u32,
    /// First block.
    pub start: u64,
    /// Length in blocks.
    pub blocks: u64,
    /// The partition's GUID as it stands in the table.
    pub guid: [u8; 16],
    /// The file (`\EFI\debian\shimx64.efi`).
    pub path: String,
}

/// What has to be written.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    /// Number of the entry.
    number: u16,
    /// Its value, unless it is there already.
    value: Option<Vec<u8>>,
    /// The order in which entries are tried.
    order: Vec<u16>,
}

/// Makes the firmware know the loader: an entry named `label`, behind the one that this boot came from. A machine that
/// tries the network first goes on doing so.
pub(super) fn add_entry(variables: &Path, label: &str, target: &Target) -> io::Result<()> {
    let known = entries(variables)?;
    let order = read(variables, "BootOrder")?.map(|value| numbers(&value)).unwrap_or_default();
    let current = read(variables, "BootCurrent")?.and_then(|value| numbers(&value).first().copied());
    let change = plan(&known, (&order, current), load_option(label, target));
    if let Some(value) = &change.value {
        write(variables, &format!("Boot{:04X}", change.number), value)?;
    }
    if change.order != order {
        let value: Vec<u8> = change.order.iter().flat_map(|number| number.to_le_bytes()).collect();
        write(variables, "BootOrder", &value)?;
    }
    Ok(())
}

fn plan(known: &BTreeMap<u16, Vec<u8>>, (order, current): (&[u16], Option<u16>), value: Vec<u8>) -> Change {
    let same = known.iter().find(|(_, known)| **known == value).map(|(number, _)| *number);
    let number =
        same.or_else(|| (0..=u16::MAX).find(|number| !known.contains_key(number))).unwrap_or(u16::MAX);
    let mut order: Vec<u16> = order.iter().copied().filter(|other| *other != number).collect();
    let behind = order.iter().position(|other| Some(*other) == current).map_or(0, |position| position + 1);
    order.insert(behind, number);
    Change { number, value: same.is_none().then_some(value), order }
}

/// `EFI_LOAD_OPTION` (section 3.1.3).
fn load_option(label: &str, target: &Target) -> Vec<u8> {
    let path = device_path(target);
    let length = u16::try_from(path.len()).expect("a device path of two nodes is short");
    let mut option = ACTIVE.to_le_bytes().to_vec();
    option.extend(length.to_le_bytes());
    option.extend(utf16(label));
    option.extend(path);
    option
}

/// The short form that firmware completes by itself: a partition by its GUID (section 10.3.5.1), a file on it
/// (10.3.5.4), the end.
fn device_path(target: &Target) -> Vec<u8> {
    let mut path = vec![4, 1, 42, 0];
    path.extend(target.number.to_le_bytes());
    path.extend(target.start.to_le_bytes());
    path.extend(target.blocks.to_le_bytes());
    path.extend(target.guid);
    // The table is a GPT, and what identifies the partition is a GUID.
    path.extend([2, 2]);
    let file = utf16(&target.path);
    let length = u16::try_from(file.len() + 4).expect("loaders have short names");
    path.extend([4, 4]);
    path.extend(length.to_le_bytes());
    path.extend(file);
    path.extend([0x7f, 0xff, 4, 0]);
    path
}

/// UCS-2 with its terminating zero.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn numbers(value: &[u8]) -> Vec<u16> {
    value.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

fn entries(variables: &Path) -> io::Result<BTreeMap<u16, Vec<u8>>> {
    let mut entries = BTreeMap::new();
    for file in std::fs::read_dir(variables)? {
        let name = file?.file_name().to_string_lossy().into_owned();
        let Some(digits) = name.strip_suffix(&format!("-{GLOBAL}")).and_then(|n| n.strip_prefix("Boot"))
        else {
            continue;
        };
        let number = (digits.len() == 4).then(|| u16::from_str_radix(digits, 16).ok()).flatten();
        if let (Some(number), Some(value)) = (number, read(variables, &format!("Boot{digits}"))?) {
            entries.insert(number, value);
        }
    }
    Ok(entries)
}

fn read(variables: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(variables.join(format!("{name}-{GLOBAL}"))) {
        Ok(bytes) => Ok(bytes.get(ATTRIBUTES.len()..).map(<[u8]>::to_vec)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A variable is changed by a single write.
fn write(variables: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    std::fs::write(variables.join(format!("{name}-{GLOBAL}")), [&ATTRIBUTES[..], value].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        let guid = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
        Target { number: 1, start: 2048, blocks: 131_072, guid, path: r"\EFI\debian\shimx64.efi".into() }
    }

    #[test]
    fn an_entry_is_laid_out_as_specified() {
        let option = load_option("debian", &target());
        assert_eq!(option[..6], [1, 0, 0, 0, 98, 0]);
        assert_eq!(option[6..20], *b"d\0e\0b\0i\0a\0n\0\0\0");
        assert_eq!(option[20..28], [4, 1, 42, 0, 1, 0, 0, 0]);
        assert_eq!(option[60..66], [2, 2, 4, 4, 52, 0]);
        assert_eq!(option[option.len() - 4..], [0x7f, 0xff, 4, 0]);
        assert_eq!(option.len(), 20 + 98);
    }

    #[test]
    fn the_entry_comes_behind_the_one_that_was_booted() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "Boot0000", b"disk").unwrap();
        write(dir.path(), "Boot0003", b"network").unwrap();
        write(dir.path(), "BootOrder", &[3, 0, 0, 0]).unwrap();
        write(dir.path(), "BootCurrent", &[3, 0]).unwrap();
        for _again in 0..2 {
            add_entry(dir.path(), "debian", &target()).unwrap();
            assert_eq!(read(dir.path(), "BootOrder").unwrap().unwrap(), [3, 0, 1, 0, 0, 0]);
            assert_eq!(entries(dir.path()).unwrap().len(), 3);
        }
        assert_eq!(entries(dir.path()).unwrap()[&1], load_option("debian", &target()));
    }

    #[test]
    fn without_an_order_it_is_the_first() {
        let change = plan(&BTreeMap::new(), (&[], None), vec![1]);
        assert_eq!(change, Change { number: 0, value: Some(vec![1]), order: vec![0] });
    }
}
