//! GRUB 2 for UEFI. Its files are on the EFI system partition and came with the image, signatures and all; what is
//! written here makes the firmware find them: the path that it tries on every disk, and an entry in its memory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::apply::ApplyError;
use super::gpt::find_partition;
use super::nvram::{self, Target};
use super::plan::Esp;
use super::verify::VerifyError;

/// What firmware starts from a disk that it has no entry for (UEFI specification 2.10, section 3.5.1.1).
const REMOVABLE: &str = "EFI/BOOT/BOOTX64.EFI";
/// First stages by preference: shim starts under Secure Boot and without it.
const FIRST_STAGES: [&str; 2] = ["shimx64.efi", "grubx64.efi"];
/// What shim starts and looks for beside itself.
const COMPANIONS: [&str; 2] = ["grubx64.efi", "mmx64.efi"];
/// Folders that hold no installed system's loader.
const NOT_OURS: [&str; 2] = ["BOOT", "MICROSOFT"];

/// The loader of the installed system.
#[derive(Debug, PartialEq, Eq)]
struct Vendor {
    /// Its folder's name (`debian`).
    name: String,
    /// Its folder.
    folder: PathBuf,
    /// Name of its first stage.
    first_stage: &'static str,
}

/// Makes the firmware find the clone's loader. The answer is what the administrator should know.
pub(super) fn install(esp: &Esp, root: &Path) -> Result<Option<String>, ApplyError> {
    let top = root.join(&esp.mount);
    let failed = |source| ApplyError::File { path: top.clone(), source };
    let vendor =
        vendor(&top).map_err(failed)?.ok_or_else(|| ApplyError::NoUefiLoader { esp: top.clone() })?;
    make_removable(&top, &vendor).map_err(failed)?;
    Ok(remember(esp, &vendor).err().map(|error| {
        format!(
            "the firmware took no boot entry for {} ({error}); it will start the clone by \\{}",
            vendor.name,
            REMOVABLE.replace('/', "\\")
        )
    }))
}

fn vendor(top: &Path) -> io::Result<Option<Vendor>> {
    let folder = top.join("EFI");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    names.retain(|name| !NOT_OURS.contains(&name.to_ascii_uppercase().as_str()));
    for first_stage in FIRST_STAGES {
        for name in &names {
            let folder = folder.join(name);
            if folder.join(first_stage).is_file() {
                return Ok(Some(Vendor { name: name.clone(), folder, first_stage }));
            }
        }
    }
    Ok(None)
}

