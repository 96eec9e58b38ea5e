//! Copies frames that are whole out of packs into new ones, without compressing them again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use sysclone_protocol::names::ImageName;

use super::relocate::Place;
use super::{Store, StoreError};
use crate::crypt::{ImageKey, Part};
use crate::id::{ChunkHash, PackId};
use crate::manifest::{Chunk, Frame, MAX_CHUNK_BYTES, Manifest, Pack};
use crate::pack::{FrameOpener, IndexedChunk, PackIndex, PackWriter};

/// What manifests use of one pack.
#[derive(Debug, Clone)]
pub(super) struct Used {
    pub(super) pack: Pack,
    /// By number: the frame, and its chunks by offset.
    pub(super) frames: BTreeMap<u32, (Frame, BTreeMap<u32, Chunk>)>,
}

impl Used {
    /// Length of the used frames in the pack in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.frames.values().map(|(frame, _)| u64::from(frame.stored_len)).sum()
    }
}

/// Adds what a manifest uses of those packs.
pub(super) fn add_used(
    used: &mut HashMap<PackId, Used>,
    manifest: &Manifest,
    wanted: &dyn Fn(&PackId) -> bool,
) {
    for chunk in &manifest.chunks {
        let frame = manifest.frames[chunk.frame as usize];
        let pack = manifest.packs[frame.pack as usize];
        if wanted(&pack.id) {
            let of_pack = used.entry(pack.id).or_insert_with(|| Used { pack, frames: BTreeMap::new() });
            let (_, chunks) = of_pack.frames.entry(frame.number).or_insert_with(|| (frame, BTreeMap::new()));
            chunks.insert(chunk.offset, *chunk);
        }
    }
}

/// Copies frames into new packs of an image.
pub(super) struct Copier<'a> {
    store: &'a Store,
    image: &'a ImageName,
    key: &'a ImageKey,
    opener: FrameOpener,
    writer: Option<PackWriter>,
    /// Chunks in the pack in the making: where they will be.
    waiting: Vec<(ChunkHash, Frame, u32)>,
    /// Every chunk in the pack in the making; its index may name none twice.
    seen: HashSet<ChunkHash>,
    /// Where the copied chunks are.
    pub(super) places: HashMap<ChunkHash, Place>,
    /// The packs that were made.
    pub(super) made: Vec<PackIndex>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(store: &'a Store, image: &'a ImageName, key: &'a ImageKey) -> Result<Self, StoreError> {
        Ok(Self {
            store,
            image,
            key,
            opener: FrameOpener::new().map_err(|source| pack_failed(store, source))?,
            writer: None,
            waiting: Vec::new(),
            seen: HashSet::new(),
            places: HashMap::new(),
            made: Vec::new(),
        })
    }

    /// Copies a frame whose sealed bytes are given, if one of its chunks is whole and wanted; answers whether all of
    /// its chunks are whole.
    pub(super) fn copy(
        &mut self,
        pack: &Pack,
        (frame, chunks): (&Frame, &BTreeMap<u32, Chunk>),
        sealed: &[u8],
    ) -> Result<bool, StoreError> {
        let pack_key = self.key.pack_key(&pack.salt);
        let mut buffer = sealed.to_vec();
        let Ok(plain) = self.opener.open(&pack_key, frame.number, (&mut buffer, frame.plain_len)) else {
            return Ok(false);
        };
        let good: Vec<&Chunk> = chunks.values().filter(|chunk| is_whole(chunk, plain)).collect();
        let index = index_of(plain, &good);
        let all_good = good.len() == chunks.len();
        let good: Vec<Chunk> =
            good.into_iter().filter(|chunk| !self.places.contains_key(&chunk.hash)).copied().collect();
        if good.is_empty() {
            return Ok(all_good);
        }
        let mut packed = sealed.to_vec();
        let packed = pack_key.open(Part::Frame(frame.number), &mut packed).expect("it was opened just now");
        let doubled = index.iter().any(|chunk| self.seen.contains(&chunk.hash));
        if doubled || self.writer.as_ref().is_some_and(|writer| writer.is_full_for(packed.len())) {
            self.finish()?;
        }
        self.seen.extend(index.iter().map(|chunk| chunk.hash));
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(
                PackWriter::new(self.key)
                    .map_err(|error| pack_failed(self.store, io::Error::other(error)))?,
            ),
        };
        let (number, offset, stored_len) = writer.push(packed.to_vec(), index);
        let copied = Frame { pack: 0, number, offset, stored_len, plain_len: frame.plain_len };
        self.waiting.extend(good.iter().map(|chunk| (chunk.hash, copied, chunk.offset)));
        Ok(all_good)
    }

    /// Puts the pack in the making into the store.
    pub(super) fn finish(&mut self) -> Result<(), StoreError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let (index, bytes) = writer.finish().map_err(|source| pack_failed(self.store, source))?;
        self.store.put_pack(self.image, &index.id, &mut &bytes[..])?;
        let pack = Pack { id: index.id, bytes: index.bytes, salt: index.salt };
        for (hash, frame, offset) in self.waiting.drain(..) {
            self.places.insert(hash, Place { pack, frame, offset });
        }
        self.seen.clear();
        self.made.push(index);
        Ok(())
    }
}

fn pack_failed(store: &Store, source: io::Error) -> StoreError {
    super::files::failed("making a pack in", &store.root)(source)
}

fn is_whole(chunk: &Chunk, plain: &[u8]) -> bool {
    let range = chunk.offset as usize..(chunk.offset as usize).saturating_add(chunk.len as usize);
    plain.get(range).is_some_and(|bytes| ChunkHash::of(bytes) == chunk.hash)
}

/// The index of a frame: its known chunks, and what is between them as chunks of their own.
fn index_of(plain: &[u8], known: &[&Chunk]) -> Vec<IndexedChunk> {
    let mut index = Vec::new();
    let mut at = 0;
    for chunk in known {
        // Two manifests that disagree about a pack: one of them is not whole anyway.
        if (chunk.offset as usize) < at {
            continue;
        }
        index.extend(unnamed(&plain[at..chunk.offset as usize]));
        index.push(IndexedChunk { hash: chunk.hash, len: chunk.len });
        at = (chunk.offset + chunk.len) as usize;
    }
    index.extend(unnamed(&plain[at..]));
    index
}

fn unnamed(bytes: &[u8]) -> impl Iterator<Item = IndexedChunk> {
    bytes.chunks(MAX_CHUNK_BYTES as usize).map(|piece| IndexedChunk {
        hash: ChunkHash::of(piece),
        len: u32::try_from(piece.len()).expect("a piece is as long as a chunk at most"),
    })
}
