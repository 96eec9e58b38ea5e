//! Reads which kernels a GRUB menu starts. Not a GRUB script interpreter: it finds `linux` commands, and the entry
//! files of the Boot Loader Specification where the menu says `blscfg`.

use std::io;
use std::path::Path;

/// GRUB's commands that load a Linux kernel.
const LINUX_COMMANDS: &[&str] = &["linux", "linux16", "linuxefi"];

/// Kernel paths in menu order, as the menu has them.
///
/// # Errors
/// The menu or an entry file cannot be read.
pub(super) fn menu_kernels(root: &Path, menu: &Path) -> io::Result<Vec<String>> {
    let text = String::from_utf8_lossy(&std::fs::read(menu)?).into_owned();
    let mut kernels = parse_kernels(&text);
    if text.lines().any(|line| line.trim() == "blscfg") {
        kernels.extend(entry_kernels(&root.join("boot/loader/entries"))?);
    }
    Ok(kernels)
}

/// Kernels of the entry files, newest version first as GRUB shows them.
fn entry_kernels(folder: &Path) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            files.push(path);
        }
    }
    files.sort();
    let mut kernels = Vec::new();
    for file in files.iter().rev() {
        kernels.extend(parse_kernels(&String::from_utf8_lossy(&std::fs::read(file)?)));
    }
    Ok(kernels)
}

fn parse_kernels(text: &str) -> Vec<String> {
    let kernel = |line: &str| {
        let mut words = line.split_whitespace();
        let command = words.next()?;
        if !LINUX_COMMANDS.contains(&command) {
            return None;
        }
        // `($root)/vmlinuz` and `(hd0,gpt2)/vmlinuz` name the device before the path.
        let path = words.next()?.trim_matches(['"', '\'']);
        let path = path.rsplit_once(')').map_or(path, |(_, path)| path);
        path.starts_with('/').then(|| path.to_owned())
    };
    text.lines().filter_map(kernel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_however_the_menu_writes_them() {
        let menu = "set timeout=5\n\
            menuentry 'Debian' {\n\tlinux\t/vmlinuz-6.1 root=/dev/mapper/vg0-root ro quiet\n\tinitrd /i\n}\n\
            menuentry 'old' {\n\tlinux16 /boot/vmlinuz-3.10 ro\n}\n\
            menuentry 'x' { \n linuxefi ($root)/vmlinuz-4.18 ro\n linux \"/vm quoted\n}\n\
            # linux /commented\nlinux relative\nlinuxx /no\n";
        assert_eq!(parse_kernels(menu), ["/vmlinuz-6.1", "/boot/vmlinuz-3.10", "/vmlinuz-4.18", "/vm"]);
    }

    #[test]
    fn entry_files_are_read_where_the_menu_asks_for_them() {
        let root = tempfile::tempdir().unwrap();
        let entries = root.path().join("boot/loader/entries");
        std::fs::create_dir_all(&entries).unwrap();
        for version in ["4.18.0-1", "4.18.0-2"] {
            let text = format!("title EL\nversion {version}\nlinux /vmlinuz-{version}\ninitrd /i\n");
            std::fs::write(entries.join(format!("id-{version}.conf")), text).unwrap();
        }
        let menu = root.path().join("grub.cfg");
        std::fs::write(&menu, "insmod blscfg\nblscfg\n").unwrap();
        assert_eq!(menu_kernels(root.path(), &menu).unwrap(), ["/vmlinuz-4.18.0-2", "/vmlinuz-4.18.0-1"]);
    }
}
