//! A part of an image as an image of its own, to be written somewhere else.

use std::collections::HashMap;

use super::Manifest;
use crate::entry::{Entry, EntryKind, Meta, join, split};
use crate::tables::compact;

impl Manifest {
    /// Index of the entry with this path (from the root, without a leading slash).
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<usize> {
        self.entries.iter().position(|entry| entry.path == path)
    }

    /// What is in a directory, in the order of the image.
    pub fn children<'a>(&'a self, directory: &'a [u8]) -> impl Iterator<Item = &'a Entry> + 'a {
        self.entries.iter().filter(move |entry| entry.split().is_some_and(|(parent, _)| parent == directory))
    }

    /// The directory `path` as the root of an image, or a root directory that holds nothing but the file `path`. A
    /// file whose first name lies outside is a file here. None when there is no such path.
    #[must_use]
    pub fn subtree(&self, path: &[u8]) -> Option<Self> {
        let top = &self.entries[self.find(path)?];
        let mut entries = Vec::new();
        if top.kind != EntryKind::Directory {
            let meta = Meta { mode: 0o755, ..Meta::default() };
            entries.push(Entry { path: Vec::new(), kind: EntryKind::Directory, meta });
        }
        let mut first_names: HashMap<usize, u32> = HashMap::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let Some(path) = moved(entry, top) else { continue };
            let position = u32::try_from(entries.len()).expect("a part has no more entries than the whole");
            let first = match entry.kind {
                EntryKind::HardLink { first } => first as usize,
                _ => index,
            };
            let (kind, meta) = match first_names.get(&first) {
                Some(known) => (EntryKind::HardLink { first: *known }, Meta::default()),
                None => {
                    first_names.insert(first, position);
                    (self.entries[first].kind.clone(), self.entries[first].meta.clone())
                }
            };
            entries.push(Entry { path, kind, meta });
        }
        let tables = (self.chunks.clone(), self.frames.clone(), self.packs.clone());
        let (chunks, frames, packs) = compact(&mut entries, tables);
        Some(Self {
            header: self.header.clone(),
            layout: self.layout.clone(),
            boot: self.boot.clone(),
            entries,
            chunks,
            frames,
            packs,
        })
    }
}

/// The path of `entry` below the new root; none when it is not in the part.
fn moved(entry: &Entry, top: &Entry) -> Option<Vec<u8>> {
    if top.kind != EntryKind::Directory {
        let (_, name) = split(&top.path)?;
        return (entry.path == top.path).then(|| join(b"", name));
    }
    if top.path.is_empty() || entry.path == top.path {
        return Some(if entry.path == top.path { Vec::new() } else { entry.path.clone() });
    }
    entry.path.strip_prefix(&top.path[..])?.strip_prefix(b"/").map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::super::tests::small;
    use super::*;

    #[test]
    fn a_link_whose_first_name_is_outside_becomes_a_file() {
        let manifest = small();
        let part = manifest.subtree(b"sub").unwrap();
        let paths: Vec<&[u8]> = part.entries.iter().map(|entry| &entry.path[..]).collect();
        assert_eq!(paths, [&b""[..], b"\xff\xfe", b"link", b"null", b"disk", b"pipe"]);
        assert_eq!(part.entries[2].kind, manifest.entries[1].kind);
        assert_eq!(part.entries[2].meta, manifest.entries[1].meta);
        assert_eq!(part.packs, manifest.packs);
        assert_eq!(Manifest::decode(&part.encode()).unwrap(), part);
    }

    #[test]
    fn a_single_file_stands_in_a_root_of_its_own() {
        let part = small().subtree(b"sub/pipe").unwrap();
        assert_eq!(part.entries.len(), 2);
        assert_eq!(part.entries[1].path, b"pipe");
        assert!(part.chunks.is_empty() && part.frames.is_empty() && part.packs.is_empty());
        assert_eq!(small().subtree(b"nowhere"), None);
    }

    #[test]
    fn the_whole_is_a_part_too() {
        assert_eq!(small().subtree(b"").unwrap(), small());
        assert_eq!(small().children(b"sub").count(), 5);
    }
}
