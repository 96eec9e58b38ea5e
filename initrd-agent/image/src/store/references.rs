//! What points at generations: tags, and the newest; and how they go back or away.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::SystemTime;

use sysclone_protocol::names::{ImageName, ImageRef, ImageSelector, Pick, TagName};

use super::{Store, StoreError, files};
use crate::manifest::{Header, Manifest};
use crate::sign::{SigningKey, VerifyingKey};

/// What keeps a generation from being removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// It has this tag.
    Tag(TagName),
    /// It is in use, by what these words say.
    Pin(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "the tag '{tag}'"),
            Self::Pin(holder) => f.write_str(holder),
        }
    }
}

impl Store {
    fn tag_directory(&self, image: &ImageName) -> PathBuf {
        self.root.join("tags").join(image.as_str())
    }

    /// The generation that is meant.
    ///
    /// # Errors
    /// There is none, or the store cannot be read.
    pub fn resolve(&self, selector: &ImageSelector) -> Result<ImageRef, StoreError> {
        let image = &selector.name;
        let generation = match &selector.pick {
            Pick::Newest => self.newest(image)?.ok_or_else(|| StoreError::NoGeneration(image.clone()))?,
            Pick::Generation(generation) => *generation,
            Pick::Tag(tag) => self
                .read_number(&self.tag_directory(image).join(tag.as_str()))?
                .ok_or_else(|| StoreError::NoSuchTag { image: image.clone(), tag: tag.clone() })?,
        };
        let image = ImageRef { name: image.clone(), generation };
        self.require_generation(&image)?;
        Ok(image)
    }

    pub(super) fn require_generation(&self, image: &ImageRef) -> Result<(), StoreError> {
        if self.manifest_file(&image.name, image.generation).is_file() {
            Ok(())
        } else {
            Err(StoreError::NoSuchImage(image.clone()))
        }
    }

