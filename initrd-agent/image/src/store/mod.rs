//! The server's image store: packs and signed manifests on one file system.
//!
//! ```text
//! packs/ab/<64 hex>             a pack, named by its hash
//! manifests/<image>/<number>    a signed manifest; the highest number is the image
//! staged/<image>/<64 hex>       empty mark: this pack came for this image and no manifest names it yet
//! incoming/<random>             being received; locked by whoever writes it
//! ```
//! A file appears under its name only when it is whole and on the disk, and is never changed afterwards. Manifests
//! come last, so a generation is either complete or not there.

mod files;
mod verify;

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sysclone_protocol::agent::CaptureReply;
use sysclone_protocol::names::{ImageName, ImageRef};

pub use verify::{Damage, VerifyReport};

use crate::id::PackId;
use crate::manifest::{Manifest, ManifestError, Pack};
use crate::pack::{PackSink, PackSource};
use crate::sign::{self, OpenError, SigningKey, VerifyingKey};
use files::Incoming;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system is full, or a quota is used up. Nothing became visible.
    #[error("no space left in the image store {path}: make room and try again, what was sent is kept")]
    NoSpace {
        /// The store.
        path: String,
    },
    /// The operating system refused something.
    #[error("{doing} {path}")]
    Io {
        /// `creating`, `reading`…
        doing: &'static str,
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The sender of a pack broke off.
    #[error("receiving pack {pack}")]
    Receive {
        /// The pack.
        pack: PackId,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bytes of a pack are not those that its name says.
    #[error(
        "what was received as pack {pack} has the hash {found}: it was damaged on the way, send it again"
    )]
    Hash {
        /// The name it came under.
        pack: PackId,
        /// The name its bytes have.
        found: PackId,
    },
    /// A manifest from a capture is not acceptable.
    #[error("the manifest of image {image} was refused")]
    Manifest {
        /// The image.
        image: ImageName,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// A manifest is for another image than the one captured.
    #[error("the manifest is for image {found}, expected was image {image}")]
    OtherImage {
        /// The image captured.
        image: ImageName,
        /// The image in the manifest.
        found: ImageName,
    },
    /// A manifest names packs that are not here.
    #[error("image {image} needs {missing} packs that are not in the store (the first: {first})")]
    MissingPacks {
        /// The image.
        image: ImageName,
        /// How many.
        missing: usize,
        /// One of them.
        first: PackId,
    },
    /// There is no such generation.
    #[error("there is no image {0}")]
    NoSuchImage(ImageRef),
    /// A stored manifest is not one that this server signed.
    #[error("the stored manifest of image {image} is damaged")]
    Signature {
        /// The generation.
        image: ImageRef,
        /// Why.
        #[source]
        source: OpenError,
    },
}

/// What became of a pack that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is new, and this long in bytes.
    Stored(u64),
    /// It was there already.
    AlreadyThere,
}

/// An image store. Several processes may use one at a time.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// Held while a generation is made, so that two captures that end together get two numbers without a retry.
    committing: Mutex<()>,
}

impl Store {
    /// Opens a store, makes it when it is not there, and removes what interrupted receptions left.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        for directory in ["packs", "manifests", "staged", "incoming"] {
            files::make_directory(&root.join(directory))?;
        }
        let store = Self { root: root.to_owned(), committing: Mutex::new(()) };
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

    fn manifest_file(&self, image: &ImageName, generation: u32) -> PathBuf {
        self.root.join("manifests").join(image.as_str()).join(generation.to_string())
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
            files::make_mark(&self.staged_directory(image), &id.to_string())?;
            return Ok(PutOutcome::AlreadyThere);
        }
        let mut incoming = Incoming::create(&self.incoming())?;
        let found = incoming.receive(id, bytes)?;
        if found != *id {
            return Err(StoreError::Hash { pack: *id, found });
        }
        // The mark comes first: a pack without a mark would be found by nobody.
        files::make_mark(&self.staged_directory(image), &id.to_string())?;
        let target = self.pack_file(id);
        files::make_directory(target.parent().expect("packs are in a directory"))?;
        let len = incoming.len();
        Ok(if incoming.publish(&target)? { PutOutcome::Stored(len) } else { PutOutcome::AlreadyThere })
    }

    /// Whether a pack is here.
    #[must_use]
    pub fn has_pack(&self, id: &PackId) -> bool {
        self.pack_path(id).is_some()
    }

    /// The file of a pack, when it is here.
    #[must_use]
    pub fn pack_path(&self, id: &PackId) -> Option<PathBuf> {
        let path = self.pack_file(id);
        path.is_file().then_some(path)
    }

    /// Packs that came for this image and that none of its manifests names: those of a capture that did not finish.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn staged(&self, image: &ImageName) -> Result<Vec<PackId>, StoreError> {
        let names = files::names(&self.staged_directory(image))?;
        let mut packs: Vec<PackId> = names.iter().filter_map(|name| name.parse().ok()).collect();
        packs.retain(|id| self.has_pack(id));
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
        let mut manifest = Manifest::decode(unsigned)
            .map_err(|source| StoreError::Manifest { image: image.clone(), source })?;
        if manifest.header.image != *image {
            let found = manifest.header.image;
            return Err(StoreError::OtherImage { image: image.clone(), found });
        }
        self.require_packs(image, &manifest)?;
        let _one_at_a_time = self.committing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let newest = self.newest(image)?;
        if let Some(newest) = newest {
            manifest.header.generation = newest;
            if self
                .manifest(&manifest.image_ref(), &key.verifying_key())
                .is_ok_and(|stored| stored == manifest)
            {
                return Ok(reply(&manifest, 0));
            }
        }
        let new_bytes = self.staged_bytes(image, &manifest);
        self.publish(image, &mut manifest, (newest.unwrap_or(0) + 1, key))?;
        for pack in &manifest.packs {
            files::remove_mark(&self.staged_directory(image), &pack.id.to_string())?;
        }
        Ok(reply(&manifest, new_bytes))
    }

    fn require_packs(&self, image: &ImageName, manifest: &Manifest) -> Result<(), StoreError> {
        let here = |pack: &&Pack| {
            self.pack_file(&pack.id).metadata().is_ok_and(|m| m.is_file() && m.len() == pack.bytes)
        };
        let missing: Vec<_> = manifest.packs.iter().filter(|pack| !here(pack)).collect();
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

    /// Writes the manifest under the first free number from `generation` on.
    fn publish(
        &self,
        image: &ImageName,
        manifest: &mut Manifest,
        (mut generation, key): (u32, &SigningKey),
    ) -> Result<(), StoreError> {
        files::make_directory(&self.root.join("manifests").join(image.as_str()))?;
        loop {
            manifest.header.generation = generation;
            let mut incoming = Incoming::create(&self.incoming())?;
            incoming.write(&sign::seal(&manifest.encode(), key))?;
            if incoming.publish(&self.manifest_file(image, generation))? {
                return Ok(());
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
        sign::open(&sealed, key).map_err(|source| StoreError::Signature { image: image.clone(), source })
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
        let names = files::names(&self.root.join("manifests").join(image.as_str()))?;
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
        let file = File::open(self.pack_file(pack))?;
        let len = range.end.checked_sub(range.start).and_then(|len| usize::try_from(len).ok());
        let len = len.filter(|_| file.metadata().is_ok_and(|m| range.end <= m.len()));
        let mut bytes = vec![0; len.ok_or(io::ErrorKind::UnexpectedEof)?];
        file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    fn size(&self, pack: &PackId) -> io::Result<u64> {
        Ok(self.pack_file(pack).metadata()?.len())
    }
}
