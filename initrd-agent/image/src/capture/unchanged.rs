//! Files that the generation before holds already: same path, inode, size and times. They are not read again.

use std::collections::{HashMap, HashSet};

use crate::entry::{Entry, EntryKind, FileData, Meta};
use crate::manifest::Manifest;
use crate::walk::Node;

/// A file that changed less than this before the last capture is read again: it may have changed once more in the
/// same tick of the file system's clock (a whole second on ext3).
const DOUBT_SECONDS: i64 = 2;

/// The regular files of a generation, by every name.
#[derive(Default)]
pub(super) struct Unchanged<'a> {
    files: HashMap<&'a [u8], (&'a FileData, &'a Meta)>,
    before: i64,
}

impl<'a> Unchanged<'a> {
    pub(super) fn new(parent: &'a Manifest) -> Self {
        let doubtful: HashSet<&[u8]> = parent.header.inconsistent.iter().map(|n| n.path.as_slice()).collect();
        let file = |entry: &'a Entry| match &entry.kind {
            EntryKind::File(data) if !doubtful.contains(&entry.path[..]) => Some((data, &entry.meta)),
            _ => None,
        };
        let files = parent.entries.iter().filter_map(|entry| {
            let described = match &entry.kind {
                EntryKind::HardLink { first } => &parent.entries[*first as usize],
                EntryKind::File(_)
                | EntryKind::Directory
                | EntryKind::Symlink { .. }
                | EntryKind::CharDevice { .. }
                | EntryKind::BlockDevice { .. }
                | EntryKind::Fifo => entry,
            };
            Some((&entry.path[..], file(described)?))
        });
        Self { files: files.collect(), before: parent.header.captured_at - DOUBT_SECONDS }
    }

    /// What is known of this file, when it is still as it was.
    pub(super) fn get(&self, node: &Node) -> Option<(&'a FileData, &'a Meta)> {
        let (data, meta) = self.files.get(&node.path[..])?;
        let status = &node.status;
        let same = (data.size, data.origin.inode, data.origin.changed, meta.mtime)
            == (status.size, status.inode, status.changed, status.modified);
        (same && status.changed.seconds < self.before).then_some((*data, *meta))
    }
}