    /// The tags of an image and the generations that have them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn tags(&self, image: &ImageName) -> Result<BTreeMap<TagName, u32>, StoreError> {
        let directory = self.tag_directory(image);
        let mut tags = BTreeMap::new();
        for name in files::names(&directory)? {
            let Ok(tag) = name.parse::<TagName>() else { continue };
            // One that was taken off since is none.
            if let Some(generation) = self.read_number(&directory.join(&name))? {
                tags.insert(tag, generation);
            }
        }
        Ok(tags)
    }

    /// Puts a tag on a generation, taking it off the one that had it; answers which that was.
    ///
    /// # Errors
    /// There is no such generation, or the disk refused it; the tag is then where it was.
    pub fn tag(&self, image: &ImageRef, tag: &TagName) -> Result<Option<u32>, StoreError> {
        let _named = self.naming()?;
        self.require_generation(image)?;
        let path = self.tag_directory(&image.name).join(tag.as_str());
        let before = self.read_number(&path)?;
        if before != Some(image.generation) {
            self.write_small(&path, &format!("{}\n", image.generation))?;
        }
        Ok(before)
    }

    /// Takes a tag off; answers which generation had it.
    ///
    /// # Errors
    /// There is no such tag, or the disk refused it.
    pub fn untag(&self, image: &ImageName, tag: &TagName) -> Result<u32, StoreError> {
        let _alone = self.removing()?;
        let path = self.tag_directory(image).join(tag.as_str());
        let before = self.read_number(&path)?;
        let before =
            before.ok_or_else(|| StoreError::NoSuchTag { image: image.clone(), tag: tag.clone() })?;
        files::remove_durably(&path)?;
        files::remove_empty(&self.tag_directory(image))?;
        Ok(before)
    }

    /// Makes the content of an older generation the newest one again, under a new number. What came between stays in
    /// the history. Nothing is made when the newest has that content already; the answer is the newest either way.
    ///
    /// # Errors
    /// The generation is not there, is damaged or lacks packs, or the disk refused it.
    pub fn rollback(&self, image: &ImageRef, key: &SigningKey) -> Result<ImageRef, StoreError> {
        let mut manifest = self.manifest(image, &key.verifying_key())?;
        let _named = self.naming()?;
        self.require_packs(&image.name, &manifest)?;
        let _one_at_a_time = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(generation) = self.newest(&image.name)? {
            let newest = ImageRef { name: image.name.clone(), generation };
            // A newest one that cannot be read is a good reason to go back.
            if self.has_content(&newest, &manifest, &key.verifying_key()) {
                return Ok(newest);
            }
        }
        manifest.header.parent = Some(image.generation);
        self.publish(&mut manifest, self.last_number(&image.name)? + 1, key)?;
        Ok(manifest.image_ref())
    }

    /// Whether a generation has this content, whatever its number; not when it cannot be read.
    pub(super) fn has_content(&self, image: &ImageRef, content: &Manifest, key: &VerifyingKey) -> bool {
        let header = without_numbers(content.header.clone());
        let same = |manifest: Manifest| {
            without_numbers(manifest.header.clone()) == header
                && Manifest { header: content.header.clone(), ..manifest } == *content
        };
        // The header tells nearly all apart, and is read in a fraction of the time.
        self.header(image, key).is_ok_and(|other| without_numbers(other) == header)
            && self.manifest(image, key).is_ok_and(same)
    }

    /// What keeps a generation from being removed at this time.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn holders(&self, image: &ImageRef, now: SystemTime) -> Result<Vec<Holder>, StoreError> {
        let tags = self.tags(&image.name)?.into_iter();
        let tags = tags.filter(|(_, at)| *at == image.generation).map(|(tag, _)| Holder::Tag(tag));
        let pins = self.pins(&image.name, now)?.into_iter();
        let pins = pins.filter(|pin| pin.generation == image.generation).map(|pin| Holder::Pin(pin.holder));
        Ok(tags.chain(pins).collect())
    }

    /// Removes one generation. Its packs stay until [`Store::gc`] finds that nothing names them; its number is not
    /// given again.
    ///
    /// # Errors
    /// There is no such generation, something holds it ([`StoreError::InUse`]), or the disk refused it.
    pub fn remove(&self, image: &ImageRef, now: SystemTime) -> Result<(), StoreError> {
        let _alone = self.removing()?;
        self.require_generation(image)?;
        self.require_free(image, now)?;
        self.remove_generation(image)?;
        self.forget_empty(&image.name)
    }

    /// Removes an image with all its generations; answers which they were. Broken off, it has removed the oldest.
    ///
    /// # Errors
    /// The image has no generation, something holds one of them (then none is removed), or the disk refused it.
    pub fn remove_image(&self, image: &ImageName, now: SystemTime) -> Result<Vec<u32>, StoreError> {
        let _alone = self.removing()?;
        let generations = self.generations(image)?;
        if generations.is_empty() {
            return Err(StoreError::NoGeneration(image.clone()));
        }
        let images =
            generations.iter().map(|generation| ImageRef { name: image.clone(), generation: *generation });
        let images: Vec<ImageRef> = images.collect();
        for image in &images {
            self.require_free(image, now)?;
        }
        for image in &images {
            self.remove_generation(image)?;
        }
        self.forget_empty(image)?;
        Ok(generations)
    }

    fn require_free(&self, image: &ImageRef, now: SystemTime) -> Result<(), StoreError> {
        let by = self.holders(image, now)?;
        if by.is_empty() { Ok(()) } else { Err(StoreError::InUse { image: image.clone(), by }) }
    }

    /// The store's lock must be held alone.
    pub(super) fn remove_generation(&self, image: &ImageRef) -> Result<(), StoreError> {
        self.keep_last_number(&image.name)?;
        files::remove_durably(&self.manifest_file(&image.name, image.generation)).map(drop)
    }

    fn forget_empty(&self, image: &ImageName) -> Result<(), StoreError> {
        files::remove_empty(&self.manifest_directory(image))?;
        files::remove_empty(&self.tag_directory(image))
    }
}

/// What is the same when two generations differ in nothing but their numbers.
fn without_numbers(header: Header) -> Header {
    Header { generation: 0, parent: None, ..header }
}
