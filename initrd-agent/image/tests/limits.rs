//! Mount points, targets that refuse things, targets that are full, more open files than a process may have.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use rustix::fs::{XattrFlags, setxattr};
use support::volume::Volume;
use support::{Site, compare, options, run, text, tree};
use sysclone_image::{ApplyError, CaptureOptions};

#[test]
fn only_the_named_file_systems_are_captured_and_mount_points_keep_their_metadata() {
    let mut golden = Volume::new("ext4");
    golden.add("xfs", "var");
    golden.add("ext4", "mnt/other");
    let root = golden.root();
    for directory in ["data", "bound", "var/lib"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in ["data/file", "var/lib/file", "mnt/other/not captured"] {
        fs::write(root.join(file), file).unwrap();
    }
    fs::set_permissions(root.join("var"), fs::Permissions::from_mode(0o2751)).unwrap();
    fs::set_permissions(root.join("mnt/other"), fs::Permissions::from_mode(0o700)).unwrap();
    golden.bind("data", "bound");
    let site = Site::new();
    let mount_points = vec!["/".into(), "/var".into()];
    let manifest = site.commit(&site.capture(CaptureOptions { mount_points, ..options(&root) }, None));

    let mut clone = Volume::new("ext4");
    clone.add("xfs", "var");
    site.apply(&manifest, &clone.root()).unwrap();
    assert_eq!(fs::read_dir(clone.root().join("mnt/other")).unwrap().count(), 0);
    assert_eq!(
        fs::read_dir(clone.root().join("bound")).unwrap().count(),
        0,
        "a bind mount is not read twice"
    );
    let differences: Vec<_> = compare::rsync(&root, &clone.root())
        .into_iter()
        .filter(|line| !line.contains(" mnt/other/") && !line.ends_with(" bound/file"))
        .collect();
    assert!(differences.iter().all(|line| line.ends_with(" bound/")), "{differences:#?}");
    let var = clone.root().join("var").metadata().unwrap();
    assert_eq!((var.mode() & 0o7777, var.ino()), (0o2751, root.join("var").metadata().unwrap().ino()));
}

#[test]
fn a_mount_point_that_is_not_there_is_an_error() {
    let (golden, site) = (tempfile::tempdir().unwrap(), Site::new());
    let options = CaptureOptions { mount_points: vec!["/missing".into()], ..options(golden.path()) };
    let sink = &mut site.store.sink(&site.image);
    let error = sysclone_image::capture(site.job(options, None), sink, &|_| ()).unwrap_err();
    assert!(error.to_string().contains("/missing"), "{error}");
}

#[test]
fn a_subvolume_inside_a_file_system_is_listed() {
    let (golden, site) = (Volume::new("btrfs"), Site::new());
    run("btrfs", &["subvolume", "create", text(&golden.root().join("inner"))]);
    fs::write(golden.root().join("inner/file"), b"x").unwrap();
    let manifest = site.capture(options(&golden.root()), None);
    assert_eq!(manifest.header.skipped.len(), 1);
    assert_eq!(manifest.header.skipped[0].path, b"inner");
    assert_eq!(manifest.entries.len(), 2);
}

#[test]
fn no_copy_on_write_goes_to_the_clone() {
    let (golden, clone, site) = (Volume::new("btrfs"), Volume::new("btrfs"), Site::new());
    fs::create_dir(golden.root().join("images")).unwrap();
    run("chattr", &["+C", text(&golden.root().join("images"))]);
    fs::write(golden.root().join("images/disk"), tree::noise(1, 1 << 20)).unwrap();
    fs::write(golden.root().join("plain"), b"x").unwrap();
    let manifest = site.commit(&site.capture(options(&golden.root()), None));
    assert!(site.apply(&manifest, &clone.root()).unwrap().warnings.is_empty());
    clone.remount("btrfs");
    golden.remount("btrfs");
    assert_eq!(compare::facts(&golden.root()), compare::facts(&clone.root()));
    assert_ne!(compare::facts(&clone.root())[&b"/images/disk"[..]].flags, 0);
}

#[test]
fn what_a_target_cannot_keep_is_a_warning_but_a_refused_acl_is_an_error() {
    let (golden, clone, site) = (Volume::new("ext4"), Volume::ramfs(), Site::new());
    for name in ["a", "b"] {
        fs::write(golden.root().join(name), b"x").unwrap();
        setxattr(golden.root().join(name), "user.note", b"n", XattrFlags::empty()).unwrap();
    }
    let mixed = [&tree::noise(1, 5000)[..], &[0; 600_000], b"end"].concat();
    fs::write(golden.root().join("mixed"), &mixed).unwrap();
    run("chattr", &["+i", text(&golden.root().join("mixed"))]);
    let manifest = site.commit(&site.capture(options(&golden.root()), None));
    let report = site.apply(&manifest, &clone.root()).unwrap();
    let [attribute, flag] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
    assert_eq!((attribute.count, attribute.example.as_str()), (2, "/a"));
    assert!(attribute.what.starts_with("attribute user.note was refused"), "{}", attribute.what);
    assert_eq!((flag.count, flag.example.as_str()), (1, "/mixed"));
    assert!(flag.what.starts_with("flag immutable was refused"), "{}", flag.what);
    assert!(fs::read(clone.root().join("mixed")).unwrap() == mixed);

    run("setfacl", &["-m", "u:5:r", text(&golden.root().join("a"))]);
    let manifest = site.commit(&site.capture(options(&golden.root()), Some(&manifest)));
    let clone = Volume::ramfs();
    let error = site.apply(&manifest, &clone.root()).unwrap_err();
    let ApplyError::Write { path, source, .. } = &error else { panic!("{error:?}") };
    assert!(path == "/a" && source.to_string().contains("system.posix_acl_access"), "{error:?}");
    assert!(!clone.root().join("a").exists());
    run("chattr", &["-i", text(&golden.root().join("mixed"))]);
}

#[test]
fn a_full_target_is_an_error_that_names_the_file_and_leaves_none_incomplete() {
    let (golden, site) = (tempfile::tempdir_in("/var/tmp").unwrap(), Site::new());
    for n in 0..4 {
        fs::write(golden.path().join(format!("file{n}")), tree::noise(n, 3 << 20)).unwrap();
    }
    let manifest = site.commit(&site.capture(options(golden.path()), None));
    let clone = Volume::tmpfs(7 << 20);
    let error = site.apply(&manifest, &clone.root()).unwrap_err();
    let ApplyError::Write { path, source, .. } = &error else { panic!("{error:?}") };
    assert!(path.starts_with("/file") && source.kind() == std::io::ErrorKind::StorageFull, "{error:?}");
    for entry in fs::read_dir(clone.root()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(fs::read(golden.path().join(&name)).unwrap() == fs::read(clone.root().join(&name)).unwrap());
    }
}

#[test]
fn a_target_that_is_not_empty_is_refused() {
    let (golden, clone, site) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Site::new());
    fs::create_dir(golden.path().join("dir")).unwrap();
    fs::write(golden.path().join("dir/file"), b"new").unwrap();
    let manifest = site.commit(&site.capture(options(golden.path()), None));
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), clone.path().join("dir")).unwrap();
    assert!(site.apply(&manifest, clone.path()).is_err(), "a link is not a directory");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    fs::remove_file(clone.path().join("dir")).unwrap();
    fs::create_dir(clone.path().join("dir")).unwrap();
    fs::write(clone.path().join("dir/file"), b"old").unwrap();
    assert!(site.apply(&manifest, clone.path()).is_err(), "files are not overwritten");
    assert_eq!(fs::read(clone.path().join("dir/file")).unwrap(), b"old");
}

/// Each file begins with the same block, which comes in the first frame, and ends with its own: all are open at once.
#[test]
fn more_files_in_pieces_than_may_be_open() {
    let (golden, clone, site) =
        (tempfile::tempdir_in("/var/tmp").unwrap(), tempfile::tempdir_in("/var/tmp").unwrap(), Site::new());
    let name = |n: u64| format!("file{n}");
    for n in 0..900 {
        let file = File::create(golden.path().join(name(n))).unwrap();
        file.write_all_at(&tree::noise(0, 4096), 0).unwrap();
        file.write_all_at(&tree::noise(n + 1, 4096), 1 << 20).unwrap();
    }
    let manifest = site.commit(&site.capture(options(golden.path()), None));
    assert_eq!(site.apply(&manifest, clone.path()).unwrap().files, 900);
    for n in 0..900 {
        let read = |root: &tempfile::TempDir| fs::read(root.path().join(name(n))).unwrap();
        assert!(read(&golden) == read(&clone), "{n}");
    }
}
