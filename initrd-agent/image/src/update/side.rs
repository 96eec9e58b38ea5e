//! A generation as an update sees it: the names that nodes follow, by path.

use std::collections::HashSet;

use hashbrown::HashMap;

use super::ids::{ContentId, content_id};
use super::keep::Keep;
use crate::apply::file_data;
use crate::entry::{Entry, EntryKind, FileData, split};
use crate::manifest::Manifest;

/// One generation.
#[derive(Clone)]
pub(super) struct Side<'a> {
    pub(super) manifest: &'a Manifest,
    /// Names in scope.
    pub(super) by_path: HashMap<&'a [u8], usize>,
    /// The same, in the manifest's order.
    pub(super) names: Vec<usize>,
    /// Directories that are left alone, but made where they are missing.
    pub(super) made: Vec<usize>,
}

impl<'a> Side<'a> {
    pub(super) fn new(manifest: &'a Manifest, keep: &Keep) -> Self {
        let count = manifest.entries.len();
        let by_path = HashMap::with_capacity(count);
        let mut side = Self { manifest, by_path, names: Vec::with_capacity(count), made: Vec::new() };
        let mut left_alone: HashSet<&[u8]> = HashSet::new();
        for (index, entry) in manifest.entries.iter().enumerate() {
            let path = &entry.path[..];
            let is_directory = entry.kind == EntryKind::Directory;
            let inside =
                !left_alone.is_empty() && split(path).is_some_and(|(parent, _)| left_alone.contains(parent));
            if !inside && (path.is_empty() || !keep.is_kept(path, is_directory)) {
                side.by_path.insert(path, index);
                side.names.push(index);
            } else if is_directory {
                left_alone.insert(path);
                if keep.is_made(path) {
                    side.made.push(index);
                }
            }
        }
        side
    }

    /// The index of the entry that describes an entry's inode: itself, or its first name.
    pub(super) fn inode(&self, index: usize) -> usize {
        match self.manifest.entries[index].kind {
            EntryKind::HardLink { first } => first as usize,
            EntryKind::Directory
            | EntryKind::File(_)
            | EntryKind::Symlink { .. }
            | EntryKind::CharDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo => index,
        }
    }

    /// The entry that describes an entry's inode.
    pub(super) fn described(&self, index: usize) -> &'a Entry {
        &self.manifest.entries[self.inode(index)]
    }

    /// The same, by path; none when the generation does not have it, or nodes do not follow in it.
    pub(super) fn at(&self, path: &[u8]) -> Option<&'a Entry> {
        self.by_path.get(path).map(|index| self.described(*index))
    }

    /// The content of the regular file with this path.
    pub(super) fn file(&self, path: &[u8]) -> Option<&'a FileData> {
        file_data(&self.at(path)?.kind)
    }

    pub(super) fn content(&self, data: &FileData) -> ContentId {
        content_id(data, &self.manifest.chunks)
    }
}
