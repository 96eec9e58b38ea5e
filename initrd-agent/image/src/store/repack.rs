//! Rewrites packs of which manifests use little: what is used goes into new packs, the manifests are made again to
//! name these, and the old packs are then collected like all that nothing names.
//!
//! Whoever began with the old manifest reads the old packs from where they are or from the trash, so this is safe for
//! what is shorter than the grace and the trash time together. Packs of pinned generations and of captures that did
//! not finish are left alone.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::time::SystemTime;

use sysclone_protocol::names::{ImageName, ImageRef};

use super::copy::{Copier, Used, add_used};
use super::gc::StoredPack;
use super::heal::sealed_frame;
use super::relocate::relocate;
use super::{Store, StoreError, files};
use crate::crypt::ImageKey;
use crate::id::PackId;
use crate::sign::SigningKey;

/// A pack of which little is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MostlyDead {
    /// The pack.
    pub pack: StoredPack,
    /// How many of its bytes are used.
    pub live_bytes: u64,
}

/// What [`Store::repack`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepackReport {
    /// Packs that nothing names any more.
    pub old: Vec<MostlyDead>,
    /// Packs that took their place.
    pub new: Vec<StoredPack>,
    /// Generations whose manifest was made again.
    pub images: Vec<ImageRef>,
}

impl Store {
    /// The packs of an image of which manifests use less than `percent`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn plan_repack(
        &self,
        image: &ImageName,
        key: &SigningKey,
        (percent, now): (u8, SystemTime),
    ) -> Result<Vec<MostlyDead>, StoreError> {
        let dead = self.mostly_dead(image, key, (percent, now))?;
        Ok(dead.iter().map(mostly_dead).collect())
    }

    /// Rewrites the packs of an image of which manifests use less than `percent`.
    ///
    /// # Errors
    /// The store cannot be read or written; what was done until then stays done, and no generation is hurt.
    pub fn repack(
        &self,
        image: &ImageName,
        (image_key, key): (&ImageKey, &SigningKey),
        (percent, now): (u8, SystemTime),
    ) -> Result<RepackReport, StoreError> {
        let mut report = RepackReport::default();
        let mut copier = Copier::new(self, image, image_key)?;
        let mut left = HashSet::new();
        for used in self.mostly_dead(image, key, (percent, now))? {
            if self.copy_used(&used, &mut copier)? {
                left.insert(used.pack.id);
                report.old.push(mostly_dead(&used));
            } else {
                tracing::warn!(pack = %used.pack.id, "a pack is damaged and not rewritten: check the store");
            }
        }
        copier.finish()?;
        self.each_manifest(image, key, &mut |manifest| {
            if relocate(manifest, &copier.places, &|pack| left.contains(pack)) > 0 {
                self.replace_manifest(manifest, key)?;
                report.images.push(manifest.image_ref());
            }
            Ok(())
        })?;
        self.unmark(image, &copier)?;
        report.new = copier.made.iter().map(|pack| StoredPack { id: pack.id, bytes: pack.bytes }).collect();
        Ok(report)
    }

    /// Copies what is used of a pack; answers whether all of it was good.
    fn copy_used(&self, used: &Used, copier: &mut Copier<'_>) -> Result<bool, StoreError> {
        let path = self.pack_path(&used.pack.id).unwrap_or_else(|| self.pack_file(&used.pack.id));
        let file = File::open(&path).map_err(files::failed("opening", &path))?;
        let mut good = true;
        for (frame, chunks) in used.frames.values() {
            good &= match sealed_frame(&file, frame) {
                Some(sealed) => copier.copy(&used.pack, (frame, chunks), &sealed)?,
                None => false,
            };
        }
        Ok(good)
    }

    fn mostly_dead(
        &self,
        image: &ImageName,
        key: &SigningKey,
        (percent, now): (u8, SystemTime),
    ) -> Result<Vec<Used>, StoreError> {
        let mut not: HashSet<PackId> = self.staged(image)?.into_iter().collect();
        let pinned: HashSet<u32> = self.pins(image, now)?.iter().map(|pin| pin.generation).collect();
        for other in self.images()?.iter().filter(|other| *other != image) {
            for generation in self.generations(other)? {
                match self.packs_of(&ImageRef { name: other.clone(), generation }, &key.verifying_key()) {
                    Ok(packs) => not.extend(packs.iter().map(|pack| pack.id)),
                    // Removed since, or damaged, and then nothing is read from its packs.
                    Err(
                        StoreError::NoSuchImage(_)
                        | StoreError::Signature { .. }
                        | StoreError::Misplaced { .. },
                    ) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let mut used = HashMap::new();
        self.each_manifest(image, key, &mut |manifest| {
            if pinned.contains(&manifest.header.generation) {
                not.extend(manifest.packs.iter().map(|pack| pack.id));
            }
            add_used(&mut used, manifest, &|_| true);
            Ok(())
        })?;
        let in_place = |used: &Used| self.pack_file(&used.pack.id).is_file();
        let dead =
            |used: &Used| u128::from(used.bytes()) * 100 < u128::from(used.pack.bytes) * u128::from(percent);
        let mut dead: Vec<Used> = used
            .into_values()
            .filter(|used| !not.contains(&used.pack.id) && dead(used) && in_place(used))
            .collect();
        dead.sort_by_key(|used| used.pack.id);
        Ok(dead)
    }
}

fn mostly_dead(used: &Used) -> MostlyDead {
    let pack = StoredPack { id: used.pack.id, bytes: used.pack.bytes };
    MostlyDead { pack, live_bytes: used.bytes() }
}
