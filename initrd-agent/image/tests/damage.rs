//! Damage in the store: found, named, kept from being served, and made good from wherever the bytes still are.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use support::{Site, options};
use sysclone_image::{FsckJob, FsckReport, GcRule, ImageKey, Manifest, PackDirectory, PackId, Store};
use sysclone_protocol::names::ImageRef;

const DAY: Duration = Duration::from_secs(86_400);

/// Bytes that do not compress, another run of them for each number.
fn noise(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn fsck(site: &Site, quarantine: bool) -> FsckReport {
    let key = site.signing_key.verifying_key();
    let image_key = |_: &_| Some(site.image_key.clone());
    let job = FsckJob { key: &key, image_key: &image_key, quarantine, progress: &|_, _| () };
    site.store.fsck(&job).unwrap()
}

fn keys(site: &Site) -> (&ImageKey, &sysclone_image::sign::SigningKey) {
    (&site.image_key, &site.signing_key)
}

/// Flips one bit of a pack.
fn flip(site: &Site, pack: &PackId, at: u64) {
    let path = site.store.pack_path(pack).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

fn lost(site: &Site, image: &ImageRef) -> Vec<String> {
    let hurt = site.store.degraded(image, &site.signing_key.verifying_key()).unwrap();
    let names = hurt.iter().flat_map(|hurt| &hurt.first);
    names.map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

/// What applying a generation makes is what the golden tree has.
fn comes_back(site: &Site, manifest: &Manifest, golden: &Path) {
    let target = tempfile::tempdir().unwrap();
    site.apply(manifest, target.path()).unwrap();
    for name in fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().file_name()) {
        assert!(
            fs::read(golden.join(&name)).unwrap() == fs::read(target.path().join(&name)).unwrap(),
            "{}",
            name.display()
        );
    }
}

fn read(site: &Site, generation: u32) -> Manifest {
    let image = ImageRef { name: site.image.clone(), generation };
    site.store.manifest(&image, &site.signing_key.verifying_key()).unwrap()
}

#[test]
fn a_bad_pack_is_named_with_what_it_hurts_and_is_served_to_nobody() {
    let (golden, site) = (tempfile::tempdir().unwrap(), Site::new());
    fs::write(golden.path().join("first"), noise(1, 5000)).unwrap();
    let first = site.commit(&site.capture(options(golden.path()), None));
    fs::write(golden.path().join("second"), noise(2, 5000)).unwrap();
    let second = site.commit(&site.capture(options(golden.path()), Some(&first)));
    let clean = fsck(&site, true);
    assert!(clean.is_clean(), "{clean:?}");
    assert_eq!((clean.generations, clean.packs, clean.bytes), (2, 2, site.pack_bytes()));

    let bad = first.packs[0].id;
    flip(&site, &bad, 100);
    let looked = fsck(&site, false);
    assert!(!looked.bad_packs[0].quarantined && site.store.has_pack(&bad), "only looked at");
    let report = fsck(&site, true);
    let found = &report.bad_packs[0];
    assert_eq!((report.bad_packs.len(), found.pack, found.quarantined), (1, bad, true));
    let hurts: Vec<_> =
        found.hurts.iter().map(|hurt| (hurt.image.generation, hurt.files, &hurt.first[..])).collect();
    assert_eq!(hurts, [(1, 1, &[b"first".to_vec()][..]), (2, 1, &[b"first".to_vec()][..])]);
    assert!(!site.store.has_pack(&bad));
    assert_eq!(site.store.missing_of(&site.image, &site.signing_key.verifying_key()).unwrap(), [bad]);
    assert_eq!(
        (lost(&site, &first.image_ref()), lost(&site, &second.image_ref())),
        (vec!["first".to_owned()], vec!["first".to_owned()])
    );
    assert_eq!(fsck(&site, true).bad_packs[0].what, "it is missing");
}

#[test]
fn a_damaged_manifest_is_named_and_left_where_it_is() {
    let (golden, site) = (tempfile::tempdir().unwrap(), Site::new());
    site.commit(&site.capture(options(golden.path()), None));
    fs::write(golden.path().join("file"), b"new").unwrap();
    site.commit(&site.capture(options(golden.path()), None));
    let path = site.directory.path().join("manifests/golden/2");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let report = fsck(&site, true);
    assert_eq!((report.generations, report.bad_manifests.len()), (2, 1));
    assert_eq!(report.bad_manifests[0].0.to_string(), "golden@2");
    assert_eq!(site.newest().generation, 2, "the image does not quietly become an older one");
}

#[test]
fn the_next_capture_sends_what_was_lost_and_older_generations_become_whole_by_it() {
    let (golden, site) = (tempfile::tempdir().unwrap(), Site::new());
    fs::write(golden.path().join("same"), noise(1, 3 << 20)).unwrap();
    fs::write(golden.path().join("changes"), noise(2, 3 << 20)).unwrap();
    let first = site.commit(&site.capture(options(golden.path()), None));
    fs::remove_file(site.store.pack_path(&first.packs[0].id).unwrap()).unwrap();
    fs::write(golden.path().join("changes"), noise(3, 3 << 20)).unwrap();

    // The clock of the file system may be coarse; the files are old enough to be believed unchanged.
    let mut parent = first.clone();
    parent.header.captured_at += 60;
    let key = site.signing_key.verifying_key();
    let blind = site.capture(options(golden.path()), Some(&parent));
    let refused = site.store.commit(&site.image, &blind.encode(), &site.signing_key).unwrap_err();
    assert!(matches!(refused, sysclone_image::StoreError::MissingPacks { .. }), "{refused}");
    let missing: HashSet<PackId> = site.store.missing_of(&site.image, &key).unwrap().into_iter().collect();
    let second = site.commit(&site.capture(options(golden.path()), Some(&parent.without_packs(&missing))));
    assert!(lost(&site, &second.image_ref()).is_empty());
    comes_back(&site, &second, golden.path());
    assert!(second.header.inconsistent.is_empty(), "what was lost before is no fault of this capture");

    let report = site.store.heal(&site.image, keys(&site)).unwrap();
    assert_eq!((report.healed.len(), report.degraded.len()), (0, 1), "what changed is gone");
    assert_eq!(lost(&site, &first.image_ref()), ["changes"]);
    let healed = read(&site, 1);
    assert_eq!(healed.header, first.header);

    fs::write(golden.path().join("changes"), noise(2, 3 << 20)).unwrap();
    site.commit(&site.capture(options(golden.path()), Some(&second)));
    let report = site.store.heal(&site.image, keys(&site)).unwrap();
    assert_eq!((report.healed, report.degraded.len()), (vec![first.image_ref()], 0));
    comes_back(&site, &read(&site, 1), golden.path());
    assert!(fsck(&site, true).is_clean());
    assert_eq!(site.store.heal(&site.image, keys(&site)).unwrap(), sysclone_image::HealReport::default());
}

#[test]
fn of_a_damaged_pack_all_good_frames_are_saved() {
    let (golden, site) = (tempfile::tempdir().unwrap(), Site::new());
    for number in 0..6 {
        fs::write(golden.path().join(format!("file{number}")), noise(number, 2 << 20)).unwrap();
    }
    let first = site.commit(&site.capture(options(golden.path()), None));
    let second = site.commit(&site.capture(options(golden.path()), Some(&first)));
    assert!(first.frames.len() > 8, "there are many frames in the pack: {}", first.frames.len());
    let frame = first.frames[3];
    flip(&site, &first.packs[0].id, frame.offset + 1000);
    assert_eq!(fsck(&site, true).bad_packs[0].hurts[0].files, 6);

    let report = site.store.heal(&site.image, keys(&site)).unwrap();
    let hurt: Vec<_> = report.degraded.iter().map(|hurt| (hurt.image.generation, hurt.files)).collect();
    assert!(
        hurt == [(1, 1), (2, 1)] || hurt == [(1, 2), (2, 2)],
        "one frame holds parts of two files at most: {hurt:?}"
    );
    assert!(report.salvaged_bytes > first.packs[0].bytes * 8 / 10);
    let left = lost(&site, &second.image_ref());
    let again = site.store.heal(&site.image, keys(&site)).unwrap();
    assert_eq!(again.salvaged_bytes, 0, "nothing is saved twice");

    // The golden client still has them.
    let missing = site.store.missing_of(&site.image, &site.signing_key.verifying_key()).unwrap();
    let before = site.pack_bytes();
    let parent = read(&site, 2).without_packs(&missing.into_iter().collect());
    let third = site.commit(&site.capture(options(golden.path()), Some(&parent)));
    let sent = site.pack_bytes() - before;
    assert!(sent < (left.len() as u64) * (3 << 20), "only what was lost is sent: {sent}");
    comes_back(&site, &third, golden.path());
    assert_eq!(site.store.heal(&site.image, keys(&site)).unwrap().healed.len(), 2);
    comes_back(&site, &read(&site, 1), golden.path());
    let gone = site
        .store
        .gc(&site.signing_key.verifying_key(), &GcRule::default(), SystemTime::now() + DAY * 2)
        .unwrap();
    assert!(
        gone.deleted.iter().any(|pack| pack.id == first.packs[0].id),
        "the damaged pack is of no use any more"
    );
    assert!(fsck(&site, true).is_clean());
}

#[test]
fn packs_come_back_from_another_store_when_their_hash_is_right() {
    let (golden, site, place) = (tempfile::tempdir().unwrap(), Site::new(), tempfile::tempdir().unwrap());
    fs::write(golden.path().join("file"), noise(1, 9 << 20)).unwrap();
    let first = site.commit(&site.capture(options(golden.path()), None));
    fs::write(golden.path().join("more"), noise(2, 1 << 20)).unwrap();
    let second = site.commit(&site.capture(options(golden.path()), Some(&first)));
    let other = Store::open(place.path()).unwrap();
    let copy = |id: &PackId| {
        let bytes = fs::read(site.store.pack_path(id).unwrap()).unwrap();
        other.put_pack(&site.image, id, &mut &bytes[..]).unwrap();
    };
    let (old, new) = (second.packs[0].id, second.packs[1].id);
    copy(&old);
    copy(&new);
    let path = other.pack_path(&new).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[500] ^= 1;
    fs::write(&path, bytes).unwrap();
    flip(&site, &old, 77);
    fs::remove_file(site.store.pack_path(&new).unwrap()).unwrap();
    fsck(&site, true);

    let key = site.signing_key.verifying_key();
    let report = site.store.repair_from(&site.image, &key, &PackDirectory::new(place.path())).unwrap();
    assert_eq!((&report.repaired[..], report.bytes), (&[old][..], second.packs[0].bytes));
    assert_eq!((report.failed.len(), report.failed[0].0), (1, new));
    assert!(report.failed[0].1.contains("damaged on the way"), "{}", report.failed[0].1);
    assert!(site.store.degraded(&first.image_ref(), &key).unwrap().is_none());
    assert_eq!(lost(&site, &second.image_ref()), ["more"]);
}

#[test]
fn packs_that_are_mostly_dead_are_rewritten() {
    let (golden, site, now) = (tempfile::tempdir().unwrap(), Site::new(), SystemTime::now());
    for number in 0..10 {
        fs::write(golden.path().join(format!("file{number}")), noise(number, 2 << 20)).unwrap();
    }
    let first = site.commit(&site.capture(options(golden.path()), None));
    for number in 2..10 {
        fs::write(golden.path().join(format!("file{number}")), noise(number + 100, 4096)).unwrap();
    }
    let second = site.commit(&site.capture(options(golden.path()), Some(&first)));
    let (key, later) = (site.signing_key.verifying_key(), now + DAY * 2);
    let plan = || site.store.plan_repack(&site.image, &site.signing_key, (30, now)).unwrap();
    assert!(plan().is_empty(), "the first generation uses all of it");
    site.store.remove(&first.image_ref(), now).unwrap();
    site.store.pin(&second.image_ref(), "job 17", now + DAY).unwrap();
    assert!(plan().is_empty(), "a deploy reads it");
    site.store.unpin(&second.image_ref(), "job 17").unwrap();
    assert_eq!(plan()[0].pack.id, first.packs[0].id);

    let made_at = || site.store.history(&site.image, now).unwrap()[0].at;
    let before = made_at();
    let report = site.store.repack(&site.image, keys(&site), (30, now)).unwrap();
    assert_eq!((report.old.len(), report.new.len(), &report.images[..]), (1, 1, &[second.image_ref()][..]));
    assert_eq!(made_at(), before, "retention sees the same age");
    let (old, new) = (report.old[0], report.new[0]);
    assert!(new.bytes < old.pack.bytes * 3 / 10 && new.bytes < old.live_bytes + (64 << 10));
    assert!(site.store.staged(&site.image).unwrap().is_empty());
    assert!(plan().is_empty());
    let gone = site.store.gc(&key, &GcRule::default(), later).unwrap();
    assert_eq!(gone.trashed, [old.pack]);
    comes_back(&site, &second, golden.path());
    assert_eq!(site.store.gc(&key, &GcRule::default(), later + DAY).unwrap().freed_bytes(), old.pack.bytes);
    assert!(fsck(&site, true).is_clean());
    comes_back(&site, &read(&site, 2), golden.path());
}
