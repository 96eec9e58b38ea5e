//! Block devices as sysfs relates them: partitions of disks, and what is stacked on them (device mapper, md).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The `sys` tree under a root directory: `/` on a real machine.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    root: PathBuf,
}

impl Blocks {
    /// This machine's.
    pub(super) fn here() -> Self {
        Self::under(Path::new("/"))
    }

    /// Those of a tree.
    pub(super) fn under(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.root.join("sys/class/block").join(name)
    }

    /// A small file of a device's directory, without the line's end.
    pub(super) fn attribute(&self, name: &str, file: &str) -> Option<String> {
        let text = fs::read_to_string(self.dir(name).join(file)).ok()?;
        Some(text.trim_end().to_owned())
    }

    /// Kernel names of a disk's partitions.
    pub(super) fn partitions(&self, name: &str) -> Vec<String> {
        let dir = self.dir(name);
        listed(&dir).into_iter().filter(|entry| dir.join(entry).join("partition").exists()).collect()
    }

    /// Kernel names of the devices that are stacked on this one.
    pub(super) fn holders(&self, name: &str) -> Vec<String> {
        listed(&self.dir(name).join("holders"))
    }

    /// Kernel names of the devices that this one is stacked on.
    pub(super) fn slaves(&self, name: &str) -> Vec<String> {
        listed(&self.dir(name).join("slaves"))
    }

    /// The disk that a partition is part of, or the device itself.
    pub(super) fn disk_of(&self, name: &str) -> String {
        let parent = || {
            let dir = fs::canonicalize(self.dir(name)).ok()?;
            dir.join("partition").exists().then_some(())?;
            dir.parent()?.file_name()?.to_str().map(str::to_owned)
        };
        parent().unwrap_or_else(|| name.to_owned())
    }

    /// `major:minor`.
    pub(super) fn number(&self, name: &str) -> Option<String> {
        self.attribute(name, "dev")
    }

    /// The kernel name of the device with this `major:minor`.
    pub(super) fn by_number(&self, number: &str) -> Option<String> {
        let dir = fs::canonicalize(self.root.join("sys/dev/block").join(number)).ok()?;
        dir.file_name()?.to_str().map(str::to_owned)
    }

    /// The device itself, its partitions, and everything stacked on them, what is stacked before what it is on.
    pub(super) fn stack(&self, name: &str) -> Vec<String> {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        self.add(name, &mut seen, &mut found);
        found
    }

    /// All disks, partitions and arrays that are not among `own`.
    pub(super) fn others(&self, own: &[String]) -> Vec<String> {
        let content =
            |name: &String| !["loop", "ram", "zram", "sr", "fd"].iter().any(|kind| name.starts_with(kind));
        let all = listed(&self.root.join("sys/class/block")).into_iter();
        all.filter(|name| content(name) && !own.contains(name)).collect()
    }

    fn add(&self, name: &str, seen: &mut BTreeSet<String>, found: &mut Vec<String>) {
        if seen.insert(name.to_owned()) {
            for upper in self.holders(name).into_iter().chain(self.partitions(name)) {
                self.add(&upper, seen, found);
            }
            found.push(name.to_owned());
        }
    }
}

/// The names in a directory, sorted; none when it is not there.
pub(super) fn listed(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> = entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::Tree;
    use super::*;

    #[test]
    fn a_stack_is_found_from_the_top_down() {
        let tree = Tree::load("stacked");
        let blocks = Blocks::under(tree.root());
        assert_eq!(blocks.stack("sda"), ["dm-1", "dm-0", "md0", "sda1", "dm-2", "sda2", "sda"]);
        assert_eq!(blocks.slaves("md0"), ["sda1", "sdb1"]);
        assert_eq!((blocks.disk_of("sda2").as_str(), blocks.disk_of("md0").as_str()), ("sda", "md0"));
        assert_eq!(blocks.by_number("8:1").as_deref(), Some("sda1"));
        assert_eq!(blocks.stack("sdx"), ["sdx"]);
        assert_eq!(
            blocks.others(&blocks.stack("sda")),
            ["nvme0n1", "sdb", "sdb1", "sdb2", "sdc", "sdd", "vda"]
        );
    }
}
