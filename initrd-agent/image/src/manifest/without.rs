//! A generation as one to capture on top of, when the store has lost some of its packs.

use std::collections::HashSet;

use super::{Chunk, Manifest, Notice};
use crate::entry::{Content, EntryKind};
use crate::id::PackId;

impl Manifest {
    /// The same generation without what is in these packs: files that need them have no content and are listed as
    /// inconsistent, so that a capture reads them again, and their chunks are not known any more, so that it sends
    /// them again. Only good as the parent of a capture.
    #[must_use]
    pub fn without_packs(mut self, lost: &HashSet<PackId>) -> Self {
        if !self.packs.iter().any(|pack| lost.contains(&pack.id)) {
            return self;
        }
        let frames = &self.frames;
        let packs = &self.packs;
        let kept = |chunk: &Chunk| !lost.contains(&packs[frames[chunk.frame as usize].pack as usize].id);
        let mut new_index = Vec::with_capacity(self.chunks.len());
        let mut next = 0;
        for chunk in &self.chunks {
            new_index.push(kept(chunk).then_some(next));
            next += u32::from(kept(chunk));
        }
        self.chunks = self.chunks.iter().filter(|chunk| kept(chunk)).copied().collect();
        for entry in &mut self.entries {
            let EntryKind::File(data) = &mut entry.kind else { continue };
            let new = data.extents.iter().map(|extent| match extent.content {
                Content::Chunk(chunk) => new_index[chunk as usize]
                    .map(|chunk| crate::entry::Extent { content: Content::Chunk(chunk), ..*extent }),
                Content::Zeros(_) => Some(*extent),
            });
            match new.collect() {
                Some(extents) => data.extents = extents,
                None => {
                    data.extents = Vec::new();
                    let reason = "its content was lost in the store".to_owned();
                    self.header.inconsistent.push(Notice { path: entry.path.clone(), reason });
                }
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::small;
    use super::super::{Frame, Pack};
    use super::*;

    #[test]
    fn a_file_with_one_lost_chunk_is_read_again_and_its_other_chunks_stay_known() {
        let mut manifest = small();
        let other = Pack { id: PackId([8; 32]), ..manifest.packs[0] };
        manifest.packs.push(other);
        manifest.frames.push(Frame { pack: 1, ..manifest.frames[0] });
        manifest.chunks[1].frame = 1;
        let kept = manifest.chunks[1];
        assert_eq!(manifest.clone().without_packs(&[PackId([1; 32])].into()), manifest);
        let without = manifest.without_packs(&[PackId([9; 32])].into());
        assert_eq!(without.chunks, [kept]);
        let EntryKind::File(data) = &without.entries[1].kind else { panic!("the second entry is the file") };
        assert!(data.extents.is_empty());
        assert_eq!(without.header.inconsistent.last().map(|notice| &notice.path[..]), Some(&b"file"[..]));
    }
}
