//! Gathers new chunks into frames and frames into packs, and knows every chunk that need not be sent.

use std::collections::HashMap;
use std::io;

use super::CaptureError;
use super::still::Seen;
use crate::crypt::ImageKey;
use crate::entry::{Content, Extent};
use crate::id::{ChunkHash, PackId};
use crate::manifest::{Chunk, Frame, Manifest, Pack};
use crate::pack::{IndexedChunk, PackIndex, PackWriter};

/// A frame is closed when the next chunk would take it past this: enough content for zstd to learn from, little
/// enough that a frame is fetched, checked and forgotten in memory by every worker.
const FRAME_BYTES: usize = 1 << 20;

/// The chunk, frame and pack tables of a capture in progress.
///
/// Indices do not change while the capture runs; [`crate::tables`] drops what ended up unused.
pub(super) struct Assembler<'a> {
    key: &'a ImageKey,
    pub chunks: Vec<Chunk>,
    pub frames: Vec<Frame>,
    pub packs: Vec<Pack>,
    known: HashMap<ChunkHash, u32>,
    plain: Vec<u8>,
    /// First chunk of the frame in the making.
    frame_start: usize,
    pack: Option<PackWriter>,
    /// Chunks of each frame that is not yet in a pack, in order.
    unpacked: std::collections::VecDeque<(u32, std::ops::Range<usize>)>,
}

fn index(len: usize) -> Result<u32, CaptureError> {
    u32::try_from(len).map_err(|_| CaptureError::TooLarge)
}

impl<'a> Assembler<'a> {
    pub(super) fn new(key: &'a ImageKey) -> Self {
        Self {
            key,
            chunks: Vec::new(),
            frames: Vec::new(),
            packs: Vec::new(),
            known: HashMap::new(),
            plain: Vec::with_capacity(FRAME_BYTES),
            frame_start: 0,
            pack: None,
            unpacked: std::collections::VecDeque::new(),
        }
    }

    /// Takes over the tables of the generation before; its indices stay valid. Must come first.
    pub(super) fn add_parent(&mut self, parent: &Manifest) {
        self.packs.clone_from(&parent.packs);
        self.frames.clone_from(&parent.frames);
        self.chunks.clone_from(&parent.chunks);
        for (index, chunk) in (0..).zip(&self.chunks) {
            self.known.insert(chunk.hash, index);
        }
        self.frame_start = self.chunks.len();
    }

    /// Takes over what an interrupted capture left.
    pub(super) fn add_staged(&mut self, staged: &PackIndex) -> Result<(), CaptureError> {
        if self.packs.iter().any(|pack| pack.id == staged.id) {
            return Ok(());
        }
        let pack = index(self.packs.len())?;
        self.packs.push(Pack { id: staged.id, bytes: staged.bytes, salt: staged.salt });
        for (number, indexed) in (0..).zip(&staged.frames) {
            let frame = index(self.frames.len())?;
            let (offset, stored_len, plain_len) = (indexed.offset, indexed.stored_len, indexed.plain_len());
            self.frames.push(Frame { pack, number, offset, stored_len, plain_len });
            let mut offset = 0;
            for chunk in &indexed.chunks {
                let position = index(self.chunks.len())?;
                self.chunks.push(Chunk { hash: chunk.hash, len: chunk.len, frame, offset });
                self.known.entry(chunk.hash).or_insert(position);
                offset += chunk.len;
            }
        }
        self.frame_start = self.chunks.len();
        Ok(())
    }

    /// The index of the chunk with this content. A new one goes into the frame in the making; `full` takes frames
    /// that are complete by that.
    pub(super) fn chunk(
        &mut self,
        hash: ChunkHash,
        content: &[u8],
        full: &mut Vec<Vec<u8>>,
    ) -> Result<u32, CaptureError> {
        if let Some(known) = self.known.get(&hash) {
            return Ok(*known);
        }
        if self.plain.len() + content.len() > FRAME_BYTES {
            full.extend(self.close_frame()?);
        }
        let position = index(self.chunks.len())?;
        let frame = index(self.frames.len())?;
        let len = u32::try_from(content.len()).expect("a chunk is at most half a MiB");
        let offset = u32::try_from(self.plain.len()).expect("a frame is about a MiB");
        self.chunks.push(Chunk { hash, len, frame, offset });
        self.known.insert(hash, position);
        self.plain.extend_from_slice(content);
        Ok(position)
    }

    /// What an extent holds, to compare a file with later.
    pub(super) fn seen(&self, extent: &Extent) -> Seen {
        match extent.content {
            Content::Chunk(index) => {
                let chunk = &self.chunks[index as usize];
                (extent.offset, u64::from(chunk.len), Some(chunk.hash))
            }
            Content::Zeros(len) => (extent.offset, len, None),
        }
    }

    /// Ends the frame in the making, if anything is in it; answers its plain bytes, to be compressed.
    pub(super) fn close_frame(&mut self) -> Result<Option<Vec<u8>>, CaptureError> {
        if self.plain.is_empty() {
            return Ok(None);
        }
        let frame = index(self.frames.len())?;
        let plain = std::mem::replace(&mut self.plain, Vec::with_capacity(FRAME_BYTES));
        let plain_len = u32::try_from(plain.len()).expect("a frame is about a MiB");
        // Where it is becomes known when it is packed; frames are packed in this order.
        self.frames.push(Frame { pack: u32::MAX, number: 0, offset: 0, stored_len: 0, plain_len });
        self.unpacked.push_back((frame, self.frame_start..self.chunks.len()));
        self.frame_start = self.chunks.len();
        Ok(Some(plain))
    }

    /// Puts the next compressed frame into a pack; answers the pack before when it was full.
    pub(super) fn pack(&mut self, compressed: Vec<u8>) -> Result<Option<(PackId, Vec<u8>)>, CaptureError> {
        let finished = match &self.pack {
            Some(pack) if pack.is_full_for(compressed.len()) => self.close_pack()?,
            Some(_) | None => None,
        };
        let pack = match &mut self.pack {
            Some(pack) => pack,
            none => none.insert(PackWriter::new(self.key)?),
        };
        let (frame, chunks) = self.unpacked.pop_front().expect("every compressed frame was closed before");
        let chunks = self.chunks[chunks].iter().map(|c| IndexedChunk { hash: c.hash, len: c.len }).collect();
        let (number, offset, stored_len) = pack.push(compressed, chunks);
        let record = &mut self.frames[frame as usize];
        *record = Frame { pack: index(self.packs.len())?, number, offset, stored_len, ..*record };
        Ok(finished)
    }

    /// Ends the pack in the making, if there is one.
    pub(super) fn close_pack(&mut self) -> Result<Option<(PackId, Vec<u8>)>, CaptureError> {
        let Some(pack) = self.pack.take() else { return Ok(None) };
        let (index, bytes) = pack.finish().map_err(|error: io::Error| CaptureError::Compress(error))?;
        self.packs.push(Pack { id: index.id, bytes: index.bytes, salt: index.salt });
        Ok(Some((index.id, bytes)))
    }
}
