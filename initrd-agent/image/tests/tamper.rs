//! No changed byte ever reaches a target.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{Site, options, tree};
use sysclone_image::{
    ApplyError, ApplyJob, Before, Giver, ImageKey, Manifest, PackBytes, PackId, PackSource, StoreError,
    apply, sign,
};

/// A store behind a bad wire: one byte of the pack is another, for some reads.
struct Flipped<'a> {
    site: &'a Site,
    at: u64,
    reads: AtomicUsize,
    bad_reads: usize,
}

impl PackSource for Flipped<'_> {
    fn read(&self, pack: &PackId, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = self.site.store.read(pack, range.clone())?;
        if range.contains(&self.at) && self.reads.fetch_add(1, Ordering::Relaxed) < self.bad_reads {
            bytes[usize::try_from(self.at - range.start).unwrap()] ^= 0x40;
        }
        Ok(bytes)
    }
    fn size(&self, pack: &PackId) -> io::Result<u64> {
        self.site.store.size(pack)
    }
}

/// A small image in one pack: a file in pieces, files in one, a sparse one.
fn image() -> (tempfile::TempDir, Site, Manifest) {
    let (golden, site) = (tempfile::tempdir_in("/var/tmp").unwrap(), Site::new());
    for n in 0..20 {
        fs::write(golden.path().join(format!("small{n}")), format!("content of {n}\n").repeat(20)).unwrap();
    }
    fs::write(golden.path().join("pieces"), "0123456789abcdef".repeat(200_000)).unwrap();
    fs::File::create(golden.path().join("sparse")).unwrap().set_len(1 << 30).unwrap();
    let manifest = site.commit(&site.capture(options(golden.path()), None));
    assert_eq!(manifest.packs.len(), 1);
    (golden, site, manifest)
}

fn try_apply(
    site: &Site,
    manifest: &Manifest,
    source: &dyn PackSource,
    root: &Path,
) -> Result<(), ApplyError> {
    let key = &site.image_key;
    apply(&ApplyJob { manifest, key, source, root, before: Before::Nothing, threads: 2 }, &|_| ()).map(drop)
}

/// Whatever lies in the clone is what it is in the original.
fn assert_nothing_false(golden: &Path, clone: &Path) {
    for entry in fs::read_dir(clone).unwrap() {
        let name = entry.unwrap().file_name();
        let (ours, theirs) = (golden.join(&name), clone.join(&name));
        assert_eq!(ours.metadata().unwrap().size(), theirs.metadata().unwrap().size(), "{name:?}");
        if name != "sparse" {
            assert!(fs::read(&ours).unwrap() == fs::read(&theirs).unwrap(), "{name:?}");
        }
    }
}

#[test]
fn a_changed_byte_of_a_frame_is_refused_by_name_and_nothing_false_is_left() {
    let (golden, site, manifest) = image();
    let frames: Vec<Range<u64>> =
        manifest.frames.iter().map(|f| f.offset..f.offset + u64::from(f.stored_len)).collect();
    let all = frames[0].start..frames.last().unwrap().end;
    let mut refused = 0;
    for at in all.clone().step_by(3).chain([all.start, all.end - 1]) {
        let clone = tempfile::tempdir_in("/var/tmp").unwrap();
        let source = Flipped { site: &site, at, reads: AtomicUsize::new(0), bad_reads: usize::MAX };
        let error = try_apply(&site, &manifest, &source, clone.path()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ApplyError::Damaged { .. }), "byte {at}: {text}");
        for part in ["golden@1", &manifest.packs[0].id.to_string(), "first file: /"] {
            assert!(text.contains(part), "{part} is named in: {text}");
        }
        assert_nothing_false(golden.path(), clone.path());
        refused += 1;
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn a_byte_that_was_changed_on_the_way_is_fetched_again() {
    let (golden, site, manifest) = image();
    let clone = tempfile::tempdir_in("/var/tmp").unwrap();
    let at = manifest.frames[0].offset + 20;
    let source = Flipped { site: &site, at, reads: AtomicUsize::new(0), bad_reads: 1 };
    try_apply(&site, &manifest, &source, clone.path()).unwrap();
    assert_eq!(source.reads.into_inner(), 2);
    assert_nothing_false(golden.path(), clone.path());
}

#[test]
fn every_changed_byte_of_a_stored_pack_is_found_and_the_files_it_hurts_are_named() {
    let (_golden, site, manifest) = image();
    let path = site.store.pack_path(&manifest.packs[0].id).unwrap();
    let good = fs::read(&path).unwrap();
    let verify =
        || site.store.verify(&site.newest(), &site.image_key, &site.signing_key.verifying_key()).unwrap();
    assert!(verify().damage.is_empty());
    for at in (0..good.len()).step_by(5) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let damage = verify().damage;
        assert_eq!(damage.len(), 1, "byte {at}");
        assert_eq!(damage[0].pack, manifest.packs[0].id);
        let hit = |f: &&sysclone_image::Frame| {
            (f.offset..f.offset + u64::from(f.stored_len)).contains(&(at as u64))
        };
        assert_eq!(damage[0].files.is_empty(), !manifest.frames.iter().any(|f| hit(&f)), "byte {at}");
    }
    fs::remove_file(&path).unwrap();
    let damage = verify().damage;
    assert_eq!(damage[0].files.len(), 21, "all files with content: {damage:?}");
}

