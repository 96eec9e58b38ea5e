//! What a second capture sends, and what becomes of files that do not hold still.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use support::{Site, options, tree};
use sysclone_image::{
    CaptureError, CaptureOptions, EntryKind, Manifest, PackId, PackSink, capture, read_index,
};

fn golden() -> tempfile::TempDir {
    let golden = tempfile::tempdir_in("/var/tmp").unwrap();
    for n in 0..40 {
        fs::write(golden.path().join(format!("file{n}")), tree::noise(n, 500_000)).unwrap();
    }
    golden
}

fn read(root: &Path, name: &str) -> Vec<u8> {
    fs::read(root.join(name)).unwrap()
}

#[test]
fn a_second_capture_sends_what_changed_and_no_more() {
    let (golden, site) = (golden(), Site::new());
    let first = site.commit(&site.capture(options(golden.path()), None));
    let all = site.pack_bytes();
    assert!(all > 20_000_000, "{all}");

    let same = site.commit(&site.capture(options(golden.path()), Some(&first)));
    assert_eq!((site.pack_bytes(), same.header.generation, same.header.parent), (all, 2, Some(1)));
    assert_eq!(same.packs, first.packs);

    fs::rename(golden.path().join("file1"), golden.path().join("renamed")).unwrap();
    fs::copy(golden.path().join("file2"), golden.path().join("copy")).unwrap();
    let renamed = site.commit(&site.capture(options(golden.path()), Some(&same)));
    assert_eq!(site.pack_bytes(), all, "a renamed or copied file is not sent");

    let file = OpenOptions::new().write(true).open(golden.path().join("file3")).unwrap();
    file.write_all_at(b"changed", 250_000).unwrap();
    let changed = site.commit(&site.capture(options(golden.path()), Some(&renamed)));
    let new = site.pack_bytes() - all;
    assert!((1..600_000).contains(&new), "{new} bytes for one changed place");

    let clone = tempfile::tempdir_in("/var/tmp").unwrap();
    site.apply(&changed, clone.path()).unwrap();
    for name in ["renamed", "copy", "file3", "file39"] {
        assert!(read(golden.path(), name) == read(clone.path(), name), "{name}");
    }
    assert!(!clone.path().join("file1").exists());
}

#[test]
fn a_change_that_hides_behind_the_old_time_and_size_is_noticed() {
    let (golden, site) = (golden(), Site::new());
    let first = site.commit(&site.capture(options(golden.path()), None));
    let path = golden.path().join("file5");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"hidden", 0).unwrap();
    file.set_modified(time).unwrap();
    let second = site.commit(&site.capture(options(golden.path()), Some(&first)));
    let clone = tempfile::tempdir_in("/var/tmp").unwrap();
    site.apply(&second, clone.path()).unwrap();
    assert!(read(golden.path(), "file5") == read(clone.path(), "file5"));
}

/// Stores the first packs, then fails.
struct Failing<'a> {
    site: &'a Site,
    left: usize,
}

impl PackSink for Failing<'_> {
    fn put(&mut self, id: &PackId, bytes: Vec<u8>) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::other("the wire is cut"))?;
        self.site.store.put_pack(&self.site.image, id, &mut &bytes[..]).map(drop).map_err(io::Error::other)
    }
}

