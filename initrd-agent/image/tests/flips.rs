//! Flipped bits anywhere in a store, frames and files exchanged, files cut: refused with the names of image, pack and
//! file, and what is written is never false. `SYSCLONE_FLIPS=10000` tries more than the usual.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use support::chance::{Chance, rounds};
use support::{Site, options, tree};
use sysclone_image::{Accept, ApplyError, ExportHead, ExportJob, Frame, Manifest, StoreError};
use sysclone_protocol::names::ImageRef;

/// Flips unless the environment says otherwise.
const FLIPS: u32 = 40;
const FOOTER_BYTES: u64 = 16;

/// An image of a dozen frames in one pack.
struct Image {
    golden: tempfile::TempDir,
    site: Site,
    manifest: Manifest,
    pack: PathBuf,
    good: Vec<u8>,
}

impl Image {
    fn new() -> Self {
        let (golden, site) = (tempfile::tempdir_in("/var/tmp").unwrap(), Site::new());
        for n in 0..30 {
            fs::write(golden.path().join(format!("small{n}")), tree::noise(n, 9000)).unwrap();
        }
        for n in 0..4 {
            fs::write(golden.path().join(format!("large{n}")), tree::noise(100 + n, 2_500_000)).unwrap();
        }
        fs::write(golden.path().join("text"), "packs well\n".repeat(30_000)).unwrap();
        let manifest = site.commit(&site.capture(options(golden.path()), None));
        assert!(manifest.packs.len() == 1 && manifest.frames.len() > 8, "{}", manifest.frames.len());
        let pack = site.store.pack_path(&manifest.packs[0].id).unwrap();
        let good = fs::read(&pack).unwrap();
        Self { golden, site, manifest, pack, good }
    }

    /// Deploys from the store as it is now; whatever is then there is true.
    fn apply(&self) -> Result<(), ApplyError> {
        let clone = tempfile::tempdir_in("/var/tmp").unwrap();
        let result = self.site.apply(&self.manifest, clone.path()).map(drop);
        assert_true(self.golden.path(), clone.path());
        result
    }

    /// Deploys and expects a refusal that names everything, and the first of these frames that was read.
    fn assert_refused(&self, frames: RangeInclusive<usize>, what: &str) {
        let error = self.apply().expect_err(what);
        let text = error.to_string();
        assert!(matches!(error, ApplyError::Damaged { .. } | ApplyError::Fetch { .. }), "{what}: {text}");
        assert!(text.contains("golden@1"), "{what}: {text}");
        assert!(text.contains(&self.manifest.packs[0].id.to_string()), "{what}: {text}");
        if let ApplyError::Damaged { frame: found, path, .. } = &error {
            assert!(frames.contains(&(*found as usize)), "{what}: {text}");
            assert!(self.golden.path().join(path.trim_start_matches('/')).is_file(), "{what}: {text}");
        }
    }

    fn assert_found(&self, what: &str) {
        let key = self.site.signing_key.verifying_key();
        let report = self.site.store.verify(&self.site.newest(), &self.site.image_key, &key).unwrap();
        assert_eq!(report.damage.len(), 1, "{what}");
        assert_eq!(report.damage[0].pack, self.manifest.packs[0].id, "{what}");
    }

    fn restore(&self) {
        fs::write(&self.pack, &self.good).unwrap();
    }

    fn range(frame: &Frame) -> Range<u64> {
        frame.offset..frame.offset + u64::from(frame.stored_len)
    }
}

