//! Capture from a real file system, apply to another, compare.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use support::compare::{self, Facts};
use support::volume::Volume;
use support::{Site, options, tree};

/// What is not in the image, as rsync shows it from golden to clone; directories stay.
const LEFT_OUT: &[&str] = &[
    "devices/socket",
    "etc/hostname",
    "etc/machine-id",
    "etc/ssh/ssh_host_ed25519_key",
    "proc/mounts",
    "run/pid",
    "swapfile",
    "tmp/scratch",
    "var/lib/sysclone/sysclone-agent",
    "var/tmp/x",
];

/// Files with allocated zeros: reserved room is not data to `SEEK_DATA`, so only the room is compared.
const WITH_ZEROS: &[&str] = &["/var/zeros", "/var/mixed"];

fn clone(golden_kind: &str, target: &str) {
    let (golden, clone) = (Volume::new(golden_kind), Volume::new(target));
    tree::fill(&golden.root());
    golden.remount(golden_kind);
    let site = Site::new();
    let capture =
        sysclone_image::CaptureOptions { excludes: vec!["/swapfile".into()], ..options(&golden.root()) };
    let manifest = site.commit(&site.capture(capture, None));
    assert!(manifest.header.inconsistent.is_empty(), "{:?}", manifest.header.inconsistent);
    let skipped: Vec<_> = manifest.header.skipped.iter().map(|n| n.path.as_slice()).collect();
    assert_eq!(skipped, [b"devices/socket"]);
    let report = site.apply(&manifest, &clone.root()).unwrap();
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    assert_eq!((report.symlinks, report.hard_links, report.specials), (3, 3, 4));
    golden.remount(golden_kind);
    clone.remount(target);
    assert_same(&golden.root(), &clone.root());
    tree::release(&golden.root());
    tree::release(&clone.root());
}

fn assert_same(golden: &Path, clone: &Path) {
    // Before anything is read: room that is reserved and was read counts as data until it is forgotten.
    let (mut ours, mut theirs) = (compare::facts(golden), compare::facts(clone));
    for path in LEFT_OUT {
        assert!(ours.remove(format!("/{path}").as_bytes()).is_some(), "{path} was on the golden client");
    }
    for path in WITH_ZEROS {
        let blocks = |root: &Path| root.join(&path[1..]).metadata().unwrap().blocks();
        let needed: u64 = ours[path.as_bytes()].data.iter().map(|(start, end)| (end - start) / 512).sum();
        // The original may have more: XFS reserves some beyond what is written.
        assert!((needed..=blocks(golden)).contains(&blocks(clone)), "{path} occupies its room");
        ours.get_mut(path.as_bytes()).unwrap().data.clear();
        theirs.get_mut(path.as_bytes()).unwrap().data.clear();
    }
    assert_facts(&ours, &theirs);
    let root = |path: &Path| path.metadata().map(|m| (m.mtime(), m.mtime_nsec(), m.mode())).unwrap();
    assert_eq!(root(golden), root(clone), "the root directory itself");
    let unexpected: Vec<_> = compare::rsync(golden, clone)
        .into_iter()
        .filter(|line| !LEFT_OUT.iter().any(|path| line.ends_with(&format!(" {path}"))))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}

fn assert_facts(golden: &BTreeMap<Vec<u8>, Facts>, clone: &BTreeMap<Vec<u8>, Facts>) {
    for (path, facts) in golden {
        assert_eq!(clone.get(path), Some(facts), "{}", String::from_utf8_lossy(path));
    }
    assert_eq!(golden.len(), clone.len(), "the clone has nothing more");
}

#[test]
fn ext4_to_ext4() {
    clone("ext4", "ext4");
}

#[test]
fn xfs_to_xfs() {
    clone("xfs", "xfs");
}

#[test]
fn btrfs_to_btrfs() {
    clone("btrfs", "btrfs");
}

#[test]
fn ext4_to_xfs() {
    clone("ext4", "xfs");
}

