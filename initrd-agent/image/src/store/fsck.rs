//! Reads the whole store again and says what is wrong and which images that hurts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use sysclone_protocol::names::{ImageName, ImageRef};

use super::health::{Hurt, chain, hurt};
use super::verify::hash_file;
use super::{Store, StoreError};
use crate::crypt::ImageKey;
use crate::id::{ChunkHash, PackId};
use crate::manifest::Manifest;
use crate::pack::read_index;
use crate::sign::VerifyingKey;

/// How a check is done.
pub struct FsckJob<'a> {
    /// Checks the manifests' signatures.
    pub key: &'a VerifyingKey,
    /// The keys of images, as far as they are here. With its key, what a manifest says of a pack is compared to what
    /// the pack says of itself.
    pub image_key: &'a dyn Fn(&ImageName) -> Option<ImageKey>,
    /// Whether bad packs are moved to where nobody is served from. The next capture of an image sends what it lost.
    pub quarantine: bool,
    /// Is told of packs and bytes that were read so far.
    pub progress: &'a dyn Fn(u64, u64),
}

/// What a check of the store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Generations read.
    pub generations: u64,
    /// Packs read.
    pub packs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Packs that are damaged or missing.
    pub bad_packs: Vec<BadPack>,
    /// Generations whose manifest is damaged or does not fit its packs, and what is wrong.
    pub bad_manifests: Vec<(ImageRef, String)>,
}

impl FsckReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.bad_packs.is_empty() && self.bad_manifests.is_empty()
    }
}

/// One pack that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPack {
    /// The pack.
    pub pack: PackId,
    /// What is wrong with it.
    pub what: String,
    /// Whether it was moved away.
    pub quarantined: bool,
    /// The generations that lose files.
    pub hurts: Vec<Hurt>,
}

impl Store {
    /// Reads every manifest and every pack. Can run beside captures, deploys and collections.
    ///
    /// # Errors
    /// The store's directories cannot be read, or a bad pack cannot be moved away. Damage is in the report.
    pub fn fsck(&self, job: &FsckJob<'_>) -> Result<FsckReport, StoreError> {
        let mut report = FsckReport::default();
        let needed = self.check_manifests(job, &mut report)?;
        let mut bad = BTreeMap::new();
        let mut packs: BTreeSet<PackId> = needed.keys().copied().collect();
        packs.extend(self.packs()?);
        for id in packs {
            if let Some(what) = self.check_pack(&id, needed.contains_key(&id), &mut report) {
                bad.insert(id, what);
            }
            (job.progress)(report.packs, report.bytes);
        }
        let hurts = self.all_hurts(job, &needed, &bad)?;
        for (pack, what) in bad {
            let hurts = hurts.get(&pack).cloned().unwrap_or_default();
            if hurts.is_empty() && self.pack_path(&pack).is_none() {
                // Its generation was removed, and it was collected, while the others were read.
                continue;
            }
            let there = self.pack_path(&pack).is_some();
            let quarantined = job.quarantine && there && self.quarantine_bad(&pack)?;
            if job.quarantine && there && !quarantined {
                // It was good when nobody could move it: it had been moved while it was read.
                continue;
            }
            report.bad_packs.push(BadPack { pack, what, quarantined, hurts });
        }
        Ok(report)
    }

    /// Which generations need which pack.
    fn check_manifests(
        &self,
        job: &FsckJob<'_>,
        report: &mut FsckReport,
    ) -> Result<HashMap<PackId, Vec<ImageRef>>, StoreError> {
        let mut needed: HashMap<PackId, Vec<ImageRef>> = HashMap::new();
        for image in self.images()? {
            let image_key = (job.image_key)(&image);
            for generation in self.generations(&image)? {
                let image = ImageRef { name: image.clone(), generation };
                let manifest = match self.manifest(&image, job.key) {
                    Ok(manifest) => manifest,
                    // Removed since it was listed.
                    Err(StoreError::NoSuchImage(_)) => continue,
                    Err(error) => {
                        report.generations += 1;
                        report.bad_manifests.push((image, chain(&error)));
                        continue;
                    }
                };
                report.generations += 1;
                if let Some(what) = self.check_fit(&manifest, image_key.as_ref()) {
                    report.bad_manifests.push((image.clone(), what));
                }
                for pack in &manifest.packs {
                    needed.entry(pack.id).or_default().push(image.clone());
                }
            }
        }
        Ok(needed)
    }

