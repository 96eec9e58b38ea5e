//! Garbage collection: takes what nothing names, and never what somebody is about to name.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use support::{Site, options};
use sysclone_image::{FsckJob, GcReport, GcRule, PackId, RetentionRule, Store};
use sysclone_protocol::names::ImageRef;

const DAY: Duration = Duration::from_secs(86_400);

/// Takes everything that nothing names, at once.
const AT_ONCE: GcRule = GcRule { grace: Duration::ZERO, trash: Duration::ZERO, staged: DAY };

fn gc(site: &Site, now: SystemTime) -> GcReport {
    let (key, rule) = (site.signing_key.verifying_key(), GcRule::default());
    let planned = site.store.plan_gc(&key, &rule, now).unwrap();
    let report = site.store.gc(&key, &rule, now).unwrap();
    assert_eq!(planned, report, "the plan says what is done");
    report
}

fn whole(site: &Site, image: &ImageRef) -> bool {
    let key = site.signing_key.verifying_key();
    site.store.verify(image, &site.image_key, &key).unwrap().damage.is_empty()
}

#[test]
fn packs_of_a_removed_generation_leave_the_disk_in_two_steps_and_all_others_stay() {
    let (golden, site, now) = (tempfile::tempdir().unwrap(), Site::new(), SystemTime::now());
    fs::write(golden.path().join("shared"), b"in both generations").unwrap();
    fs::write(golden.path().join("file"), b"one").unwrap();
    let first = site.commit(&site.capture(options(golden.path()), None));
    fs::write(golden.path().join("file"), b"another").unwrap();
    let second = site.commit(&site.capture(options(golden.path()), None));
    let later = now + DAY * 2;
    assert_eq!(gc(&site, later), GcReport::default(), "everything is named");

    site.store.remove(&first.image_ref(), now).unwrap();
    let waiting = gc(&site, now);
    assert_eq!((waiting.waiting.len(), waiting.trashed.len()), (1, 0), "the grace is not over");
    let trashed = gc(&site, later);
    assert_eq!((trashed.trashed[0].id, trashed.freed_bytes()), (first.packs[0].id, 0));
    assert!(site.store.pack_path(&first.packs[0].id).is_some(), "a deploy that runs still reads it");
    assert_eq!(gc(&site, later), GcReport::default(), "not yet");
    let deleted = gc(&site, later + DAY);
    assert_eq!(deleted.freed_bytes(), first.packs[0].bytes);
    assert!(!site.store.has_pack(&first.packs[0].id));
    assert!(whole(&site, &second.image_ref()));
}

#[test]
fn a_pack_in_the_trash_comes_back_when_it_is_put_staged_or_named() {
    let (golden, site, now) = (tempfile::tempdir().unwrap(), Site::new(), SystemTime::now());
    let bytes = b"not really a pack";
    let id = PackId::of(bytes);
    site.store.put_pack(&site.image, &id, &mut &bytes[..]).unwrap();
    assert_eq!(gc(&site, now + DAY * 13), GcReport::default(), "an interrupted capture is waited for");
    let report = gc(&site, now + DAY * 15);
    assert_eq!((report.marks, report.trashed.len()), (1, 1));
    let in_place = || site.packs().len();
    assert_eq!(in_place(), 0);
    assert!(site.store.staged(&site.image).unwrap().is_empty());
    site.store.put_pack(&site.image, &id, &mut &bytes[..]).unwrap();
    assert_eq!((in_place(), site.store.staged(&site.image).unwrap().len()), (1, 1));

    fs::write(golden.path().join("file"), b"content").unwrap();
    let first = site.commit(&site.capture(options(golden.path()), None));
    fs::write(golden.path().join("other"), b"more").unwrap();
    let second = site.capture(options(golden.path()), Some(&first));
    site.store.remove(&first.image_ref(), now).unwrap();
    assert!(gc(&site, now + DAY * 2).trashed.iter().any(|pack| pack.id == first.packs[0].id));
    let second = site.commit(&second);
    assert!(second.packs.iter().any(|pack| pack.id == first.packs[0].id));
    assert!(whole(&site, &second.image_ref()));
    assert_eq!(gc(&site, now + DAY * 4).deleted.len(), 0);
}

#[test]
fn nothing_is_taken_while_a_manifest_cannot_be_read() {
    let (golden, site, now) = (tempfile::tempdir().unwrap(), Site::new(), SystemTime::now());
    let manifest = site.commit(&site.capture(options(golden.path()), None));
    site.store.put_pack(&site.image, &PackId::of(b"x"), &mut &b"x"[..]).unwrap();
    let path = site.directory.path().join("manifests/golden/1");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let key = site.signing_key.verifying_key();
    let error = site.store.gc(&key, &GcRule::default(), now + DAY * 100).unwrap_err();
    assert!(error.to_string().contains("golden@1"), "{error}");
    assert_eq!(site.packs().len(), 1);
    site.store.remove(&manifest.image_ref(), now).expect("it can be removed by its name");
    assert_eq!(gc(&site, now + DAY * 100).trashed.len(), 1);
}

