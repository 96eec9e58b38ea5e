//! What is different between two generations, and what a machine that has the one lacks of the other.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::entry::{Content, Entry, EntryKind, FileData};
use crate::id::ChunkHash;
use crate::manifest::Manifest;

/// How one path differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// The first has the same content under this path, and the second does not have that one.
    Renamed {
        /// The path in the first, without a leading slash.
        from: Vec<u8>,
    },
    /// Both have it, as different types.
    Type,
    /// The bytes differ, or where a link points, or a device's numbers.
    Content,
    /// Owner, mode, time, flags, attributes; not the content.
    Metadata,
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Path, without a leading slash.
    pub path: Vec<u8>,
    /// How.
    pub change: Change,
    /// Size of the second's file in bytes; of the first's when it was removed.
    pub bytes: u64,
}

/// All differences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// By path.
    pub differences: Vec<Difference>,
    /// Plain bytes of chunks that the first does not have.
    pub new_bytes: u64,
    /// Bytes of frames that hold them: what is fetched at most.
    pub fetch_bytes: u64,
}

/// Compares two images.
#[must_use]
pub fn diff(old: &Manifest, new: &Manifest) -> Diff {
    let (before, after) = (by_path(old), by_path(new));
    let mut differences = Vec::new();
    for (path, entry) in &after {
        let change = match before.get(path) {
            None => Some(Change::Added),
            Some(known) => changed((old, known), (new, entry)),
        };
        let difference = |change| Difference { path: path.to_vec(), change, bytes: size(new, entry) };
        differences.extend(change.map(difference));
    }
    for (path, entry) in before.iter().filter(|(path, _)| !after.contains_key(*path)) {
        differences.push(Difference {
            path: path.to_vec(),
            change: Change::Removed,
            bytes: size(old, entry),
        });
    }
    find_renames((old, &before), (new, &after), &mut differences);
    differences.sort_by(|a, b| a.path.cmp(&b.path));
    let (new_bytes, fetch_bytes) = lacking(old, new);
    Diff { differences, new_bytes, fetch_bytes }
}

type ByPath<'a> = BTreeMap<&'a [u8], &'a Entry>;

fn by_path(manifest: &Manifest) -> ByPath<'_> {
    manifest.entries.iter().map(|entry| (&entry.path[..], entry)).collect()
}

/// The entry that describes an inode: itself, or its first name.
fn inode<'a>(manifest: &'a Manifest, entry: &'a Entry) -> &'a Entry {
    match entry.kind {
        EntryKind::HardLink { first } => &manifest.entries[first as usize],
        _ => entry,
    }
}

fn size(manifest: &Manifest, entry: &Entry) -> u64 {
    match &inode(manifest, entry).kind {
        EntryKind::File(data) => data.size,
        _ => 0,
    }
}

fn changed((old, a): (&Manifest, &Entry), (new, b): (&Manifest, &Entry)) -> Option<Change> {
    let (a, b) = (inode(old, a), inode(new, b));
    let same = match (&a.kind, &b.kind) {
        (EntryKind::File(x), EntryKind::File(y)) => same_content((old, x), (new, y)),
        (x, y) if std::mem::discriminant(x) != std::mem::discriminant(y) => return Some(Change::Type),
        (x, y) => x == y,
    };
    match same {
        false => Some(Change::Content),
        true if a.meta != b.meta => Some(Change::Metadata),
        true => None,
    }
}

/// Where bytes, zeros and holes are, with the hashes instead of the tables' indices.
fn content<'a>(
    manifest: &'a Manifest,
    data: &'a FileData,
) -> impl Iterator<Item = (u64, Result<ChunkHash, u64>)> + 'a {
    data.extents.iter().map(|extent| match extent.content {
        Content::Chunk(chunk) => (extent.offset, Ok(manifest.chunks[chunk as usize].hash)),
        Content::Zeros(length) => (extent.offset, Err(length)),
    })
}

fn same_content((old, a): (&Manifest, &FileData), (new, b): (&Manifest, &FileData)) -> bool {
    a.size == b.size && content(old, a).eq(content(new, b))
}

/// Files that vanished under one name and came under another, each taken once. Empty files have no content to know
/// them by.
fn find_renames(
    (old, before): (&Manifest, &ByPath<'_>),
    (new, after): (&Manifest, &ByPath<'_>),
    all: &mut Vec<Difference>,
) {
    let key = |manifest: &Manifest, entry: &Entry| match &inode(manifest, entry).kind {
        EntryKind::File(data) if data.size > 0 => {
            Some((data.size, content(manifest, data).collect::<Vec<_>>()))
        }
        _ => None,
    };
    let mut gone: HashMap<_, Vec<Vec<u8>>> = HashMap::new();
    for difference in all.iter().filter(|d| d.change == Change::Removed) {
        if let Some(key) = key(old, before[&difference.path[..]]) {
            gone.entry(key).or_default().push(difference.path.clone());
        }
    }
    let mut moved = HashSet::new();
    for difference in all.iter_mut().filter(|d| d.change == Change::Added) {
        let Some(key) = key(new, after[&difference.path[..]]) else { continue };
        if let Some(from) = gone.get_mut(&key).and_then(Vec::pop) {
            moved.insert(from.clone());
            difference.change = Change::Renamed { from };
        }
    }
    all.retain(|d| d.change != Change::Removed || !moved.contains(&d.path));
}

fn lacking(old: &Manifest, new: &Manifest) -> (u64, u64) {
    let known: HashSet<ChunkHash> = old.chunks.iter().map(|chunk| chunk.hash).collect();
    let (mut bytes, mut seen, mut frames) = (0, HashSet::new(), HashSet::new());
    for chunk in new.chunks.iter().filter(|chunk| !known.contains(&chunk.hash)) {
        if seen.insert(chunk.hash) {
            bytes += u64::from(chunk.len);
        }
        frames.insert(chunk.frame);
    }
    (bytes, frames.iter().map(|frame| u64::from(new.frames[*frame as usize].stored_len)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::small;

    #[test]
    fn equal_generations_differ_in_nothing() {
        assert_eq!(diff(&small(), &small()), Diff::default());
    }

    #[test]
    fn every_kind_of_change_is_told() {
        let (old, mut new) = (small(), small());
        new.entries[1].path = b"moved".to_vec();
        new.entries[3].kind = EntryKind::Symlink { target: b"../y".to_vec() };
        new.entries[5].meta.mode = 0o600;
        new.entries[6].kind = EntryKind::Fifo;
        new.entries[7].path = b"sub/pipe2".to_vec();
        let found = diff(&old, &new);
        let told: Vec<(&[u8], &Change)> =
            found.differences.iter().map(|d| (&d.path[..], &d.change)).collect();
        assert_eq!(
            told,
            [
                (&b"moved"[..], &Change::Renamed { from: b"file".to_vec() }),
                (b"sub/disk", &Change::Type),
                (b"sub/null", &Change::Metadata),
                (b"sub/pipe", &Change::Removed),
                (b"sub/pipe2", &Change::Added),
                (b"sub/\xff\xfe", &Change::Content),
            ]
        );
        assert_eq!((found.new_bytes, found.fetch_bytes), (0, 0));
    }

    #[test]
    fn only_unknown_chunks_are_fetched() {
        let (old, mut new) = (small(), small());
        new.chunks[1].hash = ChunkHash::of(b"other");
        let found = diff(&old, &new);
        assert_eq!(found.differences[0].change, Change::Content);
        assert_eq!((found.new_bytes, found.fetch_bytes), (5, 40));
    }
}
