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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Origin, Time};
    use crate::inode::Status;
    use crate::manifest::Notice;
    use crate::manifest::tests::small;
    use crate::walk::NodeKind;

    const CHANGED: Time = Time { seconds: 1_699_999_997, nanos: 5 };

    /// The manifest's file, read in this state, and a node for the same path.
    fn known() -> (Manifest, Node) {
        let mut manifest = small();
        let EntryKind::File(data) = &mut manifest.entries[1].kind else {
            panic!("the second entry is the file")
        };
        data.origin = Origin { inode: 12, changed: CHANGED };
        let status = Status {
            device: 1,
            inode: 12,
            links: 1,
            mode: 0o100_755,
            uid: 0,
            gid: 0,
            special: 0,
            size: data.size,
            allocated: 0,
            modified: Time::default(),
            changed: CHANGED,
        };
        let (path, kind) = (b"file".to_vec(), NodeKind::File);
        (
            manifest,
            Node {
                path,
                status,
                kind,
                xattrs: Vec::new(),
                flags: crate::entry::InodeFlags::default(),
                listed: false,
            },
        )
    }

    #[test]
    fn a_file_is_known_by_every_name_while_nothing_about_it_changed() {
        let (manifest, mut node) = known();
        assert!(Unchanged::new(&manifest).get(&node).is_some());
        node.path = b"sub/link".to_vec();
        assert!(Unchanged::new(&manifest).get(&node).is_some(), "by its hard link");
        node.path = b"sub/pipe".to_vec();
        assert!(Unchanged::new(&manifest).get(&node).is_none(), "the pipe was no file");
    }

    #[test]
    fn a_file_is_read_again_when_anything_differs_or_is_doubtful() {
        let differences: [fn(&mut Manifest, &mut Node); 6] = [
            |_, node| node.status.size += 1,
            |_, node| node.status.inode += 1,
            |_, node| node.status.modified.nanos += 1,
            |_, node| node.status.changed.nanos += 1,
            |manifest, _| manifest.header.captured_at = CHANGED.seconds + DOUBT_SECONDS,
            |manifest, _| {
                let notice = Notice { path: b"file".to_vec(), reason: String::new() };
                manifest.header.inconsistent.push(notice);
            },
        ];
        for (number, change) in differences.iter().enumerate() {
            let (mut manifest, mut node) = known();
            change(&mut manifest, &mut node);
            assert!(Unchanged::new(&manifest).get(&node).is_none(), "difference {number}");
        }
    }
}