fn assert_true(golden: &Path, clone: &Path) {
    for entry in fs::read_dir(clone).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(fs::read(golden.join(&name)).unwrap() == fs::read(clone.join(&name)).unwrap(), "{name:?}");
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_pack_is_refused_or_does_not_matter_and_is_found() {
    let (image, mut chance) = (Image::new(), Chance::from_environment());
    let frames: Vec<Range<u64>> = image.manifest.frames.iter().map(Image::range).collect();
    let len = image.good.len() as u64;
    let index = frames.last().unwrap().end..len - FOOTER_BYTES;
    let classes = [0..48, index, len - FOOTER_BYTES..len];
    let pack = fs::OpenOptions::new().write(true).open(&image.pack).unwrap();
    for round in 0..rounds("SYSCLONE_FLIPS", FLIPS) {
        // Mostly frames, their first bytes and their tags often; the other parts now and then.
        let frame = chance.one(&frames);
        let place = match round % 8 {
            0 => chance.one(&classes).clone(),
            1 => frame.start..frame.start + 2,
            2 => frame.end - 16..frame.end,
            _ => frames[0].start..frames.last().unwrap().end,
        };
        let at = place.start + chance.below(place.end - place.start);
        let byte = image.good[usize::try_from(at).unwrap()];
        let bit = chance.below(8);
        pack.write_all_at(&[byte ^ (1 << bit)], at).unwrap();
        let what = format!("bit {bit} of byte {at} of {len}");
        match frames.iter().position(|frame| frame.contains(&at)) {
            Some(frame) => image.assert_refused(frame..=frame, &what),
            None => image.apply().unwrap_or_else(|error| panic!("{what}: {error}")),
        }
        if round % 10 == 0 {
            image.assert_found(&what);
        }
        pack.write_all_at(&[byte], at).unwrap();
    }
    image.apply().unwrap();
}

#[test]
fn a_frame_in_the_place_of_another_is_refused() {
    let image = Image::new();
    let frames = &image.manifest.frames;
    let pack = fs::OpenOptions::new().write(true).open(&image.pack).unwrap();
    for (place, other) in [(0, 1), (1, 0), (3, 2), (frames.len() - 1, 0)] {
        let (to, from) = (Image::range(&frames[place]), Image::range(&frames[other]));
        let len = (to.end - to.start).min(from.end - from.start);
        let from = usize::try_from(from.start).unwrap();
        pack.write_all_at(&image.good[from..from + usize::try_from(len).unwrap()], to.start).unwrap();
        image.assert_refused(place..=place, &format!("frame {other} in the place of {place}"));
        image.restore();
    }
}

#[test]
fn a_pack_that_is_cut_or_another_is_refused() {
    let image = Image::new();
    let frames = &image.manifest.frames;
    for (cut, frame) in [(0, 0), (48, 0), (Image::range(&frames[4]).end - 1, 4)] {
        fs::write(&image.pack, &image.good[..usize::try_from(cut).unwrap()]).unwrap();
        image.assert_refused(frame..=frames.len(), &format!("cut to {cut}"));
        image.assert_found(&format!("cut to {cut}"));
    }
    // The same tree captured once more has the same plain bytes in every frame, sealed with another salt.
    let again = image.site.capture(options(image.golden.path()), None);
    let other = image.site.store.pack_path(&again.packs[0].id).unwrap();
    fs::copy(&other, &image.pack).unwrap();
    image.assert_refused(0..=frames.len(), "a pack with another salt");
    image.assert_found("a pack with another salt");
}

#[test]
fn a_flipped_bit_anywhere_in_a_stored_manifest_is_refused_by_name() {
    let (image, mut chance) = (Image::new(), Chance::from_environment());
    let path = image.site.directory.path().join("manifests/golden/1");
    let good = fs::read(&path).unwrap();
    let key = image.site.signing_key.verifying_key();
    for _ in 0..rounds("SYSCLONE_FLIPS", FLIPS) * 5 {
        let mut bad = good.clone();
        bad[usize::try_from(chance.below(good.len() as u64)).unwrap()] ^= 1 << chance.below(8);
        fs::write(&path, &bad).unwrap();
        let error = image.site.store.manifest(&image.site.newest(), &key).unwrap_err();
        assert!(matches!(error, StoreError::Signature { .. }), "{error}");
        assert!(error.to_string().contains("golden@1"), "{error}");
    }
}

#[test]
fn a_manifest_in_the_place_of_another_generation_or_image_is_refused() {
    let image = Image::new();
    fs::write(image.golden.path().join("text"), "newer").unwrap();
    image.site.commit(&image.site.capture(options(image.golden.path()), Some(&image.manifest)));
    let manifests = image.site.directory.path().join("manifests");
    let key = image.site.signing_key.verifying_key();
    fs::copy(manifests.join("golden/1"), manifests.join("golden/2")).unwrap();
    let newest = image.site.newest();
    let error = image.site.store.manifest(&newest, &key).unwrap_err();
    assert!(matches!(&error, StoreError::Misplaced { found, .. } if found.generation == 1), "{error}");
    assert!(image.site.store.verify(&newest, &image.site.image_key, &key).is_err());

    fs::create_dir(manifests.join("other")).unwrap();
    fs::copy(manifests.join("golden/1"), manifests.join("other/1")).unwrap();
    let other = ImageRef { name: "other".parse().unwrap(), generation: 1 };
    let error = image.site.store.manifest(&other, &key).unwrap_err();
    assert!(error.to_string().contains("other@1") && error.to_string().contains("golden@1"), "{error}");
}

/// A small image of two generations as an archive.
fn archive(site: &Site, golden: &Path) -> Vec<u8> {
    fs::write(golden.join("file"), tree::noise(1, 5000)).unwrap();
    let first = site.commit(&site.capture(options(golden), None));
    fs::write(golden.join("file"), tree::noise(2, 5000)).unwrap();
    site.commit(&site.capture(options(golden), Some(&first)));
    let key = site.signing_key.verifying_key();
    let job = ExportJob {
        image: &site.image,
        generations: &[1, 2],
        key: &key,
        image_key: None,
        progress: &|_, _| (),
    };
    let mut bytes = Vec::new();
    site.store.export(&job, &mut bytes).unwrap();
    bytes
}

#[test]
fn an_archive_with_flipped_bits_or_cut_is_refused_or_gives_the_same_image() {
    let (golden, from, mut chance) = (tempfile::tempdir().unwrap(), Site::new(), Chance::from_environment());
    let good = archive(&from, golden.path());
    let mut refused = 0;
    let tries = rounds("SYSCLONE_FLIPS", FLIPS);
    for round in 0..tries {
        let mut bad = good.clone();
        for _ in 0..=round % 3 {
            bad[usize::try_from(chance.below(good.len() as u64)).unwrap()] ^= 1 << chance.below(8);
        }
        if round % 5 == 0 {
            bad.truncate(usize::try_from(chance.below(good.len() as u64)).unwrap());
        }
        let to = Site::new();
        let manifest_key = from.signing_key.verifying_key();
        let mut accept = |head: &ExportHead| {
            if head.image != from.image {
                return Err("another image was expected".to_owned());
            }
            Ok(Accept { image: to.image.clone(), image_key: from.image_key.clone(), manifest_key })
        };
        let result = to.store.import(&mut &bad[..], &to.signing_key, &mut accept);
        let generations = to.store.generations(&to.image).unwrap();
        match result {
            Ok(_) => assert_eq!(generations, [1, 2]),
            Err(_) => {
                assert!(generations.is_empty(), "{generations:?}");
                refused += 1;
            }
        }
        for generation in generations {
            let image = ImageRef { name: to.image.clone(), generation };
            let verified = to.store.verify(&image, &from.image_key, &to.signing_key.verifying_key()).unwrap();
            assert!(verified.damage.is_empty(), "{verified:?}");
        }
    }
    assert!(refused > tries / 2, "{refused} of {tries}");
}
