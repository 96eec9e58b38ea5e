//! The bytes of one file of an image, in order, each chunk checked before it is given out.

use std::io;

use crate::apply::ApplyError;
use crate::crypt::ImageKey;
use crate::entry::{Content, EntryKind};
use crate::id::ChunkHash;
use crate::manifest::{Frame, Manifest};
use crate::pack::{FrameOpener, PackSource};

/// What holes and zeros are given out from.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Reads the regular file at `index` (a hard link is followed) and gives its bytes to `out`, holes as zeros.
///
/// # Errors
/// It is no regular file, a pack cannot be read or is damaged, or `out` refused.
pub fn read_file(
    (manifest, key): (&Manifest, &ImageKey),
    source: &dyn PackSource,
    index: usize,
    out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), ApplyError> {
    let mut entry = &manifest.entries[index];
    if let EntryKind::HardLink { first } = entry.kind {
        entry = &manifest.entries[first as usize];
    }
    let path = entry.display();
    let failed = |doing: &'static str| {
        let path = path.clone();
        move |source: io::Error| ApplyError::Write { doing, path, source }
    };
    let EntryKind::File(data) = &entry.kind else {
        return Err(failed("reading")(io::Error::other("it is no regular file")));
    };
    let mut opener = FrameOpener::new().map_err(failed("preparing to unpack"))?;
    let mut frame: Option<(u32, Vec<u8>)> = None;
    let mut position = 0;
    for extent in &data.extents {
        zeros(extent.offset - position, out).map_err(failed("writing"))?;
        position = extent.offset;
        match extent.content {
            Content::Zeros(length) => {
                zeros(length, out).map_err(failed("writing"))?;
                position += length;
            }
            Content::Chunk(chunk) => {
                let chunk = &manifest.chunks[chunk as usize];
                let plain = match &frame {
                    Some((known, plain)) if *known == chunk.frame => plain,
                    _ => {
                        let opened = open_frame((manifest, key), source, (chunk.frame, &mut opener), &path)?;
                        &frame.insert((chunk.frame, opened)).1
                    }
                };
                let bytes = &plain[chunk.offset as usize..(chunk.offset + chunk.len) as usize];
                if ChunkHash::of(bytes) != chunk.hash {
                    let frame = &manifest.frames[chunk.frame as usize];
                    return Err(damaged(manifest, frame, &path, "a chunk in it is not the one captured"));
                }
                out(bytes).map_err(failed("writing"))?;
                position += u64::from(chunk.len);
            }
        }
    }
    zeros(data.size - position, out).map_err(failed("writing"))
}

fn open_frame(
    (manifest, key): (&Manifest, &ImageKey),
    source: &dyn PackSource,
    (number, opener): (u32, &mut FrameOpener),
    path: &str,
) -> Result<Vec<u8>, ApplyError> {
    let frame = &manifest.frames[number as usize];
    let pack = &manifest.packs[frame.pack as usize];
    let range = frame.offset..frame.offset + u64::from(frame.stored_len);
    let read = source.read(&pack.id, range.clone());
    let mut sealed = read.map_err(|source| ApplyError::Fetch {
        image: manifest.image_ref().to_string(),
        pack: pack.id,
        range,
        source,
    })?;
    let opened = opener.open(&key.pack_key(&pack.salt), frame.number, (&mut sealed, frame.plain_len));
    opened.map(<[u8]>::to_vec).map_err(|what| damaged(manifest, frame, path, what))
}

fn damaged(manifest: &Manifest, frame: &Frame, path: &str, what: &'static str) -> ApplyError {
    ApplyError::Damaged {
        image: manifest.image_ref().to_string(),
        pack: manifest.packs[frame.pack as usize].id,
        frame: frame.number,
        path: path.to_owned(),
        what,
    }
}

fn zeros(mut length: u64, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    while length > 0 {
        let part = length.min(ZEROS.len() as u64);
        out(&ZEROS[..usize::try_from(part).expect("at most the length of the array")])?;
        length -= part;
    }
    Ok(())
}
