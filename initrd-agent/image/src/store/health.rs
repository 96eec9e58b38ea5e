//! What an image lacks, and getting it from another store.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sysclone_protocol::names::{ImageName, ImageRef};

use super::{Store, StoreError, files};
use crate::entry::{Content, EntryKind};
use crate::id::PackId;
use crate::manifest::{Manifest, Pack};
use crate::pack::PackSource;
use crate::sign::VerifyingKey;

/// How many lost files are named.
pub(super) const NAMED_FILES: usize = 10;

/// How much is read from another store at a time.
const PIECE_BYTES: u64 = 4 << 20;

/// What a generation has lost with packs that are missing or damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hurt {
    /// The generation.
    pub image: ImageRef,
    /// How many files cannot be had whole, hard links counted once.
    pub files: u64,
    /// The first of them (raw bytes, without a leading slash), some ten.
    pub first: Vec<Vec<u8>>,
}

/// What [`Store::repair_from`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Packs that are whole here again.
    pub repaired: Vec<PackId>,
    /// Bytes of these.
    pub bytes: u64,
    /// Packs that the other store does not have whole, and why.
    pub failed: Vec<(PackId, String)>,
}

/// What these packs were needed for; nothing when no file is hurt.
pub(super) fn hurt(manifest: &Manifest, packs: &dyn Fn(&PackId) -> bool) -> Option<Hurt> {
    let in_packs = |content: Content| match content {
        Content::Chunk(chunk) => {
            let frame = manifest.chunks[chunk as usize].frame;
            packs(&manifest.packs[manifest.frames[frame as usize].pack as usize].id)
        }
        Content::Zeros(_) => false,
    };
    let mut hurt = Hurt { image: manifest.image_ref(), files: 0, first: Vec::new() };
    for entry in &manifest.entries {
        let EntryKind::File(data) = &entry.kind else { continue };
        if data.extents.iter().any(|extent| in_packs(extent.content)) {
            hurt.files += 1;
            if hurt.first.len() < NAMED_FILES {
                hurt.first.push(entry.path.clone());
            }
        }
    }
    (hurt.files > 0).then_some(hurt)
}

impl Store {
    /// The packs of a generation that are not here, or not with their size. A generation without any is whole as far
    /// as a look at the files tells; [`Store::fsck`] reads them.
    #[must_use]
    pub fn missing_packs(&self, manifest: &Manifest) -> Vec<PackId> {
        self.missing_of_these(&manifest.packs)
    }

    fn missing_of_these(&self, packs: &[Pack]) -> Vec<PackId> {
        let size =
            |id| self.pack_path(id).and_then(|path| path.metadata().ok()).map(|metadata| metadata.len());
        let missing = packs.iter().filter(|pack| size(&pack.id) != Some(pack.bytes));
        missing.map(|pack| pack.id).collect()
    }

    /// What a generation has lost; nothing when it is whole.
    ///
    /// # Errors
    /// There is no such generation, or its manifest is damaged.
    pub fn degraded(&self, image: &ImageRef, key: &VerifyingKey) -> Result<Option<Hurt>, StoreError> {
        let missing = self.missing_of_these(&self.packs_of(image, key)?);
        if missing.is_empty() {
            return Ok(None);
        }
        let manifest = self.manifest(image, key)?;
        Ok(hurt(&manifest, &|pack| missing.contains(pack)))
    }

    /// The packs that the newest generation of an image needs and that are not here: a capture on top of it may not
    /// count on them. A generation whose manifest is damaged is not built upon at all.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn lost_of_newest(&self, image: &ImageName, key: &VerifyingKey) -> Result<Vec<PackId>, StoreError> {
        let Some(generation) = self.newest(image)? else { return Ok(Vec::new()) };
        match self.packs_of(&ImageRef { name: image.clone(), generation }, key) {
            Ok(packs) => Ok(self.missing_of_these(&packs)),
            Err(StoreError::NoSuchImage(_) | StoreError::Signature { .. } | StoreError::Misplaced { .. }) => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// The packs that any generation of an image needs and that are not here. What a capture finds in these does not
    /// count as known. A generation whose manifest is damaged needs nothing.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn missing_of(&self, image: &ImageName, key: &VerifyingKey) -> Result<Vec<PackId>, StoreError> {
        let mut missing = Vec::new();
        for generation in self.generations(image)? {
            let image = ImageRef { name: image.clone(), generation };
            match self.packs_of(&image, key) {
                Ok(packs) => missing.extend(self.missing_of_these(&packs)),
                Err(
                    StoreError::NoSuchImage(_) | StoreError::Signature { .. } | StoreError::Misplaced { .. },
                ) => {}
                Err(error) => return Err(error),
            }
        }
        missing.sort_unstable();
        missing.dedup();
        Ok(missing)
    }

