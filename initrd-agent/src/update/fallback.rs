//! An entry of the boot menu for the kernel that runs, when the new menu has none: until another kernel has started,
//! it is the only one that is known to start on this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// GRUB's generated menus read this file, where it is.
const FILES: [&str; 2] = ["boot/grub/custom.cfg", "boot/grub2/custom.cfg"];
const MENUS: [&str; 2] = ["boot/grub/grub.cfg", "boot/grub2/grub.cfg"];
/// First line of the file when it is ours.
const MARK: &str = "# By sysclone: the kernel that ran when this machine was updated. Removed with it.\n";

/// The running kernel's entry, as the menu has it before an update.
#[derive(Debug)]
pub(super) struct Fallback {
    root: PathBuf,
    running: String,
    entry: Option<String>,
}

impl Fallback {
    /// Reads the menu below `root`.
    pub(super) fn of(root: &Path, running: &str) -> Self {
        let menu = MENUS.iter().find_map(|path| fs::read_to_string(root.join(path)).ok());
        let entry = menu.and_then(|menu| entry_of(&menu, running).map(str::to_owned));
        Self { root: root.to_owned(), running: running.to_owned(), entry }
    }

    /// After an update: the entry is added when the new menu does not name the kernel and its files are still there,
    /// and ours is removed when it is of no use any more. Answers whether it was added.
    pub(super) fn settle(&self) -> io::Result<bool> {
        for (menu, file) in MENUS.iter().zip(FILES) {
            let Ok(menu) = fs::read_to_string(self.root.join(menu)) else { continue };
            let file = self.root.join(file);
            let present = fs::read_to_string(&file).ok();
            if present.as_ref().is_some_and(|text| !text.starts_with(MARK)) {
                // An administrator's.
                continue;
            }
            let there = ["vmlinuz", "vmlinux"]
                .iter()
                .any(|name| self.root.join(format!("boot/{name}-{}", self.running)).is_file());
            match &self.entry {
                Some(entry) if there && entry_of(&menu, &self.running).is_none() => {
                    fs::write(&file, format!("{MARK}{entry}\n"))?;
                    fs::File::open(&file)?.sync_all()?;
                    return Ok(true);
                }
                _ if present.is_some() => fs::remove_file(&file)?,
                _ => {}
            }
        }
        Ok(false)
    }
}

/// The first entry of a menu that starts this kernel, from `menuentry` to its closing brace.
fn entry_of<'a>(menu: &'a str, release: &str) -> Option<&'a str> {
    let starts_it = |entry: &str| {
        let words = entry.split_whitespace();
        words.into_iter().any(|word| {
            let name = word.rsplit('/').next().unwrap_or(word);
            ["vmlinuz-", "vmlinux-"].iter().any(|start| name.strip_prefix(start) == Some(release))
        })
    };
    let mut from = 0;
    while let Some(at) = menu[from..].find("menuentry ") {
        let begin = from + at;
        let end = begin + closing(&menu[begin..])?;
        if starts_it(&menu[begin..end]) {
            return Some(&menu[begin..end]);
        }
        // Entries of a submenu are looked at one by one, because a submenu is none itself.
        from = end;
    }
    None
}

/// Where the block ends that the first brace outside of quotes opens.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quoted) = (0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '{' if !quoted => depth += 1,
            '}' if !quoted => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MENU: &str = "\
set default=0
menuentry 'Debian {old}' --class os {
\tif [ x = x ]; then { true; }; fi
\tlinux /vmlinuz-6.1.0-50-amd64 root=/dev/mapper/vg0-root
\tinitrd /initrd.img-6.1.0-50-amd64
}
submenu 'Advanced' {
\tmenuentry 'Debian, recovery' {
\t\tlinux /vmlinuz-6.1.0-51-amd64 single
\t}
}
";

    #[test]
    fn the_entry_of_a_kernel_is_found_whole() {
        let entry = entry_of(MENU, "6.1.0-50-amd64").unwrap();
        assert!(entry.starts_with("menuentry 'Debian {old}'") && entry.ends_with("50-amd64\n}"), "{entry}");
        assert!(entry_of(MENU, "6.1.0-51-amd64").unwrap().starts_with("menuentry 'Debian, recovery'"));
        assert_eq!(entry_of(MENU, "6.1.0-5"), None);
    }

    #[test]
    fn the_running_kernel_stays_in_the_menu_until_it_is_not_needed() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join("boot").join(name);
        fs::create_dir_all(path("grub")).unwrap();
        fs::write(path("grub/grub.cfg"), MENU).unwrap();
        fs::write(path("vmlinuz-6.1.0-50-amd64"), "kernel").unwrap();
        let fallback = Fallback::of(root.path(), "6.1.0-50-amd64");
        assert!(!fallback.settle().unwrap());
        fs::write(path("grub/grub.cfg"), MENU.replace("-50-", "-52-")).unwrap();
        assert!(fallback.settle().unwrap());
        assert!(
            fs::read_to_string(path("grub/custom.cfg")).unwrap().contains("linux /vmlinuz-6.1.0-50-amd64")
        );
        // The machine runs the new kernel when it is updated the next time.
        fs::remove_file(path("vmlinuz-6.1.0-50-amd64")).unwrap();
        assert!(!Fallback::of(root.path(), "6.1.0-52-amd64").settle().unwrap());
        assert!(!path("grub/custom.cfg").exists());
    }
}
