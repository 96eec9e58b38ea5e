//! The server's image store: packs and signed manifests on one file system.
//!
//! ```text
//! packs/ab/<64 hex>             a pack, named by its hash
//! manifests/<image>/<number>    a signed manifest; the highest number is the image
//! tags/<image>/<tag>            the number of the generation that has the tag
//! numbers/<image>               the highest number that a removed generation had; it is not given again
//! pins/<image>/<number>.<hex>   who needs this generation until when; see [`pins`]
//! staged/<image>/<64 hex>       empty mark: this pack came for this image and no manifest names it yet
//! trash/<64 hex>                a pack that nothing named; still read, and brought back when it is named again
//! quarantine/<64 hex>           a damaged pack; never served
//! incoming/<random>             being received; locked by whoever writes it
//! lock                          held shared while packs are named, exclusively while they are taken away
//! ```
//! A file appears under its name only when it is whole and on the disk. Manifests come last, so a generation is
//! either complete or not there.

mod copy;
mod error;
mod export;
mod files;
mod fsck;
mod gc;
mod heal;
mod health;
mod import;
mod lock;
mod numbers;
mod packs;
mod pins;
mod references;
mod relocate;
mod repack;
mod retention;
mod verify;

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use sysclone_protocol::agent::CaptureReply;
use sysclone_protocol::names::{ImageName, ImageRef};

pub use error::StoreError;
pub use export::{ExportHead, ExportJob, ExportReport};
pub use fsck::{BadPack, FsckJob, FsckReport};
pub use gc::{GcReport, GcRule, StoredPack};
pub use heal::HealReport;
pub use health::{Hurt, PackDirectory, RepairReport};
pub use import::{Accept, ImportReport};
pub use pins::Pin;
pub use references::Holder;
pub use repack::{MostlyDead, RepackReport};
pub use retention::{Made, RetentionRule, plan_retention};
pub use verify::{Damage, VerifyReport};

use crate::id::PackId;
use crate::manifest::{Header, Manifest};
use crate::pack::{PackSink, PackSource};
use crate::sign::{self, SigningKey, VerifyingKey};
use files::Incoming;

/// What became of a pack that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is new, and this long in bytes.
    Stored(u64),
    /// It was there already.
    AlreadyThere,
}

/// Packs leave one part in so many of the file system free…
const RESERVE_PART: u64 = 50;
/// …but not more than this, which is enough for a dozen manifests of a million files.
const MAX_RESERVE_BYTES: u64 = 1 << 30;

/// An image store. Several processes may use one at a time.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// Bytes that packs leave free, for manifests, tags and what else the server keeps on this file system.
    reserve: u64,
    /// Held while a generation is made, so that two captures that end together get two numbers without a retry.
    committing: Mutex<()>,
    known: packs::KnownPacks,
}

