//! Packs: what is stored and fetched. A pack describes itself, so that one whose manifest never came is not lost.
//!
//! | part | bytes | content |
//! |---|---|---|
//! | header | 48 | magic, `u16` version, 6 zero bytes, 32 bytes salt |
//! | frames | | sealed frames, one after the other |
//! | index | | sealed, zstd, postcard list of [`IndexedFrame`] |
//! | footer | 16 | `u32` length of the sealed index, `u32` number of frames, magic |
//!
//! The plain form of a frame is one byte that says how it is packed, then its chunks, raw or as one zstd stream.

use std::collections::HashSet;
use std::io::{self, Read};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::crypt::{ImageKey, KeyError, PackKey, Part, Salt, random_bytes};
use crate::id::{ChunkHash, PackId};
use crate::manifest::{MAX_CHUNK_BYTES, MAX_FRAME_BYTES};

/// A pack is closed when the next frame would take it past this. Large enough that requests, files in a directory
/// and fsyncs stay few (16 per GiB), small enough that an interrupted upload loses little and that two fit into a
/// capturing client's memory.
pub(crate) const PACK_BYTES: usize = 64 << 20;

/// Length of the header; no frame begins before it.
pub(crate) const HEADER_BYTES: u64 = 48;
const FOOTER_BYTES: u64 = 16;
const VERSION: u16 = 1;
const HEAD_MAGIC: [u8; 8] = *b"SYSCPACK";
const FOOT_MAGIC: [u8; 8] = *b"SYSCPEND";

/// Longest index that is read. A full pack of the smallest frames has one of some 2 MiB.
const MAX_INDEX_BYTES: u32 = 64 << 20;

/// Says that a frame's chunks follow as they are.
const RAW: u8 = 0;
/// Says that a frame's chunks follow as one zstd stream.
const ZSTD: u8 = 1;

/// Where a capture puts finished packs.
pub trait PackSink: Send {
    /// Takes one pack; when this returns, the pack is safe.
    ///
    /// # Errors
    /// The pack is not stored; the capture ends with this error.
    fn put(&mut self, id: &PackId, bytes: Vec<u8>) -> io::Result<()>;
}

/// Where packs are read from. Implementations retry what can be retried; an error ends the work.
pub trait PackSource: Sync {
    /// Reads exactly the bytes of `range`.
    ///
    /// # Errors
    /// They cannot be had.
    fn read(&self, pack: &PackId, range: Range<u64>) -> io::Result<Vec<u8>>;

    /// Size of a pack in bytes.
    ///
    /// # Errors
    /// It cannot be had.
    fn size(&self, pack: &PackId) -> io::Result<u64>;

    /// As [`PackSource::read`], and says who gave what. Givers in `avoid` are asked only when no other is left.
    ///
    /// # Errors
    /// The bytes cannot be had from anybody.
    fn read_from(&self, pack: &PackId, range: Range<u64>, avoid: &[Giver]) -> io::Result<PackBytes> {
        let _only_one = avoid;
        Ok(PackBytes { bytes: self.read(pack, range)?, parts: vec![(0, Giver(0))] })
    }

    /// How many givers there are.
    fn givers(&self) -> usize {
        1
    }

    /// Hears that something which this giver gave is not what was captured.
    fn charge(&self, giver: Giver) {
        let _no_other_to_prefer = giver;
    }
}

/// One of those that a [`PackSource`] has its bytes from, by a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Giver(pub usize);

/// Bytes of a pack, and who gave them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackBytes {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Where each giver's part begins, in order; the first at 0.
    pub parts: Vec<(usize, Giver)>,
}

impl PackBytes {
    /// Who gave any of the bytes in `range`.
    #[must_use]
    pub fn givers(&self, range: Range<usize>) -> Vec<Giver> {
        let ends = self.parts.iter().skip(1).map(|part| part.0).chain([self.bytes.len()]);
        let parts =
            self.parts.iter().zip(ends).filter(|((start, _), end)| *start < range.end && range.start < *end);
        let mut givers: Vec<Giver> = parts.map(|((_, giver), _)| *giver).collect();
        givers.sort_unstable();
        givers.dedup();
        givers
    }
}

