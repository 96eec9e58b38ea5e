//! The store: nothing half visible, nothing wrong accepted.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::io::{self, Read};

use support::volume::Volume;
use support::{Site, options};
use sysclone_image::{ImageKey, PackId, PutOutcome, Store, StoreError, sign::SigningKey};

fn files(site: &Site) -> Vec<std::path::PathBuf> {
    site.packs()
}

#[test]
fn a_pack_is_stored_once_under_its_hash() {
    let site = Site::new();
    let bytes = b"not really a pack".repeat(1000);
    let id = PackId::of(&bytes);
    assert!(!site.store.has_pack(&id));
    assert_eq!(site.store.put_pack(&site.image, &id, &mut &bytes[..]).unwrap(), PutOutcome::Stored(17_000));
    assert_eq!(site.store.put_pack(&site.image, &id, &mut &bytes[..]).unwrap(), PutOutcome::AlreadyThere);
    assert_eq!(fs::read(site.store.pack_path(&id).unwrap()).unwrap(), bytes);
    assert_eq!(site.store.staged(&site.image).unwrap(), [id]);
    assert!(site.store.staged(&"other".parse().unwrap()).unwrap().is_empty());
    assert_eq!(files(&site).len(), 1);
}

#[test]
fn a_pack_with_another_hash_or_a_sender_that_breaks_off_leaves_nothing() {
    let site = Site::new();
    let id = PackId::of(b"promised");
    let error = site.store.put_pack(&site.image, &id, &mut &b"delivered"[..]).unwrap_err();
    assert!(
        matches!(error, StoreError::Hash { pack, found } if pack == id && found == PackId::of(b"delivered"))
    );
    struct BreaksOff;
    impl Read for BreaksOff {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let mut sender = (&b"prom"[..]).chain(BreaksOff);
    let error = site.store.put_pack(&site.image, &id, &mut sender).unwrap_err();
    assert!(matches!(error, StoreError::Receive { .. }), "{error}");
    assert!(files(&site).is_empty() && site.store.staged(&site.image).unwrap().is_empty());
    assert_eq!(fs::read_dir(site.directory.path().join("incoming")).unwrap().count(), 0);
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing_half() {
    let disk = Volume::tmpfs(1 << 20);
    let store = Store::open(&disk.root().join("store")).unwrap();
    let image = "golden".parse().unwrap();
    let bytes = vec![7; 4 << 20];
    let error = store.put_pack(&image, &PackId::of(&bytes), &mut &bytes[..]).unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    assert!(store.staged(&image).unwrap().is_empty() && !store.has_pack(&PackId::of(&bytes)));
    let small = b"fits";
    store.put_pack(&image, &PackId::of(small), &mut &small[..]).expect("what did not fit was removed");
}

#[test]
fn what_an_interrupted_reception_left_is_removed_but_not_what_is_being_received() {
    let site = Site::new();
    let incoming = site.directory.path().join("incoming");
    fs::write(incoming.join("stray"), b"half").unwrap();
    let busy = fs::File::create(incoming.join("busy")).unwrap();
    busy.lock().unwrap();
    Store::open(site.directory.path()).unwrap();
    assert!(!incoming.join("stray").exists() && incoming.join("busy").exists());
}

#[test]
fn generations_are_counted_and_a_repeated_commit_makes_no_new_one() {
    let (golden, site) = (tempfile::tempdir().unwrap(), Site::new());
    fs::write(golden.path().join("file"), b"content").unwrap();
    let first = site.capture(options(golden.path()), None);
    let commit = |manifest: &sysclone_image::Manifest| {
        site.store.commit(&site.image, &manifest.encode(), &site.signing_key).unwrap()
    };
    let reply = commit(&first);
    assert_eq!((reply.image.to_string().as_str(), reply.entries, reply.bytes), ("golden@1", 2, 7));
    assert_eq!(reply.new_bytes, site.pack_bytes());
    let again = commit(&first);
    assert_eq!(
        (again.image.generation, again.new_bytes),
        (1, 0),
        "the answer was lost, the sender asks again"
    );

    fs::write(golden.path().join("file"), b"other").unwrap();
    let stored = site.store.manifest(&reply.image, &site.signing_key.verifying_key()).unwrap();
    let second = commit(&site.capture(options(golden.path()), Some(&stored)));
    assert_eq!(second.image.generation, 2);
    assert_eq!(site.store.generations(&site.image).unwrap(), [1, 2]);
    assert_eq!(site.store.newest(&site.image).unwrap(), Some(2));
    assert!(site.store.images().unwrap().iter().eq([&site.image]));
    assert!(matches!(site.store.manifest_bytes(&site.image, 3), Err(StoreError::NoSuchImage(_))));
    let nobody = "nobody".parse().unwrap();
    assert_eq!(site.store.newest(&nobody).unwrap(), None);
}

#[test]
fn a_manifest_with_missing_packs_for_another_image_or_broken_is_refused() {
    let (golden, site) = (tempfile::tempdir().unwrap(), Site::new());
    fs::write(golden.path().join("file"), b"content").unwrap();
    let manifest = site.capture(options(golden.path()), None);
    let refuse = |bytes: &[u8]| site.store.commit(&site.image, bytes, &site.signing_key).unwrap_err();
    assert!(matches!(refuse(b"nonsense"), StoreError::Manifest { .. }));
    let other = "other".parse().unwrap();
    let error = site.store.commit(&other, &manifest.encode(), &site.signing_key).unwrap_err();
    assert!(matches!(error, StoreError::OtherImage { .. }), "{error}");
    let mut missing = manifest.clone();
    missing.packs[0].id = PackId([0; 32]);
    assert!(matches!(refuse(&missing.encode()), StoreError::MissingPacks { missing: 1, .. }));
    let mut shorter = manifest;
    shorter.packs[0].bytes += 1;
    assert!(matches!(refuse(&shorter.encode()), StoreError::MissingPacks { .. }));
    assert_eq!(site.store.newest(&site.image).unwrap(), None);
}

#[test]
fn captures_that_end_together_get_two_generations() {
    let (golden, site) = (tempfile::tempdir().unwrap(), Site::new());
    let manifests: Vec<_> = (0..4)
        .map(|n| {
            fs::write(golden.path().join("file"), format!("content {n}")).unwrap();
            site.capture(options(golden.path()), None).encode()
        })
        .collect();
    std::thread::scope(|scope| {
        for manifest in &manifests {
            // Stores of their own, as two processes have them.
            let store = Store::open(site.directory.path()).unwrap();
            let (image, key) = (&site.image, &site.signing_key);
            scope.spawn(move || store.commit(image, manifest, key).unwrap());
        }
    });
    assert_eq!(site.store.generations(&site.image).unwrap(), [1, 2, 3, 4]);
}

#[test]
fn another_key_does_not_verify() {
    let (golden, site) = (tempfile::tempdir().unwrap(), Site::new());
    site.commit(&site.capture(options(golden.path()), None));
    let other = SigningKey::random().unwrap().verifying_key();
    let error = site.store.verify(&site.newest(), &ImageKey::random().unwrap(), &other).unwrap_err();
    assert!(matches!(error, StoreError::Signature { .. }), "{error}");
}

#[test]
fn packs_leave_room_for_what_makes_them_an_image() {
    let disk = Volume::tmpfs(8 << 20);
    let store = Store::open(&disk.root().join("store")).unwrap();
    let image = "golden".parse().unwrap();
    let put = |number: u32| {
        let bytes = number.to_le_bytes().repeat(16 << 10);
        store.put_pack(&image, &PackId::of(&bytes), &mut &bytes[..])
    };
    let refused = (0..200).map(put).find_map(Result::err).unwrap();
    assert!(matches!(refused, StoreError::NoSpace { .. }), "{refused}");
    let rest = vec![7; 100 << 10];
    fs::write(disk.root().join("a manifest"), rest).expect("there is room left");
}