/// A golden client that was installed without it gets a copy of its own first stage there.
fn make_removable(top: &Path, vendor: &Vendor) -> io::Result<()> {
    let removable = top.join(REMOVABLE);
    if removable.is_file() {
        return Ok(());
    }
    let folder = removable.parent().expect("the path has a folder");
    fs::create_dir_all(folder)?;
    fs::copy(vendor.folder.join(vendor.first_stage), &removable)?;
    for name in COMPANIONS {
        let (from, to) = (vendor.folder.join(name), folder.join(name));
        if from.is_file() && !to.exists() {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

fn remember(esp: &Esp, vendor: &Vendor) -> io::Result<()> {
    let partition = find_partition(Path::new(&esp.device), esp.number)?;
    let target = Target {
        number: esp.number,
        start: partition.start,
        blocks: partition.blocks,
        guid: partition.guid,
        path: format!(r"\EFI\{}\{}", vendor.name, vendor.first_stage),
    };
    nvram::add_entry(Path::new(nvram::VARIABLES), &vendor.name, &target)
}

/// Reads back what the firmware will start, and that GRUB's own start file finds a filesystem of the clone.
pub(super) fn verify(esp: &Esp, root: &Path) -> Result<(), VerifyError> {
    let top = root.join(&esp.mount);
    let read =
        |path: &Path| fs::read(path).map_err(|source| VerifyError::Read { path: path.to_owned(), source });
    let vendor = vendor(&top)
        .map_err(|source| VerifyError::Read { path: top.clone(), source })?
        .ok_or_else(|| VerifyError::NotStartable { path: top.join("EFI") })?;
    for path in [top.join(REMOVABLE), vendor.folder.join(vendor.first_stage)] {
        // Every program for UEFI is a PE image, which begins as a DOS program.
        if !read(&path)?.starts_with(b"MZ") {
            return Err(VerifyError::NotStartable { path });
        }
    }
    let start = vendor.folder.join("grub.cfg");
    if start.is_file() {
        let text = String::from_utf8_lossy(&read(&start)?).into_owned();
        if let Some(uuid) = searched_uuid(&text).filter(|uuid| !esp.known_uuids.contains(uuid)) {
            return Err(VerifyError::LostFilesystem { path: start, uuid });
        }
    }
    Ok(())
}

/// `search.fs_uuid 1234-… root`, or `search … --fs-uuid … 1234-…`.
fn searched_uuid(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.trim_start().starts_with("search"))?;
    let mut words = line.split_ascii_whitespace().filter(|word| !word.starts_with("--"));
    let command = words.next()?;
    let words: Vec<&str> = words.collect();
    let uuid = if command == "search.fs_uuid" { words.first() } else { words.last() };
    uuid.map(|word| word.trim_matches(['"', '\'']).to_owned()).filter(|word| word.contains('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clone_root(files: &[&str]) -> (tempfile::TempDir, Esp) {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join("boot/efi").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("MZ {file}")).unwrap();
        }
        let known_uuids = vec!["0a1b-known".to_owned()];
        let device = root.path().join("no-disk").to_str().unwrap().to_owned();
        (root, Esp { device, number: 1, mount: "boot/efi".into(), known_uuids })
    }

    #[test]
    fn the_path_of_every_disk_is_made_from_the_vendors_loader() {
        let files = ["EFI/debian/shimx64.efi", "EFI/debian/grubx64.efi", "EFI/debian/mmx64.efi"];
        let (root, esp) = clone_root(&files);
        let told = install(&esp, root.path()).unwrap().unwrap();
        assert!(told.contains(r"\EFI\BOOT\BOOTX64.EFI"), "{told}");
        let read = |name: &str| fs::read_to_string(root.path().join("boot/efi/EFI/BOOT").join(name)).unwrap();
        assert_eq!(read("BOOTX64.EFI"), "MZ EFI/debian/shimx64.efi");
        assert_eq!(read("grubx64.efi"), "MZ EFI/debian/grubx64.efi");
        verify(&esp, root.path()).unwrap();
    }

    #[test]
    fn what_the_golden_client_has_there_is_kept() {
        let (root, esp) = clone_root(&["EFI/debian/grubx64.efi", "EFI/BOOT/BOOTX64.EFI", "EFI/Microsoft/x"]);
        install(&esp, root.path()).unwrap();
        let kept = fs::read_to_string(root.path().join("boot/efi").join(REMOVABLE)).unwrap();
        assert_eq!(kept, "MZ EFI/BOOT/BOOTX64.EFI");
    }

    #[test]
    fn a_partition_without_a_loader_is_refused() {
        let (root, esp) = clone_root(&["EFI/BOOT/BOOTX64.EFI"]);
        let error = install(&esp, root.path()).unwrap_err().to_string();
        assert!(error.contains("no loader for x86_64"), "{error}");
        assert!(verify(&esp, root.path()).is_err());
    }

    #[test]
    fn a_start_file_that_searches_something_else_is_refused() {
        let (root, esp) = clone_root(&["EFI/debian/shimx64.efi"]);
        install(&esp, root.path()).unwrap();
        let start = root.path().join("boot/efi/EFI/debian/grub.cfg");
        fs::write(&start, "search.fs_uuid 0a1b-known root\nset prefix=($root)'/grub'\n").unwrap();
        verify(&esp, root.path()).unwrap();
        fs::write(&start, "search --no-floppy --fs-uuid --set=root 0a1b-other\n").unwrap();
        let error = verify(&esp, root.path()).unwrap_err().to_string();
        assert!(error.contains("0a1b-other"), "{error}");
    }
}
