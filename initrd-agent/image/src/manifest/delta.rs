//! A manifest as its difference from the generation before, so that a capture of a little change sends little.
//!
//! All indices of a manifest move when one record goes, so bytes are not compared but tables: each is told as runs of
//! the earlier table's records and new records between them, packs first, because frames name packs, chunks name
//! frames, and entries name chunks. Both sides renumber the earlier records in the same way.
//!
//! Encoded form: 8 bytes magic, `u16` format, digest of the earlier manifest, digest of the new one, `u64` length of
//! the plain bytes (integers little-endian), then the plain bytes, postcard of [`Written`]'s fields, as one zstd stream.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::Read as _;

use serde::{Deserialize, Serialize};

use super::codec::{LEVEL, MAX_PLAIN_BYTES, from_json, to_json, unpack as unpack_manifest};
use super::{Chunk, Frame, Header, Manifest, ManifestError, Pack};
use crate::entry::{Content, Entry, EntryKind};
use crate::id::ManifestDigest;

/// First bytes of a difference.
const MAGIC: [u8; 8] = *b"SYSCDIF\n";
/// The format that this version writes and reads.
const FORMAT: u16 = 1;

/// Why bytes were refused as a difference.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// Wrong magic, format or length.
    #[error("this is not a difference of manifests in the format that this version reads")]
    NotDelta,
    /// It belongs to another manifest than the one at hand.
    #[error("the difference is from another generation than the newest")]
    OtherBase,
    /// The compressed stream is damaged.
    #[error("unpacking the difference")]
    Compression(#[source] std::io::Error),
    /// The plain bytes are not a difference's.
    #[error("reading the difference's fields")]
    Fields(#[source] postcard::Error),
    /// It names what the earlier manifest does not have, or twice.
    #[error("the difference does not fit the generation before")]
    Misfit,
    /// What it makes is not a manifest.
    #[error("what the difference makes is no manifest")]
    Manifest(#[from] ManifestError),
    /// What it makes is another manifest than the one it was made for.
    #[error("the difference does not make the manifest that it states")]
    Digest,
}

/// Records of a table, in order.
#[derive(Serialize, Deserialize)]
enum Run<T> {
    /// So many of the earlier table's records from here on, renumbered.
    Same { from: u32, count: u32 },
    /// Records of which the earlier table has no equal.
    New(Vec<T>),
}

#[derive(Serialize, Deserialize)]
struct Written {
    header: Header,
    #[serde(with = "serde_bytes")]
    layout: Vec<u8>,
    #[serde(with = "serde_bytes")]
    boot: Vec<u8>,
    packs: Vec<Run<Pack>>,
    frames: Vec<Run<Frame>>,
    chunks: Vec<Run<Chunk>>,
    entries: Vec<Run<Entry>>,
}

/// The new index of each record of the earlier table; none for those that are gone or not yet met.
struct Numbers(Vec<Option<u32>>);

impl Numbers {
    fn of<T>(table: &[T]) -> Self {
        Self(vec![None; table.len()])
    }

    fn get(&self, index: u32) -> Option<u32> {
        *self.0.get(index as usize)?
    }
}

fn frame_now(frame: &Frame, packs: &Numbers) -> Option<Frame> {
    Some(Frame { pack: packs.get(frame.pack)?, ..*frame })
}

fn chunk_now(chunk: &Chunk, frames: &Numbers) -> Option<Chunk> {
    Some(Chunk { frame: frames.get(chunk.frame)?, ..*chunk })
}

fn entry_now(entry: &Entry, chunks: &Numbers, entries: &Numbers) -> Option<Entry> {
    let mut entry = entry.clone();
    match &mut entry.kind {
        EntryKind::File(data) => {
            for extent in &mut data.extents {
                if let Content::Chunk(chunk) = &mut extent.content {
                    *chunk = chunks.get(*chunk)?;
                }
            }
        }
        EntryKind::HardLink { first } => *first = entries.get(*first)?,
        EntryKind::Directory
        | EntryKind::Symlink { .. }
        | EntryKind::CharDevice { .. }
        | EntryKind::BlockDevice { .. }
        | EntryKind::Fifo => {}
    }
    Some(entry)
}

/// The table `new` as runs over `old`, and where the records of `old` are now. `now` is an earlier record as it would
/// be in the new table; `key` tells records apart.
fn runs<T: Clone + PartialEq, Key: Hash + Eq>(
    (old, new): (&[T], &[T]),
    now: impl Fn(&T, &Numbers) -> Option<T>,
    key: impl Fn(&T) -> Key,
) -> (Vec<Run<T>>, Numbers) {
    let mut numbers = Numbers::of(old);
    let mut runs = Vec::new();
    let mut places: Option<HashMap<Key, usize>> = None;
    let mut next = 0;
    for (index, record) in (0..).zip(new) {
        let fits = |at: usize, numbers: &Numbers| {
            let free = numbers.0.get(at).is_some_and(Option::is_none);
            free && old.get(at).and_then(|old| now(old, numbers)).as_ref() == Some(record)
        };
        let mut at = next;
        if !fits(at, &numbers) {
            // Only now is it worth knowing where everything is.
            let places = places.get_or_insert_with(|| old.iter().map(&key).zip(0..).collect());
            at = places.get(&key(record)).copied().unwrap_or(old.len());
        }
        if !fits(at, &numbers) {
            match runs.last_mut() {
                Some(Run::New(records)) => records.push(record.clone()),
                Some(Run::Same { .. }) | None => runs.push(Run::New(vec![record.clone()])),
            }
            continue;
        }
        numbers.0[at] = Some(index);
        let number = u32::try_from(at).expect("tables are indexed with 32 bits");
        match runs.last_mut() {
            Some(Run::Same { from, count }) if *from + *count == number => *count += 1,
            Some(_) | None => runs.push(Run::Same { from: number, count: 1 }),
        }
        next = at + 1;
    }
    (runs, numbers)
}

/// The table that `runs` makes of `old`, and where the records of `old` are now.
fn table<T>(
    old: &[T],
    runs: Vec<Run<T>>,
    now: impl Fn(&T, &Numbers) -> Option<T>,
) -> Result<(Vec<T>, Numbers), DeltaError> {
    let mut numbers = Numbers::of(old);
    let mut new = Vec::new();
    for run in runs {
        match run {
            Run::New(records) => new.extend(records),
            Run::Same { from, count } => {
                for at in from..from.checked_add(count).ok_or(DeltaError::Misfit)? {
                    let record = old.get(at as usize).and_then(|old| now(old, &numbers));
                    let index = u32::try_from(new.len()).map_err(|_| DeltaError::Misfit)?;
                    new.push(record.ok_or(DeltaError::Misfit)?);
                    // Each once, so that few bytes never make a large table.
                    if numbers.0[at as usize].replace(index).is_some() {
                        return Err(DeltaError::Misfit);
                    }
                }
            }
        }
    }
    Ok((new, numbers))
}

impl Manifest {
    /// What tells this manifest from every other: the hash of its plain bytes, however they were compressed.
    #[must_use]
    pub fn digest(&self) -> ManifestDigest {
        ManifestDigest::of(&self.plain())
    }

    /// The digest of the manifest in unsigned bytes, which are not checked further.
    ///
    /// # Errors
    /// The bytes cannot be unpacked.
    pub fn digest_of(unsigned: &[u8]) -> Result<ManifestDigest, ManifestError> {
        unpack_manifest(unsigned).map(|plain| ManifestDigest::of(&plain))
    }

    /// This manifest as its difference from `base`, for [`Manifest::from_delta`].
    #[must_use]
    pub fn delta(&self, base: &Self) -> Vec<u8> {
        let plain = self.delta_fields(base);
        let packed = zstd::bulk::compress(&plain, LEVEL).expect("compressing into memory does not fail");
        let len = (plain.len() as u64).to_le_bytes();
        [&MAGIC, &FORMAT.to_le_bytes()[..], &base.digest().0, &self.digest().0, &len, &packed].concat()
    }

    /// The plain bytes of the difference.
    pub(crate) fn delta_fields(&self, base: &Self) -> Vec<u8> {
        let (packs, pack_numbers) = runs((&base.packs, &self.packs), |pack, _| Some(*pack), |pack| pack.id);
        let (frames, frame_numbers) = runs(
            (&base.frames, &self.frames),
            |frame, _| frame_now(frame, &pack_numbers),
            |frame| (frame.number, frame.offset, frame.stored_len),
        );
        let (chunks, chunk_numbers) = runs(
            (&base.chunks, &self.chunks),
            |chunk, _| chunk_now(chunk, &frame_numbers),
            |chunk| chunk.hash,
        );
        let (entries, _) = runs(
            (&base.entries, &self.entries),
            |entry, numbers| entry_now(entry, &chunk_numbers, numbers),
            |entry| entry.path.clone(),
        );
        let (layout, boot) = (to_json(&self.layout), to_json(&self.boot));
        let written = Written { header: self.header.clone(), layout, boot, packs, frames, chunks, entries };
        postcard::to_stdvec(&written).expect("all sequences have known lengths")
    }

    /// The manifest whose difference from `base` this is. Safe on bytes from anybody.
    ///
    /// # Errors
    /// The bytes are not a difference, one from another manifest than `base`, or do not make the manifest they state.
    pub fn from_delta(base: &Self, bytes: &[u8]) -> Result<Self, DeltaError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(DeltaError::NotDelta)?;
        let rest = rest.strip_prefix(&FORMAT.to_le_bytes()).ok_or(DeltaError::NotDelta)?;
        let (before, rest) = rest.split_first_chunk().ok_or(DeltaError::NotDelta)?;
        let (after, rest) = rest.split_first_chunk().ok_or(DeltaError::NotDelta)?;
        let (len, packed) = rest.split_first_chunk().ok_or(DeltaError::NotDelta)?;
        if ManifestDigest(*before) != base.digest() {
            return Err(DeltaError::OtherBase);
        }
        let manifest = Written::read(&unpack(u64::from_le_bytes(*len), packed)?)?.onto(base)?;
        if manifest.digest() == ManifestDigest(*after) { Ok(manifest) } else { Err(DeltaError::Digest) }
    }
}

fn unpack(len: u64, packed: &[u8]) -> Result<Vec<u8>, DeltaError> {
    if len > MAX_PLAIN_BYTES {
        return Err(DeltaError::NotDelta);
    }
    let decoder = zstd::stream::Decoder::with_buffer(packed).map_err(DeltaError::Compression)?;
    let mut plain = Vec::new();
    decoder.single_frame().take(len + 1).read_to_end(&mut plain).map_err(DeltaError::Compression)?;
    if plain.len() as u64 == len { Ok(plain) } else { Err(DeltaError::NotDelta) }
}

impl Written {
    fn read(plain: &[u8]) -> Result<Self, DeltaError> {
        match postcard::take_from_bytes(plain) {
            Ok((written, [])) => Ok(written),
            Ok(_) => Err(DeltaError::NotDelta),
            Err(error) => Err(DeltaError::Fields(error)),
        }
    }

    /// Makes the manifest and checks it as every manifest.
    fn onto(self, base: &Manifest) -> Result<Manifest, DeltaError> {
        let (packs, pack_numbers) = table(&base.packs, self.packs, |pack, _| Some(*pack))?;
        let (frames, frame_numbers) =
            table(&base.frames, self.frames, |frame, _| frame_now(frame, &pack_numbers))?;
        let (chunks, chunk_numbers) =
            table(&base.chunks, self.chunks, |chunk, _| chunk_now(chunk, &frame_numbers))?;
        let (entries, _) =
            table(&base.entries, self.entries, |entry, numbers| entry_now(entry, &chunk_numbers, numbers))?;
        let manifest = Manifest {
            header: self.header,
            layout: from_json(&self.layout, "layout")?,
            boot: from_json(&self.boot, "boot facts")?,
            entries,
            chunks,
            frames,
            packs,
        };
        super::check::check(&manifest)?;
        Ok(manifest)
    }
}

/// What fuzzing calls: the manifest that the plain bytes of a difference make of `base`.
#[cfg(any(test, fuzzing))]
pub(crate) fn apply_delta_fields(base: &Manifest, plain: &[u8]) -> Option<Manifest> {
    Written::read(plain).ok()?.onto(base).ok()
}

#[cfg(test)]
#[path = "delta_tests.rs"]
mod tests;
