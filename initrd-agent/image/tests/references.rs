//! Tags, rollback, removal and pins: what points at a generation, and what that keeps it from.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::time::{Duration, SystemTime};

use support::{Site, options};
use sysclone_image::{Holder, RetentionRule, Store, StoreError};
use sysclone_protocol::names::{ImageRef, TagName};

const HOUR: Duration = Duration::from_secs(3600);

/// A site with that many generations of one file, each with content of its own.
fn history(generations: u32) -> Site {
    let (golden, site) = (tempfile::tempdir().unwrap(), Site::new());
    for generation in 1..=generations {
        fs::write(golden.path().join("file"), format!("content {generation}")).unwrap();
        site.commit(&site.capture(options(golden.path()), None));
    }
    site
}

fn at(site: &Site, generation: u32) -> ImageRef {
    ImageRef { name: site.image.clone(), generation }
}

fn tag(text: &str) -> TagName {
    text.parse().unwrap()
}

fn resolve(site: &Site, text: &str) -> Result<u32, StoreError> {
    site.store.resolve(&text.parse().unwrap()).map(|image| image.generation)
}

#[test]
fn a_tag_is_one_generation_until_it_is_moved_or_taken_off() {
    let site = history(2);
    assert_eq!(site.store.tag(&at(&site, 1), &tag("stable")).unwrap(), None);
    assert_eq!(resolve(&site, "golden").unwrap(), 2);
    assert_eq!(resolve(&site, "golden@1").unwrap(), 1);
    assert_eq!(resolve(&site, "golden@stable").unwrap(), 1);
    assert_eq!(site.store.tag(&at(&site, 2), &tag("stable")).unwrap(), Some(1));
    let again = Store::open(site.directory.path()).unwrap();
    assert_eq!(again.tags(&site.image).unwrap(), [(tag("stable"), 2)].into());
    assert_eq!(site.store.untag(&site.image, &tag("stable")).unwrap(), 2);
    assert!(matches!(site.store.untag(&site.image, &tag("stable")), Err(StoreError::NoSuchTag { .. })));
    assert!(matches!(resolve(&site, "golden@stable"), Err(StoreError::NoSuchTag { .. })));
    assert!(matches!(resolve(&site, "golden@3"), Err(StoreError::NoSuchImage(_))));
    assert!(matches!(resolve(&site, "nobody"), Err(StoreError::NoGeneration(_))));
    let missing = site.store.tag(&at(&site, 3), &tag("stable"));
    assert!(matches!(missing, Err(StoreError::NoSuchImage(_))));
    assert!(site.store.tags(&site.image).unwrap().is_empty());
}

#[test]
fn rollback_makes_the_old_content_the_newest_and_keeps_the_history() {
    let site = history(2);
    let image = site.store.rollback(&at(&site, 1), &site.signing_key).unwrap();
    assert_eq!(image.generation, 3);
    let key = site.signing_key.verifying_key();
    let read = |generation| site.store.manifest(&at(&site, generation), &key).unwrap();
    let (old, new) = (read(1), read(3));
    assert_eq!((new.header.generation, new.header.parent), (3, Some(1)));
    assert_eq!((&new.entries, &new.chunks, &new.packs), (&old.entries, &old.chunks, &old.packs));
    assert_eq!(site.store.generations(&site.image).unwrap(), [1, 2, 3]);
    let again = site.store.rollback(&at(&site, 1), &site.signing_key).unwrap();
    assert_eq!(again.generation, 3, "it is there already");
    fs::remove_file(site.store.pack_path(&read(2).packs[0].id).unwrap()).unwrap();
    let error = site.store.rollback(&at(&site, 2), &site.signing_key).unwrap_err();
    assert!(matches!(error, StoreError::MissingPacks { .. }), "{error}");
}

