//! Makes generations whole again whose packs are lost: the same chunks may be in packs of other generations (a later
//! capture sent them again), and a damaged pack in quarantine has frames that are still good.
//!
//! A pack cannot be made again from its chunks, because it is encrypted with a salt of its own. So the manifest is
//! made again: same number, same files, chunks in other places, signed anew, and put in the place of the old one by
//! a rename.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;

use sysclone_protocol::names::{ImageName, ImageRef};

use super::copy::{Copier, Used, add_used};
use super::files::{self, Incoming};
use super::health::{Hurt, hurt};
use super::relocate::{Place, place_of, relocate};
use super::{Store, StoreError};
use crate::crypt::ImageKey;
use crate::id::{ChunkHash, PackId};
use crate::manifest::{Chunk, Frame, Manifest};
use crate::sign::{self, SigningKey};

/// What [`Store::heal`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealReport {
    /// Generations that are whole again.
    pub healed: Vec<ImageRef>,
    /// Generations that still lack something, and what.
    pub degraded: Vec<Hurt>,
    /// Bytes of new packs made of good frames of damaged ones.
    pub salvaged_bytes: u64,
}

impl Store {
    /// Looks for what the generations of an image have lost in all its packs, also in those in quarantine, and uses
    /// what is found. Nothing changes for generations that are whole.
    ///
    /// # Errors
    /// The store cannot be read or written. A generation whose manifest is damaged is left alone.
    pub fn heal(
        &self,
        image: &ImageName,
        (image_key, key): (&ImageKey, &SigningKey),
    ) -> Result<HealReport, StoreError> {
        let mut report = HealReport::default();
        let missing: HashSet<PackId> = self.missing_of(image, &key.verifying_key())?.into_iter().collect();
        if missing.is_empty() {
            return Ok(report);
        }
        let mut lost: HashSet<ChunkHash> = HashSet::new();
        let mut used = HashMap::new();
        self.each_manifest(image, key, &mut |manifest| {
            let of_lost = |chunk: &&Chunk| missing.contains(&place_of(manifest, chunk).pack.id);
            lost.extend(manifest.chunks.iter().filter(of_lost).map(|chunk| chunk.hash));
            add_used(&mut used, manifest, &|pack| missing.contains(pack));
            Ok(())
        })?;
        let mut places: HashMap<ChunkHash, Place> = HashMap::new();
        self.each_manifest(image, key, &mut |manifest| {
            for chunk in manifest.chunks.iter().filter(|chunk| lost.contains(&chunk.hash)) {
                let place = place_of(manifest, chunk);
                if !missing.contains(&place.pack.id) {
                    places.insert(chunk.hash, place);
                }
            }
            Ok(())
        })?;
        let mut copier = Copier::new(self, image, image_key)?;
        copier.places = places;
        self.salvage(&used, &mut copier)?;
        report.salvaged_bytes = copier.made.iter().map(|pack| pack.bytes).sum();
        self.each_manifest(image, key, &mut |manifest| {
            if !manifest.packs.iter().any(|pack| missing.contains(&pack.id)) {
                return Ok(());
            }
            if relocate(manifest, &copier.places, &|pack| missing.contains(pack)) > 0 {
                self.replace_manifest(manifest, key)?;
            }
            match hurt(manifest, &|pack| missing.contains(pack)) {
                Some(hurt) => report.degraded.push(hurt),
                None => report.healed.push(manifest.image_ref()),
            }
            Ok(())
        })?;
        self.unmark(image, &copier)?;
        Ok(report)
    }

    /// Calls `work` with every generation of an image whose manifest is good, oldest first.
    pub(super) fn each_manifest(
        &self,
        image: &ImageName,
        key: &SigningKey,
        work: &mut dyn FnMut(&mut Manifest) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for generation in self.generations(image)? {
            match self.manifest(&ImageRef { name: image.clone(), generation }, &key.verifying_key()) {
                Ok(mut manifest) => work(&mut manifest)?,
                Err(
                    StoreError::NoSuchImage(_) | StoreError::Signature { .. } | StoreError::Misplaced { .. },
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Copies the good frames of packs in quarantine, as far as their chunks are nowhere else.
    fn salvage(&self, used: &HashMap<PackId, Used>, copier: &mut Copier<'_>) -> Result<(), StoreError> {
        let mut packs: Vec<&Used> = used.values().collect();
        packs.sort_by_key(|used| used.pack.id);
        for used in packs {
            let Ok(file) = File::open(self.quarantine_file(&used.pack.id)) else { continue };
            for (frame, chunks) in used.frames.values() {
                // What cannot be read is lost, and the report will say so.
                if let Some(sealed) = sealed_frame(&file, frame) {
                    copier.copy(&used.pack, (frame, chunks), &sealed)?;
                }
            }
        }
        copier.finish()
    }

    /// Puts a manifest in the place of the one with its number, unless that was removed since.
    pub(super) fn replace_manifest(&self, manifest: &Manifest, key: &SigningKey) -> Result<(), StoreError> {
        let image = manifest.image_ref();
        let path = self.manifest_file(&image.name, image.generation);
        let mut incoming = Incoming::create(&self.incoming())?;
        incoming.write(&sign::seal(&manifest.encode(), key))?;
        incoming.sync()?;
        let _named = self.naming()?;
        let at = match path.metadata().and_then(|metadata| metadata.modified()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(files::failed("reading", &path))?,
        };
        for pack in &manifest.packs {
            // One that is lost is not in the trash either.
            self.bring_back(&pack.id)?;
        }
        // It is as old as it was.
        incoming.date(at)?;
        incoming.replace(&path)
    }

    /// Removes the marks of packs that manifests name now.
    pub(super) fn unmark(&self, image: &ImageName, copier: &Copier<'_>) -> Result<(), StoreError> {
        for pack in &copier.made {
            files::remove_one(&self.staged_directory(image), &pack.id.to_string())?;
        }
        Ok(())
    }
}

/// The bytes of a frame, when they can be read.
pub(super) fn sealed_frame(file: &File, frame: &Frame) -> Option<Vec<u8>> {
    let mut sealed = vec![0; frame.stored_len as usize];
    file.read_exact_at(&mut sealed, frame.offset).ok()?;
    Some(sealed)
}
