//! What an initrd will hold, before it is written: paths with their bytes, and the group each counts for in the size
//! table. Directories are added with what is in them. `/bin`, `/sbin`, `/lib` and `/lib64` are links into `/usr`.

use std::collections::BTreeMap;

/// What an item is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Kernel modules and their index.
    Modules,
    /// Programs.
    Tools,
    /// Shared libraries.
    Libraries,
    /// The agent.
    Agent,
    /// Directories, device nodes, configuration.
    Base,
}

/// One thing in an initrd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Content.
        data: Vec<u8>,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A symbolic link.
    Link(String),
    /// A character device.
    Device {
        /// Driver number.
        major: u32,
        /// Device number.
        minor: u32,
    },
}

/// All of it, by path without leading slash.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    items: BTreeMap<String, (Group, Item)>,
}

impl Contents {
    /// The directories, links and device nodes that every initrd has.
    #[must_use]
    pub fn base() -> Self {
        let mut contents = Self::default();
        for directory in ["dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp", "var"] {
            contents.add(directory, Group::Base, Item::Directory);
        }
        for directory in ["bin", "sbin", "lib", "lib64"] {
            contents.add(&format!("usr/{directory}"), Group::Base, Item::Directory);
            contents.add(directory, Group::Base, Item::Link(format!("usr/{directory}")));
        }
        contents.add("var/run", Group::Base, Item::Link("/run".into()));
        // Standard input and output of /init, before it mounts devtmpfs.
        contents.add("dev/console", Group::Base, Item::Device { major: 5, minor: 1 });
        contents.add("dev/null", Group::Base, Item::Device { major: 1, minor: 3 });
        contents
    }

    /// Adds an item unless the path is taken, with the directories above it.
    pub fn add(&mut self, path: &str, group: Group, item: Item) {
        let path = merged_usr(path);
        let mut above = path.as_str();
        while let Some((parent, _)) = above.rsplit_once('/') {
            self.items.entry(parent.to_owned()).or_insert((Group::Base, Item::Directory));
            above = parent;
        }
        self.items.entry(path).or_insert((group, item));
    }

    /// Adds a regular file.
    pub fn add_file(&mut self, path: &str, group: Group, data: impl Into<Vec<u8>>) {
        self.add(path, group, Item::File { data: data.into(), executable: false });
    }

    /// Adds a program.
    pub fn add_program(&mut self, path: &str, group: Group, data: impl Into<Vec<u8>>) {
        self.add(path, group, Item::File { data: data.into(), executable: true });
    }

    /// Whether something is at `path`.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.items.contains_key(&merged_usr(path))
    }

    /// Everything in the order in which an initrd holds it: what an agent needs to say that the rest did not arrive
    /// comes first, and the mark that everything arrived last.
    #[must_use]
    pub fn in_boot_order(&self) -> Vec<(&str, &Item)> {
        let mut all: Vec<_> = self.items.iter().collect();
        all.sort_by_key(|(path, (group, item))| (rank(path, *group, item), *path));
        all.into_iter().map(|(path, (_, item))| (path.as_str(), item)).collect()
    }

    /// Everything in order of path, directories before what is in them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Item)> {
        self.items.iter().map(|(path, (_, item))| (path.as_str(), item))
    }

    /// Files and their bytes per group.
    #[must_use]
    pub fn sizes(&self) -> BTreeMap<Group, (usize, u64)> {
        let mut sizes = BTreeMap::new();
        for (group, item) in self.items.values() {
            if let Item::File { data, .. } = item {
                let (files, bytes): &mut (usize, u64) = sizes.entry(*group).or_default();
                *files += 1;
                *bytes += data.len() as u64;
            }
        }
        sizes
    }
}

/// The agent takes an initrd without this file for one that was cut short.
pub(crate) const WHOLE: &str = "etc/sysclone/whole";

/// Where a network card's driver and what it needs are among a kernel's modules.
const NETWORK: [&str; 8] = [
    "/kernel/drivers/net/",
    "/kernel/drivers/virtio/",
    "/kernel/drivers/ptp/",
    "/kernel/drivers/pps/",
    "/kernel/drivers/dca/",
    "/kernel/drivers/i2c/",
    "/kernel/net/",
    "/kernel/lib/",
];

fn rank(path: &str, group: Group, item: &Item) -> u8 {
    let is_busybox = match item {
        Item::File { .. } => path.ends_with("/busybox"),
        Item::Link(target) => target.ends_with("/busybox"),
        Item::Directory | Item::Device { .. } => return 0,
    };
    match group {
        _ if path == WHOLE => 7,
        Group::Base if matches!(item, Item::Link(_)) => 0,
        Group::Agent => 1,
        // After the agent: with a shell and no agent the kernel would start the shell, and nobody would hear of it.
        Group::Tools if is_busybox => 2,
        Group::Modules if !path.contains("/kernel/") => 3,
        Group::Modules if NETWORK.iter().any(|folder| path.contains(folder)) => 4,
        Group::Modules => 5,
        Group::Base | Group::Tools | Group::Libraries => 6,
    }
}

/// The place of `path` where `/bin`, `/sbin` and `/lib*` are links into `/usr`; without leading slash.
pub(crate) fn merged_usr(path: &str) -> String {
    let path = path.trim_start_matches('/');
    match path.split_once('/') {
        Some(("bin" | "sbin" | "lib" | "lib64" | "lib32", _)) => format!("usr/{path}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_with_and_before_what_is_in_them() {
        let mut contents = Contents::default();
        contents.add_file("/lib/a/b", Group::Libraries, "x");
        let paths: Vec<_> = contents.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["usr", "usr/lib", "usr/lib/a", "usr/lib/a/b"]);
        assert!(contents.has("lib/a/b") && contents.has("/usr/lib/a"));
    }

    #[test]
    fn what_can_tell_of_a_short_initrd_is_in_its_beginning() {
        let mut contents = Contents::base();
        contents.add_file("lib/libc.so", Group::Libraries, "x");
        contents.add_file("lib/modules/6.1/kernel/drivers/scsi/a.ko", Group::Modules, "x");
        contents.add_file("lib/modules/6.1/kernel/drivers/net/z.ko", Group::Modules, "x");
        contents.add_file("lib/modules/6.1/modules.dep", Group::Modules, "x");
        contents.add_program("usr/sbin/sysclone-agent", Group::Agent, "x");
        contents.add_program("bin/busybox", Group::Tools, "x");
        contents.add("bin/ip", Group::Tools, Item::Link("/usr/bin/busybox".into()));
        contents.add_file(WHOLE, Group::Base, "");
        let order: Vec<_> = contents.in_boot_order().into_iter().filter(|(_, item)| is_file(item)).collect();
        let names: Vec<_> = order.iter().map(|(path, _)| path.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["sysclone-agent", "busybox", "modules.dep", "z.ko", "a.ko", "libc.so", "whole"]);
        let mut made = std::collections::BTreeSet::new();
        for (path, _) in contents.in_boot_order() {
            let parent = path.rsplit_once('/').map(|(parent, _)| parent);
            assert!(parent.is_none_or(|parent| made.contains(parent)), "{path} comes before its directory");
            made.insert(path);
        }
    }

    fn is_file(item: &Item) -> bool {
        matches!(item, Item::File { .. })
    }

    #[test]
    fn what_was_added_first_stays() {
        let mut contents = Contents::default();
        contents.add_file("x", Group::Tools, "first");
        contents.add_file("x", Group::Base, "second");
        assert_eq!(contents.sizes()[&Group::Tools], (1, 5));
        assert_eq!(contents.sizes().len(), 1);
    }
}