impl Store {
    /// Opens a store, makes it when it is not there, and removes what interrupted receptions left.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        for directory in ["packs", "manifests", "staged", "incoming", "trash", "quarantine"] {
            files::make_directory(&root.join(directory))?;
        }
        let (_, all) = files::room(root)?;
        let reserve = (all / RESERVE_PART).min(MAX_RESERVE_BYTES);
        let store = Self {
            root: root.to_owned(),
            reserve,
            committing: Mutex::new(()),
            known: packs::KnownPacks::default(),
        };
        files::remove_stray(&store.incoming())?;
        Ok(store)
    }

    fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    fn staged_directory(&self, image: &ImageName) -> PathBuf {
        self.root.join("staged").join(image.as_str())
    }

    fn pack_file(&self, id: &PackId) -> PathBuf {
        let name = id.to_string();
        self.root.join("packs").join(&name[..2]).join(&name)
    }

    fn trash_file(&self, id: &PackId) -> PathBuf {
        self.root.join("trash").join(id.to_string())
    }

    fn quarantine_file(&self, id: &PackId) -> PathBuf {
        self.root.join("quarantine").join(id.to_string())
    }

    fn manifest_directory(&self, image: &ImageName) -> PathBuf {
        self.root.join("manifests").join(image.as_str())
    }

    fn manifest_file(&self, image: &ImageName, generation: u32) -> PathBuf {
        self.manifest_directory(image).join(generation.to_string())
    }

    /// Receives a pack for a capture of `image`. It is stored only when its bytes have the hash that its name says,
    /// and it is on the disk when this returns.
    ///
    /// # Errors
    /// The sender broke off, the hash differs, or the disk refused it ([`StoreError::NoSpace`] when full).
    pub fn put_pack(
        &self,
        image: &ImageName,
        id: &PackId,
        bytes: &mut dyn Read,
    ) -> Result<PutOutcome, StoreError> {
        if self.has_pack(id) {
            let _named = self.naming()?;
            files::make_mark(&self.staged_directory(image), &id.to_string())?;
            if self.bring_back(id)? {
                return Ok(PutOutcome::AlreadyThere);
            }
        }
        let mut incoming = Incoming::create(&self.incoming())?;
        let found = incoming.receive(id, bytes, self.reserve)?;
        if found != *id {
            return Err(StoreError::Hash { pack: *id, found });
        }
        // Before the lock is taken: this is what takes long.
        incoming.sync()?;
        let _named = self.naming()?;
        // The mark comes first: a pack without a mark would be found by nobody.
        files::make_mark(&self.staged_directory(image), &id.to_string())?;
        let target = self.pack_file(id);
        files::make_directory(target.parent().expect("packs are in a directory"))?;
        let len = incoming.len();
        Ok(if incoming.publish(&target)? { PutOutcome::Stored(len) } else { PutOutcome::AlreadyThere })
    }

    /// Takes a pack out of the trash, if it is there; answers whether it is now in its place. The store's lock must be
    /// held.
    fn bring_back(&self, id: &PackId) -> Result<bool, StoreError> {
        let place = self.pack_file(id);
        if place.is_file() {
            return Ok(true);
        }
        let trashed = self.trash_file(id);
        if trashed.is_file() {
            files::make_directory(place.parent().expect("packs are in a directory"))?;
            files::move_file(&trashed, &place)?;
        }
        // Another may have brought it back just now.
        Ok(place.is_file())
    }

    /// Whether a pack is here.
    #[must_use]
    pub fn has_pack(&self, id: &PackId) -> bool {
        self.pack_path(id).is_some()
    }

    /// The file of a pack, when it is here.
    #[must_use]
    pub fn pack_path(&self, id: &PackId) -> Option<PathBuf> {
        // In this order: a pack goes from its place to the trash while it is looked for, and back only when named.
        [self.pack_file(id), self.trash_file(id), self.pack_file(id)].into_iter().find(|path| path.is_file())
    }

    /// Opens a pack when that can be done without waiting for the disk. Nothing is said about packs that it cannot be
    /// done for.
    #[must_use]
    pub fn open_cached_pack(&self, id: &PackId) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat2(CWD, self.pack_file(id), flags, Mode::empty(), ResolveFlags::CACHED).ok().map(File::from)
    }

    /// Packs that came for this image and that none of its manifests names: those of a capture that did not finish.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn staged(&self, image: &ImageName) -> Result<Vec<PackId>, StoreError> {
        let _named = self.naming()?;
        let directory = self.staged_directory(image);
        let mut packs = Vec::new();
        for id in files::names(&directory)?.iter().filter_map(|name| name.parse().ok()) {
            if self.bring_back(&id)? {
                // Whoever asks is about to use it.
                files::make_mark(&directory, &id.to_string())?;
                packs.push(id);
            }
        }
        packs.sort_unstable();
        Ok(packs)
    }

    /// Makes the next generation of an image from a capture's unsigned manifest. All its packs must be here. The
    /// generation is visible, whole and on the disk when this returns, and not at all before. Sending the newest
    /// generation's manifest again (the answer was lost) makes no new one.
    ///
    /// # Errors
    /// The manifest breaks a rule, is for another image, names packs that are not here, or the disk refused it.
    pub fn commit(
        &self,
        image: &ImageName,
        unsigned: &[u8],
        key: &SigningKey,
    ) -> Result<CaptureReply, StoreError> {
        let manifest = Manifest::decode(unsigned)
            .map_err(|source| StoreError::Manifest { image: image.clone(), source })?;
        self.make_generation(image, manifest, key)
    }

    /// As [`Store::commit`], from the manifest's difference from the newest generation.
    ///
    /// # Errors
    /// As [`Store::commit`]; [`StoreError::Delta`] when the difference cannot be used and the whole manifest is needed.
    pub fn commit_delta(
        &self,
        image: &ImageName,
        delta: &[u8],
        key: &SigningKey,
    ) -> Result<CaptureReply, StoreError> {
        let generation = self.newest(image)?.ok_or_else(|| StoreError::NoGeneration(image.clone()))?;
        let base = self.manifest(&ImageRef { name: image.clone(), generation }, &key.verifying_key())?;
        let manifest = Manifest::from_delta(&base, delta)
            .map_err(|source| StoreError::Delta { image: image.clone(), source })?;
        drop(base);
        self.make_generation(image, manifest, key)
    }

    fn make_generation(
        &self,
        image: &ImageName,
        mut manifest: Manifest,
        key: &SigningKey,
    ) -> Result<CaptureReply, StoreError> {
        if manifest.header.image != *image {
            let found = manifest.header.image;
            return Err(StoreError::OtherImage { image: image.clone(), found });
        }
        let _named = self.naming()?;
        self.require_packs(image, &manifest)?;
        let _one_at_a_time = self.committing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let newest = self.newest(image)?;
        if let Some(newest) = newest {
            manifest.header.generation = newest;
            let (image, key) = (manifest.image_ref(), key.verifying_key());
            // The header tells nearly all apart, and is read in a fraction of the time.
            if self.header(&image, &key).is_ok_and(|stored| stored == manifest.header)
                && self.manifest(&image, &key).is_ok_and(|stored| stored == manifest)
            {
                return Ok(reply(&manifest, 0));
            }
        }
        let new_bytes = self.staged_bytes(image, &manifest);
        self.publish(&mut manifest, self.last_number(image)? + 1, key)?;
        for pack in &manifest.packs {
            files::remove_one(&self.staged_directory(image), &pack.id.to_string())?;
        }
        Ok(reply(&manifest, new_bytes))
    }

    fn require_packs(&self, image: &ImageName, manifest: &Manifest) -> Result<(), StoreError> {
        let mut missing = Vec::new();
        for pack in &manifest.packs {
            let place = self.pack_file(&pack.id);
            if !self.bring_back(&pack.id)? || place.metadata().is_ok_and(|m| m.len() != pack.bytes) {
                missing.push(pack);
            }
        }
        match missing.first() {
            None => Ok(()),
            Some(first) => Err(StoreError::MissingPacks {
                image: image.clone(),
                missing: missing.len(),
                first: first.id,
            }),
        }
    }

    fn staged_bytes(&self, image: &ImageName, manifest: &Manifest) -> u64 {
        let staged = self.staged_directory(image);
        let new = manifest.packs.iter().filter(|pack| staged.join(pack.id.to_string()).exists());
        new.map(|pack| pack.bytes).sum()
    }

    /// Writes the manifest as a generation of its image, under the first free number from `generation` on. The store's lock and `committing` must be held.
    fn publish(
        &self,
        manifest: &mut Manifest,
        mut generation: u32,
        key: &SigningKey,
    ) -> Result<(), StoreError> {
        let image = manifest.header.image.clone();
        files::make_directory(&self.manifest_directory(&image))?;
        loop {
            manifest.header.generation = generation;
            let mut incoming = Incoming::create(&self.incoming())?;
            incoming.write(&sign::seal(&manifest.encode(), key))?;
            if incoming.publish(&self.manifest_file(&image, generation))? {
                return self.remember_packs(&manifest.image_ref(), &key.verifying_key(), &manifest.packs);
            }
            // Another process took the number since it was read.
            generation += 1;
        }
    }

    /// The manifest of a generation, its signature checked.
    ///
    /// # Errors
    /// There is no such generation, or its manifest is damaged.
    pub fn manifest(&self, image: &ImageRef, key: &VerifyingKey) -> Result<Manifest, StoreError> {
        let sealed = self.manifest_bytes(&image.name, image.generation)?;
        let manifest = sign::open(&sealed, key)
            .map_err(|source| StoreError::Signature { image: image.clone(), source })?;
        if manifest.image_ref() == *image {
            Ok(manifest)
        } else {
            Err(StoreError::Misplaced { image: image.clone(), found: manifest.image_ref() })
        }
    }

    /// What is known about a generation as a whole, its signature checked. Much cheaper than the manifest.
    ///
    /// # Errors
    /// There is no such generation, or its manifest is damaged.
    pub fn header(&self, image: &ImageRef, key: &VerifyingKey) -> Result<Header, StoreError> {
        let sealed = self.manifest_bytes(&image.name, image.generation)?;
        let header = sign::open_header(&sealed, key)
            .map_err(|source| StoreError::Signature { image: image.clone(), source })?;
        let found = ImageRef { name: header.image.clone(), generation: header.generation };
        if found == *image { Ok(header) } else { Err(StoreError::Misplaced { image: image.clone(), found }) }
    }

    /// The signed manifest of a generation, to be opened with [`sign::open`].
    ///
    /// # Errors
    /// There is no such generation, or it cannot be read.
    pub fn manifest_bytes(&self, image: &ImageName, generation: u32) -> Result<Vec<u8>, StoreError> {
        let path = self.manifest_file(image, generation);
        match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::NoSuchImage(ImageRef { name: image.clone(), generation }))
            }
            other => other.map_err(files::failed("reading", &path)),
        }
    }

    /// The generations of an image, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn generations(&self, image: &ImageName) -> Result<Vec<u32>, StoreError> {
        let names = files::names(&self.manifest_directory(image))?;
        let mut generations: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
        generations.sort_unstable();
        Ok(generations)
    }

    /// The newest generation of an image, when it has one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn newest(&self, image: &ImageName) -> Result<Option<u32>, StoreError> {
        Ok(self.generations(image)?.last().copied())
    }

    /// All images that have a generation, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn images(&self) -> Result<Vec<ImageName>, StoreError> {
        let names = files::names(&self.root.join("manifests"))?;
        let mut images: Vec<ImageName> = names.iter().filter_map(|name| name.parse().ok()).collect();
        images.sort_unstable();
        let mut kept = Vec::new();
        for image in images {
            if self.newest(&image)?.is_some() {
                kept.push(image);
            }
        }
        Ok(kept)
    }

    /// A sink that puts packs straight into this store, for captures on the server itself.
    #[must_use]
    pub fn sink<'a>(&'a self, image: &'a ImageName) -> impl PackSink + 'a {
        LocalSink { store: self, image }
    }
}

fn reply(manifest: &Manifest, new_bytes: u64) -> CaptureReply {
    CaptureReply {
        image: manifest.image_ref(),
        entries: manifest.entries.len() as u64,
        bytes: manifest.file_bytes(),
        new_bytes,
    }
}

struct LocalSink<'a> {
    store: &'a Store,
    image: &'a ImageName,
}

impl PackSink for LocalSink<'_> {
    fn put(&mut self, id: &PackId, bytes: Vec<u8>) -> io::Result<()> {
        self.store.put_pack(self.image, id, &mut &bytes[..]).map(drop).map_err(|error| match error {
            StoreError::NoSpace { .. } => io::Error::new(io::ErrorKind::StorageFull, error),
            other => io::Error::other(other),
        })
    }
}

impl PackSource for Store {
    fn read(&self, pack: &PackId, range: Range<u64>) -> io::Result<Vec<u8>> {
        let file = File::open(self.pack_path(pack).ok_or(io::ErrorKind::NotFound)?)?;
        health::read_range(&file, range)
    }

    fn size(&self, pack: &PackId) -> io::Result<u64> {
        Ok(self.pack_path(pack).ok_or(io::ErrorKind::NotFound)?.metadata()?.len())
    }
}