    /// Gets the packs that an image lacks from another store, each checked by its hash. Damaged packs that are still
    /// in their place are not seen here: [`Store::fsck`] takes them away first.
    ///
    /// # Errors
    /// This store cannot be read or written. What the other one does not have is in the report.
    pub fn repair_from(
        &self,
        image: &ImageName,
        key: &VerifyingKey,
        other: &dyn PackSource,
    ) -> Result<RepairReport, StoreError> {
        let mut report = RepairReport::default();
        for id in self.missing_of(image, key)? {
            let bytes = match other.size(&id) {
                Ok(bytes) => bytes,
                Err(error) => {
                    report.failed.push((id, error.to_string()));
                    continue;
                }
            };
            // One that is here with a wrong size is in the way.
            self.quarantine(&id)?;
            match self.put_pack(
                image,
                &id,
                &mut Whole { source: other, id, rest: 0..bytes, piece: Vec::new() },
            ) {
                Ok(_) => {
                    files::remove_one(&self.staged_directory(image), &id.to_string())?;
                    report.repaired.push(id);
                    report.bytes += bytes;
                }
                Err(error @ (StoreError::Receive { .. } | StoreError::Hash { .. })) => {
                    report.failed.push((id, chain(&error)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    /// Moves a pack to where nobody is served from, wherever it is.
    fn quarantine(&self, id: &PackId) -> Result<(), StoreError> {
        let _alone = self.removing()?;
        self.move_to_quarantine(id).map(drop)
    }

    /// Moves a pack there when it is bad; answers whether it did. Read while nobody can move it.
    pub(super) fn quarantine_bad(&self, id: &PackId) -> Result<bool, StoreError> {
        let _alone = self.removing()?;
        let good = self
            .pack_path(id)
            .is_some_and(|path| super::verify::hash_file(&path).is_ok_and(|(found, _)| found == *id));
        if good { Ok(false) } else { self.move_to_quarantine(id) }
    }

    fn move_to_quarantine(&self, id: &PackId) -> Result<bool, StoreError> {
        let mut moved = false;
        for place in [self.trash_file(id), self.pack_file(id)] {
            moved |= files::move_file(&place, &self.quarantine_file(id))?;
        }
        Ok(moved)
    }
}

/// An error and its cause on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// Packs below a directory that is only read: another store, a copy of one, or an unpacked export.
#[derive(Debug, Clone)]
pub struct PackDirectory(PathBuf);

impl PackDirectory {
    /// The packs of the store, or the export, in this directory.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self(root.join("packs"))
    }

    fn open(&self, pack: &PackId) -> io::Result<File> {
        let name = pack.to_string();
        File::open(self.0.join(&name[..2]).join(name))
    }
}

impl PackSource for PackDirectory {
    fn read(&self, pack: &PackId, range: Range<u64>) -> io::Result<Vec<u8>> {
        read_range(&self.open(pack)?, range)
    }

    fn size(&self, pack: &PackId) -> io::Result<u64> {
        Ok(self.open(pack)?.metadata()?.len())
    }
}

/// Reads exactly these bytes of a file.
pub(super) fn read_range(file: &File, range: Range<u64>) -> io::Result<Vec<u8>> {
    let len = range.end.checked_sub(range.start).and_then(|len| usize::try_from(len).ok());
    let len = len.filter(|_| file.metadata().is_ok_and(|m| range.end <= m.len()));
    let mut bytes = vec![0; len.ok_or(io::ErrorKind::UnexpectedEof)?];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

/// A whole pack of another store as something to read from.
struct Whole<'a> {
    source: &'a dyn PackSource,
    id: PackId,
    rest: Range<u64>,
    piece: Vec<u8>,
}

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && !self.rest.is_empty() {
            let end = self.rest.end.min(self.rest.start + PIECE_BYTES);
            self.piece = self.source.read(&self.id, self.rest.start..end)?;
            self.rest.start = end;
        }
        let len = self.piece.len().min(buffer.len());
        buffer[..len].copy_from_slice(&self.piece[..len]);
        self.piece.drain(..len);
        Ok(len)
    }
}