/// Why a pack could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It could not be fetched.
    #[error("reading pack {pack}")]
    Read {
        /// The pack.
        pack: PackId,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is damaged, cut off, or no pack of this image.
    #[error("pack {pack}: {what}")]
    Damaged {
        /// The pack.
        pack: PackId,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What a pack holds, from its own index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackIndex {
    /// The pack.
    pub id: PackId,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its salt.
    pub salt: [u8; 32],
    /// Its frames by number.
    pub frames: Vec<IndexedFrame>,
}

/// One frame of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedFrame {
    /// Where it begins in the pack.
    pub offset: u64,
    /// Length in the pack in bytes.
    pub stored_len: u32,
    /// Its chunks, one after the other.
    pub chunks: Vec<IndexedChunk>,
}

/// One chunk of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedChunk {
    /// Hash of the plain bytes.
    pub hash: ChunkHash,
    /// Length in bytes.
    pub len: u32,
}

impl IndexedFrame {
    /// Length of the frame's plain bytes.
    #[must_use]
    pub fn plain_len(&self) -> u32 {
        self.chunks.iter().map(|chunk| chunk.len).sum()
    }
}

/// Packs a frame's plain bytes; raw when zstd does not make them smaller. The answer still has to be sealed.
pub(crate) fn compress_frame(
    compressor: &mut zstd::bulk::Compressor<'_>,
    plain: &[u8],
) -> io::Result<Vec<u8>> {
    // Three per cent: below that, decompression costs more time than the bytes would on any wire.
    let worthwhile = plain.len() - plain.len() / 32;
    let mut packed = io::Cursor::new(Vec::with_capacity(1 + zstd::zstd_safe::compress_bound(plain.len())));
    packed.get_mut().push(ZSTD);
    packed.set_position(1);
    compressor.compress_to_buffer(plain, &mut packed)?;
    let mut frame = packed.into_inner();
    if frame.len() > worthwhile {
        frame.clear();
        frame.push(RAW);
        frame.extend_from_slice(plain);
    }
    Ok(frame)
}

/// Opens sealed frames; keeps a decompressor and its buffer.
pub(crate) struct FrameOpener {
    decompressor: zstd::bulk::Decompressor<'static>,
    plain: Vec<u8>,
}

impl FrameOpener {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { decompressor: zstd::bulk::Decompressor::new()?, plain: Vec::new() })
    }

    /// Decrypts `sealed` in place and unpacks it to exactly `plain_len` bytes.
    pub(crate) fn open<'a>(
        &'a mut self,
        key: &PackKey,
        number: u32,
        (sealed, plain_len): (&'a mut [u8], u32),
    ) -> Result<&'a [u8], &'static str> {
        let frame = key.open(Part::Frame(number), sealed).map_err(|_| "it was changed or has another key")?;
        let len = plain_len as usize;
        match frame.split_first() {
            Some((&RAW, chunks)) if chunks.len() == len => Ok(chunks),
            Some((&ZSTD, packed)) => {
                self.plain.clear();
                self.plain.reserve(len);
                let unpacked = self.decompressor.decompress_to_buffer(packed, &mut self.plain);
                match unpacked {
                    Ok(n) if n == len => Ok(&self.plain),
                    Ok(_) | Err(_) => Err("it does not unpack to its length"),
                }
            }
            Some(_) | None => Err("it is packed in an unknown way"),
        }
    }
}

/// A pack in the making, in memory.
pub(crate) struct PackWriter {
    bytes: Vec<u8>,
    salt: Salt,
    key: PackKey,
    frames: Vec<IndexedFrame>,
}

