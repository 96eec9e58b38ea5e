//! Views of real file systems on loop devices, in name spaces of their own.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use sysclone_exec::{Command, Runner, System, Tool};

use super::plan::Means;
use super::snapshots::{BTRFS_SNAPSHOT, is_any_full, make, means, remove_all};
use super::*;

fn run(tool: &'static str, args: &[&str]) -> String {
    System.run(&Command::new(Tool(tool)).args(args)).unwrap().text().trim().to_owned()
}

/// A file system in a file, on a loop device; where it is mounted is seen by this thread alone.
struct Disk {
    folder: tempfile::TempDir,
    device: String,
    kind: &'static str,
}

impl Disk {
    fn new(kind: &'static str) -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let file = folder.path().join("disk");
        fs::File::create(&file).unwrap().set_len(320 << 20).unwrap();
        let file = file.to_str().unwrap();
        match kind {
            "ext4" => run("mkfs.ext4", &["-qF", file]),
            "btrfs" => run("mkfs.btrfs", &["-q", file]),
            other => panic!("no tests with {other}"),
        };
        let device = run("losetup", &["--find", "--show", file]);
        Self { folder, device, kind }
    }

    fn mount(&self) -> PathBuf {
        let point = self.folder.path().join("mnt");
        fs::create_dir_all(&point).unwrap();
        mount(&self.device, &point, self.kind, MountFlags::empty(), None).unwrap();
        point
    }

    fn source(&self, point: &Path) -> Source {
        Source { point: point.to_owned(), kind: self.kind.to_owned(), volume: None }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(System.run(&Command::new(Tool("losetup")).args(["--detach", &self.device])));
    }
}

/// Runs a test in a thread that has mounts of its own; they are gone with it.
fn alone(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let test = scope.spawn(|| {
            leave_the_others().unwrap();
            test();
        });
        test.join().unwrap();
    });
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn a_view_shows_what_is_on_the_disks_and_nothing_that_is_mounted_over_it() {
    let (root_disk, var_disk, other) = (Disk::new("ext4"), Disk::new("ext4"), tempfile::tempdir().unwrap());
    alone(|| {
        let root = root_disk.mount();
        for directory in ["dev", "var", "data", "bound", "net"] {
            fs::create_dir(root.join(directory)).unwrap();
        }
        fs::write(root.join("dev/console"), "on the disk").unwrap();
        fs::write(root.join("data/file"), "once").unwrap();
        fs::write(root.join("resolv.conf"), "on the disk").unwrap();
        mount("tmpfs", root.join("dev"), "tmpfs", MountFlags::empty(), None).unwrap();
        fs::write(root.join("dev/null"), "in memory").unwrap();
        mount("proc", root.join("net"), "proc", MountFlags::empty(), None).unwrap();
        mount_bind(root.join("data"), root.join("bound")).unwrap();
        fs::write(other.path().join("resolv.conf"), "of another").unwrap();
        mount_bind(other.path().join("resolv.conf"), root.join("resolv.conf")).unwrap();
        mount(&var_disk.device, root.join("var"), "ext4", MountFlags::empty(), None).unwrap();
        fs::write(root.join("var/log"), "of var").unwrap();

        // The view stands for `/`, so the sources are seen from there.
        let stage = other.path().join("stage");
        let sources = [root_disk.source(&root), var_disk.source(&root.join("var"))];
        let mut ways = plan(&sources, &Means { groups: [].into(), btrfs: false });
        // What is below `/` in the view is where the whole path of the mount point says.
        let inside = stage.join(root.strip_prefix("/").unwrap());
        fs::create_dir_all(&inside).unwrap();
        let built = Stage::build(&stage, &sources, &mut ways).unwrap();
        assert_eq!(names(&inside.join("dev")), ["console"]);
        assert!(names(&inside.join("bound")).is_empty() && names(&inside.join("net")).is_empty());
        assert_eq!(fs::read(inside.join("resolv.conf")).unwrap(), b"on the disk");
        assert_eq!(fs::read(inside.join("var/log")).unwrap(), b"of var");
        assert_eq!(names(&inside.join("data")), ["file"]);
        drop(built);
        assert!(names(&inside).is_empty(), "unmounted");
    });
}

#[test]
fn a_btrfs_snapshot_holds_still_has_the_same_inodes_and_leaves_no_trace() {
    let (disk, other) = (Disk::new("btrfs"), tempfile::tempdir().unwrap());
    alone(|| {
        let point = disk.mount();
        fs::write(point.join("file"), "before").unwrap();
        run("btrfs", &["subvolume", "create", point.join("inner").to_str().unwrap()]);
        let state = |path: &Path| {
            let meta = path.metadata().unwrap();
            (meta.ino(), meta.mtime_nsec(), meta.ctime_nsec(), meta.size())
        };
        let (file, directory) = (state(&point.join("file")), point.metadata().unwrap().modified().unwrap());
        let sources = [disk.source(&point)];
        let mut ways = make(&System, &sources, plan(&sources, &means(&System).unwrap()));
        assert_eq!(ways, [Way::Btrfs]);
        fs::write(point.join("file"), "afterwards").unwrap();
        let stage = other.path().join("stage");
        let inside = stage.join(point.strip_prefix("/").unwrap());
        fs::create_dir_all(&inside).unwrap();
        let built = Stage::build(&stage, &sources, &mut ways).unwrap();
        assert_eq!(fs::read(inside.join("file")).unwrap(), b"before");
        assert_eq!(state(&inside.join("file")), file, "what the next capture knows it by");
        assert_eq!(inside.metadata().unwrap().modified().unwrap(), directory);
        assert_eq!(names(&inside), ["file", "inner"], "not itself");
        assert!(!is_any_full(&System, &ways).unwrap());
        drop(built);
        // As if this process had been killed: the next finds it.
        assert!(point.join(BTRFS_SNAPSHOT).exists());
        assert_eq!(remove_all(&System, std::slice::from_ref(&point)).unwrap(), 1);
        assert!(!point.join(BTRFS_SNAPSHOT).exists());
        assert_eq!(point.metadata().unwrap().modified().unwrap(), directory);
        assert_eq!(remove_all(&System, std::slice::from_ref(&point)).unwrap(), 0);
        unmount(&point, UnmountFlags::empty()).unwrap();
    });
}
