//! Makes the manifest's tables: only chunks that a file uses, only frames that hold one, only packs that hold those.

use crate::entry::{Content, Entry, EntryKind};
use crate::manifest::{Chunk, Frame, Pack};

/// Drops unused records and changes the entries' chunk indices to the new ones. Order is kept.
pub(crate) fn compact(
    entries: &mut [Entry],
    (chunks, frames, packs): (Vec<Chunk>, Vec<Frame>, Vec<Pack>),
) -> (Vec<Chunk>, Vec<Frame>, Vec<Pack>) {
    let mut used = vec![false; chunks.len()];
    for chunk in chunk_indices(entries) {
        used[*chunk as usize] = true;
    }
    let (chunks, new_chunk) = keep(chunks, &used);
    let mut used = vec![false; frames.len()];
    for chunk in &chunks {
        used[chunk.frame as usize] = true;
    }
    let (frames, new_frame) = keep(frames, &used);
    let mut used = vec![false; packs.len()];
    for frame in &frames {
        used[frame.pack as usize] = true;
    }
    let (packs, new_pack) = keep(packs, &used);
    for chunk in chunk_indices(entries) {
        *chunk = new_chunk[*chunk as usize];
    }
    let chunks = chunks.into_iter().map(|c| Chunk { frame: new_frame[c.frame as usize], ..c }).collect();
    let frames = frames.into_iter().map(|f| Frame { pack: new_pack[f.pack as usize], ..f }).collect();
    (chunks, frames, packs)
}

fn chunk_indices(entries: &mut [Entry]) -> impl Iterator<Item = &mut u32> {
    let files = entries.iter_mut().filter_map(|entry| match &mut entry.kind {
        EntryKind::File(data) => Some(data),
        EntryKind::Directory
        | EntryKind::Symlink { .. }
        | EntryKind::HardLink { .. }
        | EntryKind::CharDevice { .. }
        | EntryKind::BlockDevice { .. }
        | EntryKind::Fifo => None,
    });
    files.flat_map(|data| &mut data.extents).filter_map(|extent| match &mut extent.content {
        Content::Chunk(chunk) => Some(chunk),
        Content::Zeros(_) => None,
    })
}

/// The records that are used, and the new index of each old one.
fn keep<T>(records: Vec<T>, used: &[bool]) -> (Vec<T>, Vec<u32>) {
    let mut next = 0;
    let new = used.iter().map(|used| {
        let index = next;
        next += u32::from(*used);
        index
    });
    let new = new.collect();
    let kept = records.into_iter().zip(used).filter(|(_, used)| **used).map(|(record, _)| record);
    (kept.collect(), new)
}
