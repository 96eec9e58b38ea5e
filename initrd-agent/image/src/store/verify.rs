//! Reads an image again, byte by byte, and says what is damaged and which files that hurts.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;

use sysclone_protocol::names::ImageRef;

use super::{Store, StoreError};
use crate::crypt::ImageKey;
use crate::entry::{Content, EntryKind};
use crate::id::{ChunkHash, PackId};
use crate::manifest::{Frame, Manifest};
use crate::pack::{FrameOpener, PackSource};
use crate::sign::VerifyingKey;

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Packs read.
    pub packs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is wrong, by pack; empty for a good image.
    pub damage: Vec<Damage>,
}

/// One damaged pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The pack.
    pub pack: PackId,
    /// What is wrong with it.
    pub what: String,
    /// Paths (raw bytes, without a leading slash) of the files whose content is lost, sorted. Empty when the damage
    /// hit no frame of this generation.
    pub files: Vec<Vec<u8>>,
}

impl Store {
    /// Reads all packs of a generation and checks their hashes; of a pack whose hash is wrong, every frame and chunk
    /// is checked to name exactly the files that are lost.
    ///
    /// # Errors
    /// The generation is not there or its manifest is damaged. Damaged packs are in the report.
    pub fn verify(
        &self,
        image: &ImageRef,
        image_key: &ImageKey,
        verifying_key: &VerifyingKey,
    ) -> Result<VerifyReport, StoreError> {
        let manifest = self.manifest(image, verifying_key)?;
        let mut report = VerifyReport::default();
        for (index, pack) in manifest.packs.iter().enumerate() {
            report.packs += 1;
            let what = match hash_file(&self.pack_path(&pack.id).unwrap_or_else(|| self.pack_file(&pack.id)))
            {
                Ok((id, bytes)) => {
                    report.bytes += bytes;
                    if id == pack.id {
                        continue;
                    }
                    format!("its bytes have the hash {id}")
                }
                Err(error) => error.to_string(),
            };
            let lost = self.lost_chunks(&manifest, index, image_key);
            report.damage.push(Damage { pack: pack.id, what, files: files_with(&manifest, &lost) });
        }
        Ok(report)
    }

    /// Indices of the chunks of this pack that cannot be had any more.
    fn lost_chunks(&self, manifest: &Manifest, pack: usize, image_key: &ImageKey) -> BTreeSet<usize> {
        let key = image_key.pack_key(&manifest.packs[pack].salt);
        let frames: HashMap<usize, &Frame> =
            manifest.frames.iter().enumerate().filter(|(_, frame)| frame.pack as usize == pack).collect();
        let mut plain: HashMap<usize, Vec<u8>> = HashMap::new();
        let mut lost = BTreeSet::new();
        for (index, chunk) in manifest.chunks.iter().enumerate() {
            let at = chunk.frame as usize;
            let Some(frame) = frames.get(&at) else { continue };
            if !plain.contains_key(&at) {
                // Chunks are ordered by frame, so the frames before this one are done with.
                plain.clear();
                plain.insert(at, self.open_frame(&manifest.packs[pack].id, &key, frame).unwrap_or_default());
            }
            let range = chunk.offset as usize..(chunk.offset + chunk.len) as usize;
            let good = plain[&at].get(range).is_some_and(|bytes| ChunkHash::of(bytes) == chunk.hash);
            if !good {
                lost.insert(index);
            }
        }
        lost
    }

    fn open_frame(&self, pack: &PackId, key: &crate::crypt::PackKey, frame: &Frame) -> Option<Vec<u8>> {
        let range = frame.offset..frame.offset + u64::from(frame.stored_len);
        let mut sealed = self.read(pack, range).ok()?;
        let mut opener = FrameOpener::new().ok()?;
        let plain = opener.open(key, frame.number, (&mut sealed, frame.plain_len)).ok()?;
        Some(plain.to_vec())
    }
}

pub(super) fn hash_file(path: &Path) -> io::Result<(PackId, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path)?)?;
    Ok((PackId(*hasher.finalize().as_bytes()), hasher.count()))
}

fn files_with(manifest: &Manifest, lost: &BTreeSet<usize>) -> Vec<Vec<u8>> {
    let hurt = |kind: &EntryKind| match kind {
        EntryKind::File(data) => data.extents.iter().any(|extent| match extent.content {
            Content::Chunk(chunk) => lost.contains(&(chunk as usize)),
            Content::Zeros(_) => false,
        }),
        EntryKind::Directory
        | EntryKind::Symlink { .. }
        | EntryKind::HardLink { .. }
        | EntryKind::CharDevice { .. }
        | EntryKind::BlockDevice { .. }
        | EntryKind::Fifo => false,
    };
    let mut files: Vec<Vec<u8>> =
        manifest.entries.iter().filter(|entry| hurt(&entry.kind)).map(|entry| entry.path.clone()).collect();
    files.sort();
    files
}
