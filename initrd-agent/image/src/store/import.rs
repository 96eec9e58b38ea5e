//! Takes in what [`Store::export`] wrote. Nothing is believed: the manifests' signatures are checked with a key that
//! the administrator accepts, packs by their hashes, and generations appear last, signed anew by this server.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::path::{Component, Path};
use std::sync::PoisonError;

use sysclone_protocol::names::{ImageName, ImageRef};

use super::export::{ExportHead, FORMAT, HEAD_NAME};
use super::{PutOutcome, Store, StoreError, files};
use crate::crypt::ImageKey;
use crate::id::PackId;
use crate::manifest::Manifest;
use crate::pack::read_index;
use crate::sign::{self, SigningKey, VerifyingKey};

/// Longest head; one that names a million generations is far below.
const MAX_HEAD_BYTES: u64 = 16 << 20;
/// Longest manifest, as for captures.
const MAX_MANIFEST_BYTES: u64 = 1 << 30;

/// What is to be done with an export, once its head is known.
pub struct Accept {
    /// The name that the image gets here.
    pub image: ImageName,
    /// The key that opens its packs; the caller keeps it for this image.
    pub image_key: ImageKey,
    /// The public key of the server that made it. Taking this from the head means to trust whoever made the file.
    pub manifest_key: VerifyingKey,
}

/// What was imported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// The generations as they are called here, oldest first. One that was here already is not made twice.
    pub images: Vec<ImageRef>,
    /// Packs that are new.
    pub new_packs: u64,
    /// Bytes of these.
    pub new_bytes: u64,
    /// Packs that were here already and were passed over.
    pub known_packs: u64,
}

impl Store {
    /// Imports an archive. `accept` sees its head and says how, or why not. Broken off, what arrived is kept as for
    /// an interrupted capture, and the next import of it passes over that.
    ///
    /// # Errors
    /// It is no whole export, it was refused, a signature, hash or key does not fit, or the disk is full. No
    /// generation is made then, or, when the disk fills at the very end, only the oldest.
    pub fn import(
        &self,
        from: &mut dyn Read,
        key: &SigningKey,
        accept: &mut dyn FnMut(&ExportHead) -> Result<Accept, String>,
    ) -> Result<ImportReport, StoreError> {
        let mut archive = tar::Archive::new(from);
        let mut entries = archive.entries().map_err(StoreError::Import)?;
        let head = read_head(entries.next())?;
        let refused = |why| StoreError::Refused { image: head.image.clone(), why };
        let accepted = accept(&head).map_err(refused)?;
        let mut importing = Importing {
            store: self,
            head: &head,
            accepted: &accepted,
            manifests: BTreeMap::new(),
            needed: HashMap::new(),
            report: ImportReport::default(),
        };
        for entry in entries {
            importing.take(entry.map_err(StoreError::Import)?)?;
        }
        importing.finish(key)
    }

    /// Makes a generation of an imported manifest, unless one with its content is there. It keeps its number when
    /// that is free.
    fn adopt(&self, mut manifest: Manifest, key: &SigningKey) -> Result<ImageRef, StoreError> {
        let image = manifest.header.image.clone();
        let _named = self.naming()?;
        self.require_packs(&image, &manifest)?;
        let _one_at_a_time = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        for generation in self.generations(&image)?.into_iter().rev() {
            let there = ImageRef { name: image.clone(), generation };
            if self.has_content(&there, &manifest, &key.verifying_key()) {
                return Ok(there);
            }
        }
        let number = manifest.header.generation;
        let first = number.max(self.last_number(&image)? + 1);
        if first != number {
            // It says nothing about the numbers here.
            manifest.header.parent = None;
        }
        self.publish(&mut manifest, first, key)?;
        for pack in &manifest.packs {
            files::remove_one(&self.staged_directory(&image), &pack.id.to_string())?;
        }
        Ok(manifest.image_ref())
    }
}

fn wrong(what: &str) -> StoreError {
    StoreError::Import(io::Error::new(io::ErrorKind::InvalidData, what))
}

fn read_head<R: Read>(first: Option<io::Result<tar::Entry<'_, R>>>) -> Result<ExportHead, StoreError> {
    let mut first = first.ok_or_else(|| wrong("it is empty"))?.map_err(StoreError::Import)?;
    if first.path().map_err(StoreError::Import)? != Path::new(HEAD_NAME) {
        return Err(wrong("it is not an export of sysclone"));
    }
    let bytes = read_small(&mut first, MAX_HEAD_BYTES)?;
    let head: ExportHead =
        serde_json::from_slice(&bytes).map_err(|error| StoreError::Import(error.into()))?;
    if head.format == FORMAT { Ok(head) } else { Err(wrong("a later version of sysclone wrote it")) }
}