#[test]
fn what_is_held_is_not_removed_and_the_error_says_by_what() {
    let (site, now) = (history(3), SystemTime::now());
    site.store.tag(&at(&site, 1), &tag("stable")).unwrap();
    site.store.pin(&at(&site, 1), "job 17", now + HOUR).unwrap();
    let error = site.store.remove(&at(&site, 1), now).unwrap_err();
    assert_eq!(
        error.to_string(),
        "image golden@1 is held by the tag 'stable' and job 17: take that away first"
    );
    let error = site.store.remove_image(&site.image, now).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert_eq!(site.store.generations(&site.image).unwrap(), [1, 2, 3], "all or nothing");
    site.store.untag(&site.image, &tag("stable")).unwrap();
    let held = [Holder::Pin("job 17".into())];
    assert_eq!(site.store.holders(&at(&site, 1), now).unwrap(), held);
    site.store.unpin(&at(&site, 1), "job 17").unwrap();
    site.store.unpin(&at(&site, 1), "job 17").expect("once more changes nothing");
    site.store.remove(&at(&site, 1), now).unwrap();
    assert!(matches!(site.store.remove(&at(&site, 1), now), Err(StoreError::NoSuchImage(_))));
    assert_eq!(site.store.remove_image(&site.image, now).unwrap(), [2, 3]);
    assert!(site.store.images().unwrap().is_empty());
}

#[test]
fn a_pin_of_somebody_who_died_ends_by_itself() {
    let (site, now) = (history(1), SystemTime::now());
    site.store.pin(&at(&site, 1), "job 17", now + HOUR).unwrap();
    site.store.pin(&at(&site, 1), "job 17", now + HOUR * 2).unwrap();
    assert_eq!(site.store.pins(&site.image, now).unwrap().len(), 1, "it was made longer, not twice");
    assert!(site.store.remove(&at(&site, 1), now + HOUR).is_err());
    site.store.remove(&at(&site, 1), now + HOUR * 3).unwrap();
    let gone = site.store.pin(&at(&site, 1), "job 18", now + HOUR);
    assert!(matches!(gone, Err(StoreError::NoSuchImage(_))));
}

#[test]
fn a_number_is_never_given_twice() {
    let (golden, site, now) = (tempfile::tempdir().unwrap(), history(2), SystemTime::now());
    site.store.remove(&at(&site, 2), now).unwrap();
    assert_eq!(resolve(&site, "golden").unwrap(), 1);
    let third = site.commit(&site.capture(options(golden.path()), None));
    assert_eq!(third.header.generation, 3);
    site.store.remove_image(&site.image, now).unwrap();
    let fourth = site.commit(&site.capture(options(golden.path()), None));
    assert_eq!(fourth.header.generation, 4, "also after the whole image was removed");
}

#[test]
fn retention_removes_what_nothing_keeps() {
    let (site, now) = (history(5), SystemTime::now());
    site.store.tag(&at(&site, 1), &tag("stable")).unwrap();
    site.store.pin(&at(&site, 2), "job 17", now + HOUR).unwrap();
    let rule = RetentionRule { keep_last: Some(2), keep_younger: None };
    assert_eq!(site.store.retain(&site.image, &rule, now).unwrap(), [3]);
    assert_eq!(site.store.generations(&site.image).unwrap(), [1, 2, 4, 5]);
    assert!(site.store.retain(&site.image, &rule, now).unwrap().is_empty());
    let younger = RetentionRule { keep_last: None, keep_younger: Some(HOUR * 24) };
    assert!(site.store.retain(&site.image, &younger, now).unwrap().is_empty());
    let later = now + HOUR * 25;
    assert_eq!(site.store.retain(&site.image, &younger, later).unwrap(), [2, 4], "the pin is over");
}

#[test]
fn of_a_pin_and_a_removal_at_the_same_time_one_is_refused() {
    let (site, now) = (history(20), SystemTime::now());
    for generation in 1..=20 {
        let (image, start) = (at(&site, generation), std::sync::Barrier::new(2));
        // A store of its own, as another process has it.
        let other = Store::open(site.directory.path()).unwrap();
        let (pinned, removed) = std::thread::scope(|scope| {
            let pinning = scope.spawn(|| {
                start.wait();
                other.pin(&image, "job 17", now + HOUR)
            });
            start.wait();
            let removed = site.store.remove(&image, now);
            (pinning.join().unwrap(), removed)
        });
        assert_ne!(pinned.is_ok(), removed.is_ok(), "generation {generation}: {pinned:?} {removed:?}");
    }
}