    /// Compares what a manifest says of its packs to what they say of themselves. Packs that are missing or damaged
    /// are found by reading them.
    fn check_fit(&self, manifest: &Manifest, image_key: Option<&ImageKey>) -> Option<String> {
        if manifest.header.generation == 0 {
            return Some("its number is 0".to_owned());
        }
        let mut chunks: HashMap<u32, Vec<(u32, ChunkHash, u32)>> = HashMap::new();
        for chunk in &manifest.chunks {
            chunks.entry(chunk.frame).or_default().push((chunk.offset, chunk.hash, chunk.len));
        }
        for (number, pack) in (0..).zip(&manifest.packs) {
            let Some(index) = image_key.and_then(|key| read_index(self, &pack.id, key).ok()) else {
                continue;
            };
            let frames = (0..).zip(&manifest.frames).filter(|(_, frame)| frame.pack == number);
            for (at, frame) in frames {
                let fits = index.frames.get(frame.number as usize).is_some_and(|indexed| {
                    let mut offset = 0;
                    let inside: BTreeSet<_> = indexed
                        .chunks
                        .iter()
                        .map(|chunk| {
                            offset += chunk.len;
                            (offset - chunk.len, chunk.hash, chunk.len)
                        })
                        .collect();
                    (indexed.offset, indexed.stored_len, indexed.plain_len())
                        == (frame.offset, frame.stored_len, frame.plain_len)
                        && chunks
                            .get(&at)
                            .is_none_or(|named| named.iter().all(|chunk| inside.contains(chunk)))
                });
                if !fits || index.salt != pack.salt {
                    return Some(format!("frame {} is not so in pack {}", frame.number, pack.id));
                }
            }
        }
        None
    }

    /// What is wrong with a pack.
    fn check_pack(&self, id: &PackId, needed: bool, report: &mut FsckReport) -> Option<String> {
        let Some(path) = self.pack_path(id) else {
            // One that nothing needs was collected since it was listed.
            return needed.then(|| "it is missing".to_owned());
        };
        report.packs += 1;
        let what = self.read_pack(id, &path, report)?;
        // It may have been moved or replaced while it was read.
        let again = self.pack_path(id).map(|path| self.read_pack(id, &path, report));
        match again {
            Some(again) => again,
            None => needed.then_some(what),
        }
    }

    fn read_pack(&self, id: &PackId, path: &Path, report: &mut FsckReport) -> Option<String> {
        match hash_file(path) {
            Ok((found, bytes)) => {
                report.bytes += bytes;
                (found != *id).then(|| format!("its bytes have the hash {found}"))
            }
            Err(error) => Some(format!("it cannot be read: {error}")),
        }
    }

    /// What the generations lose, by pack.
    fn all_hurts(
        &self,
        job: &FsckJob<'_>,
        needed: &HashMap<PackId, Vec<ImageRef>>,
        bad: &BTreeMap<PackId, String>,
    ) -> Result<HashMap<PackId, Vec<Hurt>>, StoreError> {
        let images: BTreeSet<&ImageRef> = bad.keys().filter_map(|pack| needed.get(pack)).flatten().collect();
        let mut hurts: HashMap<PackId, Vec<Hurt>> = HashMap::new();
        for image in images {
            let manifest = match self.manifest(image, job.key) {
                // Removed since it was read.
                Err(StoreError::NoSuchImage(_)) => continue,
                other => other?,
            };
            for pack in manifest.packs.iter().filter(|pack| bad.contains_key(&pack.id)) {
                if let Some(hurt) = hurt(&manifest, &|id| *id == pack.id) {
                    hurts.entry(pack.id).or_default().push(hurt);
                }
            }
        }
        Ok(hurts)
    }
}