fn read_small<R: Read>(entry: &mut tar::Entry<'_, R>, most: u64) -> Result<Vec<u8>, StoreError> {
    let len = entry.size();
    if len > most {
        return Err(wrong("a file in it is too large"));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(StoreError::Import)?;
    if bytes.len() as u64 == len { Ok(bytes) } else { Err(wrong("it is cut off")) }
}

/// An import that is under way.
struct Importing<'a> {
    store: &'a Store,
    head: &'a ExportHead,
    accepted: &'a Accept,
    /// By number; as they came, because they are small so.
    manifests: BTreeMap<u32, Vec<u8>>,
    /// Packs that the manifests name, and their sizes.
    needed: HashMap<PackId, u64>,
    report: ImportReport,
}

impl Importing<'_> {
    fn take<R: Read>(&mut self, mut entry: tar::Entry<'_, R>) -> Result<(), StoreError> {
        let path = entry.path().map_err(StoreError::Import)?.into_owned();
        let words: Option<Vec<&str>> = path
            .components()
            .map(|component| match component {
                Component::Normal(name) => name.to_str(),
                Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
            })
            .collect();
        if !entry.header().entry_type().is_file() {
            return Err(wrong("there is something else than files in it"));
        }
        match words.as_deref() {
            Some(["manifests", _, number]) => self.take_manifest(number, &mut entry),
            Some(["packs", _, id]) => self.take_pack(id, &mut entry),
            // Of a later version, which changes the format's number when it matters.
            Some(_) | None => Ok(()),
        }
    }

    fn take_manifest<R: Read>(
        &mut self,
        number: &str,
        entry: &mut tar::Entry<'_, R>,
    ) -> Result<(), StoreError> {
        let sealed = read_small(entry, MAX_MANIFEST_BYTES)?;
        let manifest = self.open(&sealed)?;
        let generation = manifest.header.generation;
        let promised = self.head.generations.contains(&generation);
        if manifest.header.image != self.head.image || number != generation.to_string() || !promised {
            return Err(wrong("a manifest in it is not the one that its name says"));
        }
        self.needed.extend(manifest.packs.iter().map(|pack| (pack.id, pack.bytes)));
        self.manifests.insert(generation, sealed);
        Ok(())
    }

    fn open(&self, sealed: &[u8]) -> Result<Manifest, StoreError> {
        sign::open(sealed, &self.accepted.manifest_key).map_err(|error| StoreError::Refused {
            image: self.head.image.clone(),
            why: super::health::chain(&error),
        })
    }

    fn take_pack<R: Read>(&mut self, id: &str, entry: &mut tar::Entry<'_, R>) -> Result<(), StoreError> {
        let id: PackId = id.parse().map_err(|_| wrong("a pack in it has no pack's name"))?;
        if self.needed.get(&id) != Some(&entry.size()) {
            return Err(wrong("there is a pack in it that no manifest before it names"));
        }
        match self.store.put_pack(&self.accepted.image, &id, entry)? {
            PutOutcome::AlreadyThere => self.report.known_packs += 1,
            PutOutcome::Stored(bytes) => {
                self.report.new_packs += 1;
                self.report.new_bytes += bytes;
            }
        }
        read_index(self.store, &id, &self.accepted.image_key).map(drop).map_err(|error| StoreError::Refused {
            image: self.head.image.clone(),
            why: format!("the image's key does not open it: {error}"),
        })
    }

    fn finish(mut self, key: &SigningKey) -> Result<ImportReport, StoreError> {
        if !self.head.generations.iter().all(|generation| self.manifests.contains_key(generation)) {
            return Err(wrong("it is cut off"));
        }
        // All packs of all generations first, so that nothing is made of an export that is not whole.
        for sealed in self.manifests.values() {
            let manifest = self.open(sealed)?;
            let missing = self.store.missing_packs(&manifest);
            if let Some(first) = missing.first() {
                let image = self.accepted.image.clone();
                return Err(StoreError::MissingPacks { image, missing: missing.len(), first: *first });
            }
        }
        for sealed in self.manifests.values() {
            let mut manifest = self.open(sealed)?;
            manifest.header.image = self.accepted.image.clone();
            self.report.images.push(self.store.adopt(manifest, key)?);
        }
        Ok(self.report)
    }
}
