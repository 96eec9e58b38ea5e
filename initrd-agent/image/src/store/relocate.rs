//! Points a manifest's chunks at other places where the same bytes are. Entries, and so what is written on a disk,
//! stay the same.

use std::collections::{BTreeMap, HashMap};

use crate::entry::{Content, EntryKind};
use crate::id::{ChunkHash, PackId};
use crate::manifest::{Chunk, Frame, Manifest, Pack};

/// Where a chunk is. The frame's pack index says nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pack: Pack,
    pub(super) frame: Frame,
    pub(super) offset: u32,
}

/// Where this chunk of this manifest is.
pub(super) fn place_of(manifest: &Manifest, chunk: &Chunk) -> Place {
    let frame = manifest.frames[chunk.frame as usize];
    Place { pack: manifest.packs[frame.pack as usize], frame, offset: chunk.offset }
}

/// Moves the chunks that are in a pack to leave to their new places, as far as there are any; answers how many moved.
/// Packs stay in the order in which they are first needed.
pub(super) fn relocate(
    manifest: &mut Manifest,
    places: &HashMap<ChunkHash, Place>,
    leave: &dyn Fn(&PackId) -> bool,
) -> usize {
    let mut moved = 0;
    let new_place = |chunk: &Chunk| {
        let old = place_of(manifest, chunk);
        let new = if leave(&old.pack.id) { places.get(&chunk.hash) } else { None };
        moved += usize::from(new.is_some());
        *new.unwrap_or(&old)
    };
    let at: Vec<Place> = manifest.chunks.iter().map(new_place).collect();
    if moved > 0 {
        rebuild(manifest, &at);
    }
    moved
}

/// Makes the tables anew from where each chunk is.
fn rebuild(manifest: &mut Manifest, at: &[Place]) {
    let mut packs: Vec<Pack> = Vec::new();
    let mut pack_index = HashMap::new();
    for place in at {
        pack_index.entry(place.pack.id).or_insert_with(|| {
            packs.push(place.pack);
            packs.len() - 1
        });
    }
    let key = |place: &Place| (pack_index[&place.pack.id], place.frame.number);
    let frames: BTreeMap<(usize, u32), Frame> = at.iter().map(|place| (key(place), place.frame)).collect();
    let frame_index: HashMap<(usize, u32), usize> = frames.keys().copied().zip(0..).collect();
    let mut order: Vec<usize> = (0..at.len()).collect();
    order.sort_by_key(|index| (key(&at[*index]), at[*index].offset));
    let number = |index: usize| u32::try_from(index).expect("no table has more records than before");
    let mut new_index = vec![0; at.len()];
    let mut chunks = Vec::with_capacity(at.len());
    for old in order {
        new_index[old] = number(chunks.len());
        let (frame, offset) = (number(frame_index[&key(&at[old])]), at[old].offset);
        chunks.push(Chunk { frame, offset, ..manifest.chunks[old] });
    }
    manifest.frames =
        frames.into_iter().map(|((pack, _), frame)| Frame { pack: number(pack), ..frame }).collect();
    manifest.packs = packs;
    manifest.chunks = chunks;
    for entry in &mut manifest.entries {
        let EntryKind::File(data) = &mut entry.kind else { continue };
        for extent in &mut data.extents {
            if let Content::Chunk(chunk) = &mut extent.content {
                *chunk = new_index[*chunk as usize];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::small;
    use crate::pack::HEADER_BYTES;

    /// The bytes that the files of a manifest are made of.
    fn contents(manifest: &Manifest) -> Vec<(u64, Option<ChunkHash>)> {
        let files = manifest.entries.iter().filter_map(|entry| match &entry.kind {
            EntryKind::File(data) => Some(data),
            _ => None,
        });
        let extents = files.flat_map(|data| &data.extents);
        let hash = |content| match content {
            Content::Chunk(chunk) => Some(manifest.chunks[chunk as usize].hash),
            Content::Zeros(_) => None,
        };
        extents.map(|extent| (extent.offset, hash(extent.content))).collect()
    }

    fn elsewhere(pack: u8, number: u32, offset: u32) -> Place {
        let pack = Pack { id: PackId([pack; 32]), bytes: 10_000, salt: [pack; 32] };
        let at = HEADER_BYTES + u64::from(number) * 100;
        Place { pack, frame: Frame { pack: 77, number, offset: at, stored_len: 60, plain_len: 50 }, offset }
    }

    #[test]
    fn files_keep_their_content_wherever_its_chunks_are() {
        let hash = |index: usize| small().chunks[index].hash;
        type Case<'a> = (&'a [(usize, Place)], usize, usize);
        let tables: [Case<'_>; 4] = [
            (&[], 0, 1),
            (&[(0, elsewhere(1, 3, 7))], 1, 2),
            (&[(0, elsewhere(1, 3, 7)), (1, elsewhere(1, 3, 2))], 2, 1),
            (&[(0, elsewhere(1, 3, 7)), (1, elsewhere(2, 0, 0))], 2, 2),
        ];
        for (places, moved, packs) in tables {
            let mut manifest = small();
            let places = places.iter().map(|(index, place)| (hash(*index), *place)).collect();
            assert_eq!(relocate(&mut manifest, &places, &|_| true), moved);
            assert_eq!(contents(&manifest), contents(&small()));
            assert_eq!(manifest.packs.len(), packs);
            Manifest::decode(&manifest.encode()).expect("it keeps the rules of the format");
            for chunk in &manifest.chunks {
                let place = place_of(&manifest, chunk);
                let expected = places.get(&chunk.hash).map_or(PackId([9; 32]), |place| place.pack.id);
                assert_eq!(place.pack.id, expected);
            }
        }
    }

    #[test]
    fn only_packs_to_leave_are_left() {
        let mut manifest = small();
        let places = [(manifest.chunks[0].hash, elsewhere(1, 0, 0))].into();
        assert_eq!(relocate(&mut manifest, &places, &|_| false), 0);
        assert_eq!(manifest, small());
    }
}