#[test]
fn a_changed_stored_manifest_is_refused() {
    let (_golden, site, _) = image();
    let path = site.directory.path().join("manifests/golden/1");
    let good = fs::read(&path).unwrap();
    let public = site.signing_key.verifying_key();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        assert!(sign::open(&bad, &public).is_err(), "byte {at}");
    }
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    let error = site.store.manifest(&site.newest(), &public).unwrap_err();
    assert!(matches!(error, StoreError::Signature { .. }), "{error}");
}

#[test]
fn a_pack_of_another_image_or_a_wrong_key_is_refused() {
    let (golden, site, manifest) = image();
    let clone = tempfile::tempdir_in("/var/tmp").unwrap();
    let key = ImageKey::random().unwrap();
    let source = &site.store;
    let (root, before) = (clone.path(), Before::Nothing);
    let job = ApplyJob { manifest: &manifest, key: &key, source, root, before, threads: 2 };
    assert!(matches!(apply(&job, &|_| ()), Err(ApplyError::Damaged { .. })));
    assert_nothing_false(golden.path(), clone.path());
}

/// A source that has only the beginning of the image.
struct Broken<'a>(&'a Site, u64);

impl PackSource for Broken<'_> {
    fn read(&self, pack: &PackId, range: Range<u64>) -> io::Result<Vec<u8>> {
        if range.end > self.1 { Err(io::ErrorKind::TimedOut.into()) } else { self.0.store.read(pack, range) }
    }
    fn size(&self, pack: &PackId) -> io::Result<u64> {
        self.0.store.size(pack)
    }
}

#[test]
fn a_source_that_fails_in_the_middle_leaves_no_incomplete_file() {
    let (golden, site) = (tempfile::tempdir_in("/var/tmp").unwrap(), Site::new());
    for n in 0..5 {
        fs::write(golden.path().join(format!("large{n}")), tree::noise(n, 6 << 20)).unwrap();
    }
    let manifest = site.commit(&site.capture(options(golden.path()), None));
    let clone = tempfile::tempdir_in("/var/tmp").unwrap();
    let error = try_apply(&site, &manifest, &Broken(&site, 17 << 20), clone.path()).unwrap_err();
    assert!(matches!(error, ApplyError::Fetch { .. }), "{error}");
    assert_nothing_false(golden.path(), clone.path());
    assert!(fs::read_dir(clone.path()).unwrap().count() < 5);
}

/// One honest store, and before it one that changes a byte in everything.
struct Liar<'a> {
    site: &'a Site,
    asked: [AtomicUsize; 2],
    charged: AtomicUsize,
}

impl PackSource for Liar<'_> {
    fn read(&self, _: &PackId, _: Range<u64>) -> io::Result<Vec<u8>> {
        unreachable!("a source of several is asked who gave what")
    }
    fn size(&self, pack: &PackId) -> io::Result<u64> {
        self.site.store.size(pack)
    }
    fn givers(&self) -> usize {
        2
    }
    fn read_from(&self, pack: &PackId, range: Range<u64>, avoid: &[Giver]) -> io::Result<PackBytes> {
        let mut bytes = self.site.store.read(pack, range)?;
        let giver = usize::from(avoid.contains(&Giver(0)));
        self.asked[giver].fetch_add(1, Ordering::Relaxed);
        if giver == 0 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        Ok(PackBytes { bytes, parts: vec![(0, Giver(giver))] })
    }
    fn charge(&self, giver: Giver) {
        assert_eq!(giver, Giver(0), "only the liar is charged");
        self.charged.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_frame_that_one_giver_falsified_is_fetched_from_the_other() {
    let (golden, site, manifest) = image();
    let clone = tempfile::tempdir_in("/var/tmp").unwrap();
    let source = Liar { site: &site, asked: Default::default(), charged: AtomicUsize::new(0) };
    try_apply(&site, &manifest, &source, clone.path()).unwrap();
    assert_nothing_false(golden.path(), clone.path());
    let [liar, honest] = source.asked.map(AtomicUsize::into_inner);
    assert!(liar > 0 && honest == source.charged.into_inner() && honest > 0, "{liar} {honest}");
}