/// What a machine that stopped in the middle may leave, and what the later phases of an installation add.
fn hurt(root: &Path) {
    tree::release(root);
    let at = |path: &str| root.join(path);
    let files: Vec<_> =
        compare::facts(root).into_iter().filter(|(_, f)| f.mode & 0o170_000 == 0o100_000).collect();
    for (number, (path, _)) in files.iter().enumerate() {
        let path = root.join(std::ffi::OsStr::from_bytes(&path[1..]));
        let size = path.metadata().unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        match number % 8 {
            0 => fs::remove_file(&path).unwrap(),
            1 => file.set_len(size / 2).unwrap(),
            2 => file.set_len(size + 1).unwrap(),
            3 if size > 0 => file.write_all_at(b"x", size / 2).unwrap(),
            4 => file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap(),
            _ => {}
        }
    }
    // Not whole although its size is right, and whole at both ends.
    let large = fs::OpenOptions::new().write(true).open(at("large")).unwrap();
    large.write_all_at(&[0; 4096], 5 << 20).unwrap();
    fs::create_dir_all(at("etc/new/deep")).unwrap();
    fs::write(at("etc/new/deep/file"), "of nobody").unwrap();
    std::os::unix::fs::symlink("nowhere", at("etc/stray")).unwrap();
    fs::write(at("marker"), "spared").unwrap();
}

fn resumed(kind: &str) {
    let (golden, clone) = (Volume::new(kind), Volume::new(kind));
    tree::fill(&golden.root());
    fs::write(golden.root().join("large"), tree::noise(7, 20 << 20)).unwrap();
    golden.remount(kind);
    let site = Site::new();
    let capture =
        sysclone_image::CaptureOptions { excludes: vec!["/swapfile".into()], ..options(&golden.root()) };
    let manifest = site.commit(&site.capture(capture, None));
    let first = site.apply(&manifest, &clone.root()).unwrap();
    hurt(&clone.root());
    clone.remount(kind);
    let second = site.resume(&manifest, (&clone.root(), b"marker")).unwrap();
    assert_eq!(second.files, first.files);
    assert!(second.kept_bytes > 19 << 20, "{second:?}");
    assert!(second.fetched_bytes < first.fetched_bytes / 2, "{second:?}");
    assert_eq!(second.fetched_bytes, second.needed_bytes);
    assert!(second.bytes < first.bytes / 3, "little is written: {second:?}");
    // Nothing is fetched and no content written when all is there, not even flags are in the way.
    let third = site.resume(&manifest, (&clone.root(), b"marker")).unwrap();
    assert_eq!((third.fetched_bytes, third.bytes), (0, 0));
    assert_eq!(third.kept_bytes, second.kept_bytes + second.bytes);
    assert_eq!(fs::read(clone.root().join("marker")).unwrap(), b"spared");
    fs::remove_file(clone.root().join("marker")).unwrap();
    let time = golden.root().metadata().unwrap().modified().unwrap();
    fs::File::open(clone.root()).unwrap().set_modified(time).unwrap();
    golden.remount(kind);
    clone.remount(kind);
    assert_same(&golden.root(), &clone.root());
    tree::release(&golden.root());
    tree::release(&clone.root());
}

#[test]
fn an_interrupted_deployment_goes_on_on_ext4() {
    resumed("ext4");
}

#[test]
fn an_interrupted_deployment_goes_on_on_xfs() {
    resumed("xfs");
}

#[test]
fn an_interrupted_deployment_goes_on_on_btrfs() {
    resumed("btrfs");
}

/// Every path as one long string, its facts and, for files, content; read step by step because of its length.
#[test]
fn a_path_longer_than_any_system_call_takes() {
    let (golden, clone) =
        (tempfile::tempdir_in("/var/tmp").unwrap(), tempfile::tempdir_in("/var/tmp").unwrap());
    tree::deep(golden.path());
    let site = Site::new();
    let manifest = site.commit(&site.capture(options(golden.path()), None));
    assert_eq!(manifest.entries.len(), 27);
    assert_eq!(site.apply(&manifest, clone.path()).unwrap().files, 1);
    assert_facts(&compare::facts(golden.path()), &compare::facts(clone.path()));
    // Captured again from the clone, the content has the same hash.
    let again = site.capture(options(clone.path()), None);
    assert_eq!(again.chunks[0].hash, manifest.chunks[0].hash);
}
