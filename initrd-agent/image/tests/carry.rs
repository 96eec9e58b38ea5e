//! Export and import: an image carried from one server to another in a file.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::path::Path;

use support::{Site, options, run, text};
use sysclone_image::{Accept, ExportHead, ExportJob, ImageKey, ImportReport, StoreError};
use sysclone_protocol::names::ImageRef;

fn noise(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A site with two generations of a tree.
fn site(golden: &Path) -> Site {
    let site = Site::new();
    fs::write(golden.join("old"), noise(1, 3 << 20)).unwrap();
    let first = site.commit(&site.capture(options(golden), None));
    fs::write(golden.join("new"), noise(2, 2 << 20)).unwrap();
    site.commit(&site.capture(options(golden), Some(&first)));
    site
}

fn export(site: &Site, with_key: bool) -> Vec<u8> {
    let (key, mut out) = (site.signing_key.verifying_key(), Vec::new());
    let job = ExportJob {
        image: &site.image,
        generations: &[2, 1],
        key: &key,
        image_key: with_key.then_some(&site.image_key),
        progress: &|_, _| (),
    };
    let report = site.store.export(&job, &mut out).unwrap();
    assert_eq!((report.generations, report.packs, report.bytes), (2, 2, site.pack_bytes()));
    assert!(site.store.pins(&site.image, std::time::SystemTime::now()).unwrap().is_empty());
    out
}

fn import(to: &Site, bytes: &[u8], key: Option<&ImageKey>) -> Result<ImportReport, StoreError> {
    let mut accept = |head: &ExportHead| {
        let own = head.image_key.as_ref().map(|key| ImageKey::from_base64(key.reveal()).unwrap());
        let image_key = key.cloned().or(own).ok_or("it has no key")?;
        let manifest_key = sysclone_image::sign::VerifyingKey::from_base64(&head.manifest_key).unwrap();
        Ok(Accept { image: to.image.clone(), image_key, manifest_key })
    };
    to.store.import(&mut &bytes[..], &to.signing_key, &mut accept)
}

fn untouched(site: &Site) {
    assert!(site.store.images().unwrap().is_empty(), "no generation is visible");
}

#[test]
fn an_export_becomes_the_same_image_elsewhere_and_a_second_import_changes_nothing() {
    let golden = tempfile::tempdir().unwrap();
    let (from, mut to) = (site(golden.path()), Site::new());
    to.image_key = from.image_key.clone();
    let bytes = export(&from, true);
    let report = import(&to, &bytes, None).unwrap();
    assert_eq!(report.images.iter().map(ToString::to_string).collect::<Vec<_>>(), ["golden@1", "golden@2"]);
    assert_eq!((report.new_packs, report.new_bytes, report.known_packs), (2, from.pack_bytes(), 0));
    assert!(to.store.staged(&to.image).unwrap().is_empty());
    let key = to.signing_key.verifying_key();
    let manifest = to.store.manifest(&to.newest(), &key).expect("it is signed anew");
    let target = tempfile::tempdir().unwrap();
    to.apply(&manifest, target.path()).unwrap();
    run("diff", &["-r", text(golden.path()), text(target.path())]);

    let again = import(&to, &bytes, None).unwrap();
    assert_eq!((again.images, again.new_packs, again.known_packs), (report.images, 0, 2));
    assert_eq!(to.store.generations(&to.image).unwrap(), [1, 2]);
}

#[test]
fn an_export_gives_back_packs_that_were_lost() {
    let golden = tempfile::tempdir().unwrap();
    let site = site(golden.path());
    let bytes = export(&site, true);
    for pack in site.packs() {
        fs::remove_file(pack).unwrap();
    }
    let report = import(&site, &bytes, None).unwrap();
    assert_eq!((report.images.len(), report.new_packs), (2, 2));
    assert_eq!(
        site.store.generations(&site.image).unwrap(),
        [1, 2],
        "they are the generations that are there"
    );
    let key = site.signing_key.verifying_key();
    for image in report.images {
        assert_eq!(site.store.degraded(&image, &key).unwrap(), None);
    }
}

#[test]
fn an_image_that_is_there_gets_the_imported_ones_as_its_next_generations() {
    let golden = tempfile::tempdir().unwrap();
    let (from, mut to) = (site(golden.path()), Site::new());
    to.image = "other".parse().unwrap();
    to.image_key = from.image_key.clone();
    fs::write(golden.path().join("own"), b"own").unwrap();
    let own = tempfile::tempdir().unwrap();
    to.commit(&to.capture(options(own.path()), None));
    let report = import(&to, &export(&from, true), None).unwrap();
    assert_eq!(report.images.iter().map(ToString::to_string).collect::<Vec<_>>(), ["other@2", "other@3"]);
    let image = ImageRef { name: to.image.clone(), generation: 3 };
    let damage = to.store.verify(&image, &to.image_key, &to.signing_key.verifying_key()).unwrap().damage;
    assert!(damage.is_empty(), "{damage:?}");
}

#[test]
fn an_export_is_an_ordinary_archive_that_holds_the_key_only_when_asked() {
    let golden = tempfile::tempdir().unwrap();
    let (site, file) = (site(golden.path()), tempfile::NamedTempFile::new().unwrap());
    let secret = site.image_key.to_base64();
    let holds =
        |bytes: &[u8]| bytes.windows(secret.reveal().len()).any(|at| at == secret.reveal().as_bytes());
    let (with, without) = (export(&site, true), export(&site, false));
    assert!(holds(&with) && !holds(&without));
    fs::write(file.path(), &without).unwrap();
    let names = run("tar", &["-tf", text(file.path())]);
    let names: Vec<&str> = names.lines().collect();
    assert_eq!(names[..3], ["sysclone-export.json", "manifests/golden/1", "manifests/golden/2"]);
    let packs = site
        .packs()
        .iter()
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .collect::<Vec<_>>();
    assert!(names.len() == 5 && packs.iter().all(|pack| names[3..].iter().any(|name| name.ends_with(pack))));
    let to = Site::new();
    let error = import(&to, &without, None).unwrap_err();
    assert!(error.to_string().contains("it has no key"), "{error}");
    import(&to, &without, Some(&site.image_key)).expect("the key came another way");
}

#[test]
fn a_cut_off_or_changed_export_makes_nothing_visible_and_a_whole_one_goes_on_from_there() {
    let golden = tempfile::tempdir().unwrap();
    let (from, to) = (site(golden.path()), Site::new());
    let bytes = export(&from, true);
    // Every 512 bytes something else begins; around the borders it is cut off everywhere.
    let borders = (0..bytes.len()).step_by(512).filter(|at| *at < 8192 || at % (1 << 19) == 0);
    for at in borders.flat_map(|at| [at, at + 1, at + 511]).filter(|at| at + 1024 < bytes.len()) {
        assert!(import(&to, &bytes[..at], None).is_err(), "cut off at {at}");
        untouched(&to);
    }
    for at in [1600, 3000, bytes.len() / 2, bytes.len() - 4096] {
        let (mut changed, to) = (bytes.clone(), Site::new());
        changed[at] ^= 1;
        assert!(import(&to, &changed, None).is_err(), "changed at {at}");
        untouched(&to);
    }
    let staged = to.store.staged(&to.image).unwrap().len() as u64;
    assert!(staged > 0, "what arrived is kept");
    let report = import(&to, &bytes, None).unwrap();
    assert_eq!((report.known_packs, report.new_packs), (staged, 2 - staged));
}

#[test]
fn another_signer_or_another_key_is_refused() {
    let golden = tempfile::tempdir().unwrap();
    let (from, to) = (site(golden.path()), Site::new());
    let bytes = export(&from, true);
    let error = import(&to, &bytes, Some(&ImageKey::random().unwrap())).unwrap_err();
    assert!(error.to_string().contains("the image's key does not open it"), "{error}");
    untouched(&to);
    let mut accept = |_: &ExportHead| {
        let manifest_key = to.signing_key.verifying_key();
        Ok(Accept { image: to.image.clone(), image_key: from.image_key.clone(), manifest_key })
    };
    let error = to.store.import(&mut &bytes[..], &to.signing_key, &mut accept).unwrap_err();
    assert!(error.to_string().contains("another server made it"), "{error}");
    untouched(&to);
}

#[test]
fn a_generation_that_is_not_whole_is_not_exported() {
    let golden = tempfile::tempdir().unwrap();
    let site = site(golden.path());
    let pack = site.packs()[0].clone();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[1000] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let key = site.signing_key.verifying_key();
    let job = |generations| ExportJob {
        image: &site.image,
        generations,
        key: &key,
        image_key: None,
        progress: &|_, _| (),
    };
    let error = site.store.export(&job(&[1, 2]), &mut Vec::new()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    fs::remove_file(pack).unwrap();
    let error = site.store.export(&job(&[1, 2]), &mut Vec::new()).unwrap_err();
    assert!(matches!(error, StoreError::MissingPacks { .. }), "{error}");
    let error = site.store.export(&job(&[7]), &mut Vec::new()).unwrap_err();
    assert!(matches!(error, StoreError::NoSuchImage(_)), "{error}");
}