/// Captures reuse the packs of a generation that is removed at the same time, while a collection without any grace
/// runs without a pause. Each capture either ends whole or is refused; none that was accepted lacks a pack.
#[test]
fn captures_and_collections_side_by_side_lose_nothing() {
    let site = Site::new();
    let done = AtomicBool::new(false);
    let key = site.signing_key.verifying_key();
    std::thread::scope(|scope| {
        let collecting = scope.spawn(|| {
            let store = Store::open(site.directory.path()).unwrap();
            let mut runs = 0_u32;
            while !done.load(Ordering::Relaxed) {
                store.gc(&key, &AT_ONCE, SystemTime::now()).unwrap();
                runs += 1;
            }
            runs
        });
        let site = &site;
        let workers: Vec<_> =
            (0..3).map(|worker| scope.spawn(move || capture_again_and_again(site, worker))).collect();
        let accepted: u32 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        done.store(true, Ordering::Relaxed);
        assert!(collecting.join().unwrap() > 3 && accepted > 3);
    });
    for generation in site.store.generations(&site.image).unwrap() {
        assert!(whole(&site, &ImageRef { name: site.image.clone(), generation }), "generation {generation}");
    }
}

/// Everything that a store does to itself beside captures: nothing that is then there lacks a byte.
#[test]
fn captures_rewriting_rollback_retention_and_checks_side_by_side_lose_nothing() {
    let site = Site::new();
    let (done, key) = (AtomicBool::new(false), site.signing_key.verifying_key());
    let (keys, root) = ((&site.image_key, &site.signing_key), site.directory.path());
    let again_and_again = |work: &dyn Fn(&Store)| {
        let store = Store::open(root).unwrap();
        let mut runs = 0_u32;
        while !done.load(Ordering::Relaxed) {
            work(&store);
            runs += 1;
        }
        runs
    };
    let image = &site.image;
    std::thread::scope(|scope| {
        let helpers = [
            scope.spawn(|| {
                again_and_again(&|store| drop(store.gc(&key, &AT_ONCE, SystemTime::now()).unwrap()))
            }),
            scope.spawn(|| {
                again_and_again(&|store| {
                    // A pack may be collected, with its generation, while it is looked at.
                    let _ = store.repack(image, keys, (100, SystemTime::now()));
                })
            }),
            scope.spawn(|| {
                again_and_again(&|store| {
                    let oldest = store.generations(image).unwrap().first().copied();
                    if let Some(generation) = oldest {
                        let _ =
                            store.rollback(&ImageRef { name: image.clone(), generation }, &site.signing_key);
                    }
                    let rule = RetentionRule { keep_last: Some(4), keep_younger: None };
                    store.retain(image, &rule, SystemTime::now()).unwrap();
                })
            }),
            scope.spawn(|| {
                again_and_again(&|store| {
                    let image_key = |_: &_| Some(site.image_key.clone());
                    let job =
                        FsckJob { key: &key, image_key: &image_key, quarantine: true, progress: &|_, _| () };
                    let report = store.fsck(&job).unwrap();
                    assert!(report.is_clean(), "{report:?}");
                    store.heal(image, keys).unwrap();
                })
            }),
        ];
        let site = &site;
        let workers: Vec<_> =
            (0..2).map(|worker| scope.spawn(move || capture_again_and_again(site, worker))).collect();
        for worker in workers {
            assert!(worker.join().unwrap() > 3);
        }
        done.store(true, Ordering::Relaxed);
        for helper in helpers {
            assert!(helper.join().unwrap() > 1);
        }
    });
    for generation in site.store.generations(&site.image).unwrap() {
        assert!(whole(&site, &ImageRef { name: site.image.clone(), generation }), "generation {generation}");
    }
}

/// Answers how many captures were accepted; every accepted one is whole at once.
fn capture_again_and_again(site: &Site, worker: u32) -> u32 {
    let store = Store::open(site.directory.path()).unwrap();
    let golden = tempfile::tempdir().unwrap();
    fs::write(golden.path().join("kept"), format!("always there {worker}")).unwrap();
    let mut parent = None;
    let mut accepted = 0;
    for round in 0..12 {
        fs::write(golden.path().join("file"), format!("worker {worker} round {round}")).unwrap();
        let manifest = site.capture(options(golden.path()), parent.as_ref());
        let Ok(reply) = store.commit(&site.image, &manifest.encode(), &site.signing_key) else {
            parent = None;
            continue;
        };
        accepted += 1;
        let Ok(stored) = store.manifest(&reply.image, &site.signing_key.verifying_key()) else { continue };
        let lost: Vec<_> = stored.packs.iter().filter(|pack| !store.has_pack(&pack.id)).collect();
        let there = store.manifest_bytes(&reply.image.name, reply.image.generation).is_ok();
        assert!(lost.is_empty() || !there, "{} was accepted without {lost:?}", reply.image);
        if round % 2 == 0 {
            // The retention rule may have been quicker.
            let _ = store.remove(&reply.image, SystemTime::now());
        }
        parent = Some(stored);
    }
    accepted
}
