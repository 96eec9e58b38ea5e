//! Which packs each generation needs, remembered while the store is open: reading a manifest of a large system takes
//! a quarter of a second, and what it names is asked for at every capture, collection and listing.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sysclone_protocol::names::ImageRef;

use super::{Store, StoreError, files};
use crate::manifest::Pack;
use crate::sign::VerifyingKey;

/// Which file a manifest is: one that is replaced is another.
type FileIdentity = [i64; 4];

/// By generation: from which file, with which key it was opened, and the packs.
type Known = HashMap<ImageRef, (FileIdentity, VerifyingKey, Arc<[Pack]>)>;

/// The packs of generations that were read.
#[derive(Debug, Default)]
pub(super) struct KnownPacks(Mutex<Known>);

impl KnownPacks {
    fn all(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets generations that are not there any more.
    pub(super) fn keep(&self, there: &dyn Fn(&ImageRef) -> bool) {
        self.all().retain(|image, _| there(image));
    }
}

impl Store {
    /// The packs that a generation needs.
    pub(super) fn packs_of(&self, image: &ImageRef, key: &VerifyingKey) -> Result<Arc<[Pack]>, StoreError> {
        // Looked at first: when it is replaced before it is read, the next look sees another file.
        let file = self.identity(image)?;
        if let Some((known, by, packs)) = self.known.all().get(image)
            && (*known, by) == (file, key)
        {
            return Ok(Arc::clone(packs));
        }
        let packs: Arc<[Pack]> = self.manifest(image, key)?.packs.into();
        self.known.all().insert(image.clone(), (file, *key, Arc::clone(&packs)));
        Ok(packs)
    }

    /// Remembers the packs of a manifest that was just put in its place.
    pub(super) fn remember_packs(
        &self,
        image: &ImageRef,
        key: &VerifyingKey,
        packs: &[Pack],
    ) -> Result<(), StoreError> {
        match self.identity(image) {
            Ok(file) => drop(self.known.all().insert(image.clone(), (file, *key, packs.into()))),
            // Another process was quick to remove it.
            Err(StoreError::NoSuchImage(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn identity(&self, image: &ImageRef) -> Result<FileIdentity, StoreError> {
        let path = self.manifest_file(&image.name, image.generation);
        let metadata = match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NoSuchImage(image.clone()));
            }
            other => other.map_err(files::failed("reading", &path))?,
        };
        let (inode, size) = (metadata.ino().cast_signed(), metadata.size().cast_signed());
        Ok([inode, metadata.ctime(), metadata.ctime_nsec(), size])
    }
}
