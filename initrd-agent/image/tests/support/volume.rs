//! A file system in an image file, mounted through a loop device; taken down when dropped.

use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use super::{run, text};

/// Large enough for the smallest btrfs and xfs that their tools make.
const VOLUME_BYTES: u64 = 640 << 20;

/// A mounted file system.
pub struct Volume {
    directory: tempfile::TempDir,
    mount_points: Vec<PathBuf>,
    devices: Vec<String>,
}

impl Volume {
    /// Makes a file system of this kind (`ext4`, `xfs`, `btrfs`, `ext3`) and mounts it.
    pub fn new(kind: &str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "tests with real file systems need root");
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let mount_point = directory.path().join("root");
        std::fs::create_dir(&mount_point).unwrap();
        let mut volume = Self { directory, mount_points: Vec::new(), devices: Vec::new() };
        volume.mount(kind, &mount_point);
        volume
    }

    /// Makes one more file system and mounts it inside.
    pub fn add(&mut self, kind: &str, below: &str) {
        let mount_point = self.root().join(below);
        std::fs::create_dir_all(&mount_point).unwrap();
        self.mount(kind, &mount_point);
    }

    /// Mounts a directory of this volume at another one of it.
    pub fn bind(&mut self, from: &str, to: &str) {
        let (from, to) = (self.root().join(from), self.root().join(to));
        run("mount", &["--bind", text(&from), text(&to)]);
        self.mount_points.push(to);
    }

    /// A file system in memory that holds this many bytes.
    pub fn tmpfs(bytes: u64) -> Self {
        Self::in_memory("tmpfs", &format!("size={bytes}"))
    }

    /// A file system that has no attributes, no flags and cannot reserve room.
    pub fn ramfs() -> Self {
        Self::in_memory("ramfs", "mode=755")
    }

    fn in_memory(kind: &str, options: &str) -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let mount_point = directory.path().join("root");
        std::fs::create_dir(&mount_point).unwrap();
        run("mount", &["-t", kind, "-o", options, kind, text(&mount_point)]);
        Self { directory, mount_points: vec![mount_point], devices: Vec::new() }
    }

    fn mount(&mut self, kind: &str, at: &Path) {
        let file = self.directory.path().join(format!("disk{}", self.devices.len()));
        std::fs::File::create_new(&file).unwrap().set_len(VOLUME_BYTES).unwrap();
        let device = run("losetup", &["--find", "--show", text(&file)]).trim().to_owned();
        self.devices.push(device.clone());
        match kind {
            "ext3" => run("mkfs.ext3", &["-qF", &device]),
            "ext4" => run("mkfs.ext4", &["-qF", &device]),
            "xfs" => run("mkfs.xfs", &["-qf", &device]),
            "btrfs" => run("mkfs.btrfs", &["-qf", &device]),
            other => panic!("no tests with {other}"),
        };
        run("mount", &["-t", kind, &device, text(at)]);
        self.mount_points.push(at.to_owned());
    }

    /// Where it is mounted.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Forgets everything cached, so that what is read next is what the disk has.
    pub fn remount(&self, kind: &str) {
        assert_eq!(self.devices.len(), 1, "only single volumes are remounted");
        run("umount", &[text(&self.mount_points[0])]);
        run("mount", &["-t", kind, &self.devices[0], text(&self.mount_points[0])]);
        // Where another mount name space was made meanwhile (`ip netns exec`), it still holds the file system and with
        // it all that is cached.
        forget(&self.root());
    }
}

/// Drops what is cached of the files below.
fn forget(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            forget(&entry.path());
        } else if kind.is_file() {
            let file = std::fs::File::open(entry.path()).unwrap();
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Each step is tried whatever became of the one before; a test that failed must not leave mounts behind.
        for mount_point in self.mount_points.iter().rev() {
            drop(std::process::Command::new("umount").arg(mount_point).status());
        }
        for device in &self.devices {
            drop(std::process::Command::new("losetup").arg("--detach").arg(device).status());
        }
    }
}