#[test]
fn an_interrupted_capture_is_invisible_and_its_packs_are_not_sent_again() {
    let (golden, site) = (tempfile::tempdir_in("/var/tmp").unwrap(), Site::new());
    for n in 0..5 {
        fs::write(golden.path().join(format!("file{n}")), tree::noise(n, 40 << 20)).unwrap();
    }
    let mut sink = Failing { site: &site, left: 2 };
    let error = capture(site.job(options(golden.path()), None), &mut sink, &|_| ()).unwrap_err();
    assert!(
        matches!(&error, CaptureError::Sink(cause) if cause.to_string() == "the wire is cut"),
        "{error:?}"
    );
    assert_eq!(site.store.newest(&site.image).unwrap(), None);

    let staged = site.store.staged(&site.image).unwrap();
    assert_eq!(staged.len(), 2);
    let before = site.pack_bytes();
    let index = |id| read_index(&site.store, id, &site.image_key).unwrap();
    let mut job = site.job(options(golden.path()), None);
    job.staged = staged.iter().map(index).collect();
    let manifest = capture(job, &mut site.store.sink(&site.image), &|_| ()).unwrap();
    let sent = site.pack_bytes() - before;
    assert!(sent < (200 << 20) - before + (1 << 20), "{sent} bytes after {before} were there");
    let manifest = site.commit(&manifest);
    assert!(site.store.staged(&site.image).unwrap().is_empty());

    let clone = tempfile::tempdir_in("/var/tmp").unwrap();
    site.apply(&manifest, clone.path()).unwrap();
    for n in 0..5 {
        let name = format!("file{n}");
        assert!(read(golden.path(), &name) == read(clone.path(), &name), "{name}");
    }
}

#[test]
fn the_number_of_threads_does_not_change_the_image() {
    let golden = golden();
    let capture = |threads| {
        let site = Site::new();
        let mut manifest = site.capture(CaptureOptions { threads, ..options(golden.path()) }, None);
        // What is random or of the moment.
        manifest.header.captured_at = 0;
        manifest.packs.clear();
        manifest
    };
    assert_eq!(capture(1), capture(4));
}

fn entry<'m>(manifest: &'m Manifest, path: &[u8]) -> Option<&'m EntryKind> {
    manifest.entries.iter().find(|entry| entry.path == path).map(|entry| &entry.kind)
}

#[test]
fn a_file_that_changes_all_the_time_is_listed() {
    let (golden, site) = (golden(), Site::new());
    let path = golden.path().join("busy");
    fs::write(&path, tree::noise(99, 48 << 20)).unwrap();
    let stop = AtomicBool::new(false);
    let manifest = std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = File::options().write(true).open(&path).unwrap();
            while !stop.load(Ordering::Relaxed) {
                file.write_all_at(b"x", 1000).unwrap();
            }
        });
        let manifest = site.capture(options(golden.path()), None);
        stop.store(true, Ordering::Relaxed);
        manifest
    });
    let listed: Vec<_> = manifest.header.inconsistent.iter().map(|n| (&n.path[..], &n.reason[..])).collect();
    assert_eq!(listed, [(&b"busy"[..], "it changed each of the 3 times it was read")]);
    assert!(site.commit(&manifest).header.inconsistent.len() == 1);
}

#[test]
fn names_that_vanish_or_are_replaced_while_the_tree_is_read_are_no_errors() {
    let (golden, site) = (tempfile::tempdir_in("/var/tmp").unwrap(), Site::new());
    let at = |name: &str| golden.path().join(name);
    // Enough batches that the last names are still to be read when the first progress comes.
    for n in 0..4000 {
        fs::write(at(&format!("a{n:04}")), b"x").unwrap();
    }
    for name in ["z-gone", "z-link1", "z-replaced", "z-rewritten"] {
        fs::write(at(name), name).unwrap();
    }
    fs::hard_link(at("z-link1"), at("z-link2")).unwrap();
    fs::hard_link(at("z-link1"), at("z-link3")).unwrap();
    let done = AtomicBool::new(false);
    let change = |_| {
        if !done.swap(true, Ordering::Relaxed) {
            fs::remove_file(at("z-gone")).unwrap();
            fs::remove_file(at("z-link1")).unwrap();
            fs::remove_file(at("z-replaced")).unwrap();
            rustix::fs::mkfifoat(rustix::fs::CWD, at("z-replaced"), rustix::fs::Mode::RUSR).unwrap();
            fs::write(at("new"), b"rewritten").unwrap();
            fs::rename(at("new"), at("z-rewritten")).unwrap();
        }
    };
    let job = site.job(CaptureOptions { threads: 1, ..options(golden.path()) }, None);
    let manifest = capture(job, &mut site.store.sink(&site.image), &change).unwrap();
    let manifest = site.commit(&manifest);
    assert!(entry(&manifest, b"z-gone").is_none() && entry(&manifest, b"z-replaced").is_none());
    assert!(manifest.header.inconsistent.is_empty(), "{:?}", manifest.header.inconsistent);

    let clone = tempfile::tempdir_in("/var/tmp").unwrap();
    site.apply(&manifest, clone.path()).unwrap();
    assert_eq!(read(clone.path(), "z-link2"), b"z-link1");
    assert_eq!(read(clone.path(), "z-rewritten"), b"rewritten");
    let inode = |name: &str| clone.path().join(name).metadata().unwrap().ino();
    assert_eq!(inode("z-link2"), inode("z-link3"));
    assert!(!clone.path().join("z-link1").exists());
}