impl PackWriter {
    pub(crate) fn new(image_key: &ImageKey) -> Result<Self, KeyError> {
        let salt = random_bytes()?;
        // With room for the index, so that closing a full pack does not move it.
        let mut bytes = Vec::with_capacity(PACK_BYTES + PACK_BYTES / 32);
        bytes.extend_from_slice(&HEAD_MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(&salt);
        Ok(Self { bytes, salt, key: image_key.pack_key(&salt), frames: Vec::new() })
    }

    /// Whether a frame of this length should go into the next pack.
    pub(crate) fn is_full_for(&self, frame_len: usize) -> bool {
        !self.frames.is_empty() && self.bytes.len() + frame_len > PACK_BYTES
    }

    /// Seals and appends a frame from [`compress_frame`]; answers its number, offset and stored length.
    pub(crate) fn push(&mut self, mut frame: Vec<u8>, chunks: Vec<IndexedChunk>) -> (u32, u64, u32) {
        let number = u32::try_from(self.frames.len()).expect("a pack has at most some thousand frames");
        self.key.seal(Part::Frame(number), &mut frame);
        let offset = self.bytes.len() as u64;
        let stored_len = u32::try_from(frame.len()).expect("frames are a few MiB at most");
        self.bytes.extend_from_slice(&frame);
        self.frames.push(IndexedFrame { offset, stored_len, chunks });
        (number, offset, stored_len)
    }

    /// Appends index and footer.
    pub(crate) fn finish(mut self) -> io::Result<(PackIndex, Vec<u8>)> {
        let plain = postcard::to_stdvec(&self.frames).expect("all sequences have known lengths");
        let mut index = zstd::bulk::compress(&plain, 1)?;
        self.key.seal(Part::Index, &mut index);
        let len = u32::try_from(index.len()).expect("an index is some MiB at most");
        let count = u32::try_from(self.frames.len()).expect("a pack has at most some thousand frames");
        self.bytes.extend_from_slice(&index);
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(&count.to_le_bytes());
        self.bytes.extend_from_slice(&FOOT_MAGIC);
        let index = PackIndex {
            id: PackId::of(&self.bytes),
            bytes: self.bytes.len() as u64,
            salt: self.salt,
            frames: self.frames,
        };
        Ok((index, self.bytes))
    }
}

/// Reads the index of a pack whose manifest is not there, by three small reads.
///
/// # Errors
/// The pack cannot be read, is damaged, or was not made with `key`.
pub fn read_index(source: &dyn PackSource, id: &PackId, key: &ImageKey) -> Result<PackIndex, PackError> {
    let damaged = |what| PackError::Damaged { pack: *id, what };
    let read = |range: Range<u64>| {
        let len = range.end - range.start;
        let bytes = source.read(id, range).map_err(|source| PackError::Read { pack: *id, source })?;
        if bytes.len() as u64 == len { Ok(bytes) } else { Err(damaged("it is shorter than it should be")) }
    };
    let size = source.size(id).map_err(|source| PackError::Read { pack: *id, source })?;
    if size < HEADER_BYTES + FOOTER_BYTES {
        return Err(damaged("it is too short to be a pack"));
    }
    let salt = parse_header(&read(0..HEADER_BYTES)?).map_err(damaged)?;
    let footer_at = size - FOOTER_BYTES;
    let (index_len, count) = parse_footer(&read(footer_at..size)?).map_err(damaged)?;
    let index_at = footer_at
        .checked_sub(u64::from(index_len))
        .filter(|at| *at >= HEADER_BYTES && index_len <= MAX_INDEX_BYTES)
        .ok_or(damaged("its footer is wrong"))?;
    let mut sealed = read(index_at..footer_at)?;
    let frames = parse_index(&key.pack_key(&salt), &mut sealed, index_at).map_err(damaged)?;
    if frames.len() != count as usize {
        return Err(damaged("its footer is wrong"));
    }
    Ok(PackIndex { id: *id, bytes: size, salt, frames })
}

fn parse_header(bytes: &[u8]) -> Result<Salt, &'static str> {
    let rest = bytes.strip_prefix(&HEAD_MAGIC).ok_or("it is not a pack")?;
    let (version, rest) = rest.split_at_checked(8).ok_or("it is not a pack")?;
    let [low, high, 0, 0, 0, 0, 0, 0] = version else { return Err("its header is wrong") };
    if u16::from_le_bytes([*low, *high]) != VERSION {
        return Err("it has another version");
    }
    rest.try_into().map_err(|_| "its header is wrong")
}

fn parse_footer(bytes: &[u8]) -> Result<(u32, u32), &'static str> {
    let numbers = bytes.strip_suffix(&FOOT_MAGIC).ok_or("it is cut off")?;
    let (len, count) = numbers.split_at_checked(4).ok_or("it is cut off")?;
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).map_err(|_| "it is cut off");
    Ok((number(len)?, number(count)?))
}

fn parse_index(key: &PackKey, sealed: &mut [u8], end: u64) -> Result<Vec<IndexedFrame>, &'static str> {
    let packed = key.open(Part::Index, sealed).map_err(|_| "its index was changed or has another key")?;
    let wrong = "its index is wrong";
    let mut plain = Vec::new();
    let decoder = zstd::stream::Decoder::new(packed).map_err(|_| wrong)?;
    decoder.take(u64::from(MAX_INDEX_BYTES)).read_to_end(&mut plain).map_err(|_| wrong)?;
    let frames: Vec<IndexedFrame> = postcard::from_bytes(&plain).map_err(|_| wrong)?;
    let mut at = HEADER_BYTES;
    let mut seen = HashSet::new();
    for frame in &frames {
        let total = frame.chunks.iter().map(|c| u64::from(c.len)).sum::<u64>();
        let sane = frame.offset == at
            && (1..=u64::from(MAX_FRAME_BYTES)).contains(&total)
            && frame.chunks.iter().all(|c| (1..=MAX_CHUNK_BYTES).contains(&c.len) && seen.insert(c.hash));
        at = at.checked_add(u64::from(frame.stored_len)).filter(|at| sane && *at <= end).ok_or(wrong)?;
    }
    if at == end { Ok(frames) } else { Err(wrong) }
}