/// A writer of its own for a file, while the tree is captured.
fn capture_while(
    site: &Site,
    golden: &Path,
    (options, write): (CaptureOptions, impl Fn(u64) + Send),
) -> Result<Manifest, CaptureError> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..).take_while(|_| !stop.load(Ordering::Relaxed)).for_each(write));
        let options = CaptureOptions { root: golden.to_owned(), ..options };
        let result = capture(site.job(options, None), &mut site.store.sink(&site.image), &|_| ());
        stop.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn a_log_that_grows_is_captured_as_it_was_at_one_moment() {
    let (golden, site) = (golden(), Site::new());
    // One that is read at once, and one that is read in segments.
    for (name, size) in [("small.log", 1 << 20), ("large.log", 12 << 20)] {
        fs::write(golden.path().join(name), tree::noise(7, size)).unwrap();
    }
    let open = |name| OpenOptions::new().append(true).open(golden.path().join(name)).unwrap();
    let logs = [open("small.log"), open("large.log")];
    let write = |n: u64| {
        for mut log in &logs {
            io::Write::write_all(&mut log, format!("line {n}\n").as_bytes()).unwrap();
        }
    };
    let strict = CaptureOptions { strict: true, ..options(golden.path()) };
    let manifest = site.commit(&capture_while(&site, golden.path(), (strict, write)).unwrap());
    assert!(manifest.header.inconsistent.is_empty(), "{:?}", manifest.header.inconsistent);
    let clone = tempfile::tempdir_in("/var/tmp").unwrap();
    site.apply(&manifest, clone.path()).unwrap();
    for (name, size) in [("small.log", 1 << 20), ("large.log", 12 << 20)] {
        let (ours, theirs) = (read(golden.path(), name), read(clone.path(), name));
        assert!(theirs.len() >= size && ours.len() > theirs.len(), "{name}: {} bytes", theirs.len());
        assert!(ours.starts_with(&theirs), "{name} is not the beginning of the log");
    }
}

#[test]
fn a_file_that_grows_and_is_rewritten_is_no_log() {
    let (golden, site) = (golden(), Site::new());
    fs::write(golden.path().join("database"), tree::noise(7, 12 << 20)).unwrap();
    let file = File::options().write(true).open(golden.path().join("database")).unwrap();
    let write = |n: u64| {
        file.write_all_at(&n.to_le_bytes(), 5_000_000).unwrap();
        file.write_all_at(b"more", (12 << 20) + n).unwrap();
    };
    let manifest = capture_while(&site, golden.path(), (options(golden.path()), write)).unwrap();
    assert_eq!(manifest.header.inconsistent.len(), 1);

    let strict = CaptureOptions { strict: true, ..options(golden.path()) };
    let error = capture_while(&site, golden.path(), (strict, write)).unwrap_err();
    assert!(matches!(&error, CaptureError::Inconsistent(files) if files[0].path == b"database"), "{error:?}");
    assert!(error.to_string().starts_with("one file changed while being read (/database)"), "{error}");
}