/// A pack of nothing but zeros with this plain index: what only tests and fuzzing write.
#[cfg(any(test, fuzzing))]
pub(crate) fn encode_with_index(key: &ImageKey, frames_len: usize, index: &[u8]) -> Vec<u8> {
    let count = postcard::from_bytes::<Vec<IndexedFrame>>(index).map_or(0, |frames| frames.len());
    let mut sealed = zstd::bulk::compress(index, 1).expect("compressing into memory does not fail");
    key.pack_key(&[0; 32]).seal(Part::Index, &mut sealed);
    let mut bytes = [&HEAD_MAGIC[..], &VERSION.to_le_bytes(), &[0; 38]].concat();
    bytes.resize(bytes.len() + frames_len, 0);
    bytes.extend_from_slice(&sealed);
    for number in [sealed.len(), count] {
        bytes.extend_from_slice(&u32::try_from(number).expect("a test's index is small").to_le_bytes());
    }
    bytes.extend_from_slice(&FOOT_MAGIC);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(Vec<u8>);

    impl PackSource for One {
        fn read(&self, _: &PackId, range: Range<u64>) -> io::Result<Vec<u8>> {
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            self.0.get(range).map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        }
        fn size(&self, _: &PackId) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }
    }

    fn pack(key: &ImageKey, frames: &[&[u8]]) -> (PackIndex, Vec<u8>) {
        let mut writer = PackWriter::new(key).unwrap();
        let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
        for plain in frames {
            let chunk = IndexedChunk { hash: ChunkHash::of(plain), len: u32::try_from(plain.len()).unwrap() };
            writer.push(compress_frame(&mut compressor, plain).unwrap(), vec![chunk]);
        }
        writer.finish().unwrap()
    }

    #[test]
    fn a_pack_describes_itself() {
        let key = ImageKey::random().unwrap();
        let (index, bytes) = pack(&key, &[b"first", &[7; 100_000]]);
        assert_eq!(PackId::of(&bytes), index.id);
        assert_eq!(read_index(&One(bytes.clone()), &index.id, &key).unwrap(), index);
        let mut opener = FrameOpener::new().unwrap();
        for (number, (frame, plain)) in index.frames.iter().zip([&b"first"[..], &[7; 100_000]]).enumerate() {
            let start = usize::try_from(frame.offset).unwrap();
            let mut sealed = bytes[start..start + frame.stored_len as usize].to_vec();
            let number = u32::try_from(number).unwrap();
            let pack_key = key.pack_key(&index.salt);
            assert_eq!(opener.open(&pack_key, number, (&mut sealed, frame.plain_len())).unwrap(), plain);
        }
        assert!(bytes.len() < 2000, "100 000 equal bytes are compressed: {}", bytes.len());
    }

    #[test]
    fn an_index_is_refused_when_any_byte_of_header_index_or_footer_changes() {
        let key = ImageKey::random().unwrap();
        let (index, bytes) = pack(&key, &[b"first", b"second"]);
        let last = index.frames.last().unwrap();
        let frames_end = usize::try_from(last.offset).unwrap() + last.stored_len as usize;
        for at in (0..48).chain(frames_end..bytes.len()) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(read_index(&One(changed), &index.id, &key).is_err(), "byte {at}");
        }
        for len in 0..bytes.len() {
            assert!(read_index(&One(bytes[..len].to_vec()), &index.id, &key).is_err(), "cut at {len}");
        }
        assert!(read_index(&One(bytes), &index.id, &ImageKey::random().unwrap()).is_err());
    }

    #[test]
    fn bytes_know_their_givers() {
        let (a, b) = (Giver(4), Giver(2));
        let bytes = PackBytes { bytes: vec![0; 100], parts: vec![(0, a), (10, b), (50, a)] };
        for (range, expected) in [
            (0..10, vec![a]),
            (0..11, vec![b, a]),
            (10..50, vec![b]),
            (49..51, vec![b, a]),
            (50..100, vec![a]),
        ] {
            assert_eq!(bytes.givers(range.clone()), expected, "{range:?}");
        }
    }

    #[test]
    fn bytes_that_do_not_compress_are_stored_raw() {
        let mut noise = vec![0; 1 << 16];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let frame = compress_frame(&mut zstd::bulk::Compressor::new(3).unwrap(), &noise).unwrap();
        assert_eq!((frame[0], frame.len()), (RAW, noise.len() + 1));
    }
}
