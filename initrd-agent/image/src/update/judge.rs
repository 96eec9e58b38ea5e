//! Compares one path of the machine with one generation.

use rustix::fs::{FileType, major, minor};

use super::ids::{attributes_id, same_meta};
use super::look::Look;
use super::side::Side;
use crate::entry::{Entry, EntryKind, Meta, Time};
use crate::walk::{Node, NodeKind};

/// Precision of times on FAT.
const FAT_SECONDS: i64 = 2;

/// How a path of the machine is to a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As the generation has it.
    Same,
    /// Not there.
    Missing,
    /// Something else is mounted on it.
    Foreign,
    /// Owner, mode, time, attributes or flags differ.
    Metadata,
    /// Its content differs, too.
    Content,
    /// It is of another type.
    Type,
}

/// Compares the path of an entry; `entry` describes its inode.
pub(super) fn judge(look: &Look, path: &[u8], (side, entry): (&Side<'_>, &Entry)) -> Verdict {
    let Some((index, node)) = look.at(path) else { return Verdict::Missing };
    if node.status.file_type() == FileType::Directory && !node.listed {
        return Verdict::Foreign;
    }
    match same_content(look, (index, node), (side, entry)) {
        None => Verdict::Type,
        Some(false) => Verdict::Content,
        Some(true) if has_meta(look, (index, node), &entry.meta) => Verdict::Same,
        Some(true) => Verdict::Metadata,
    }
}

/// None when the types differ.
fn same_content(
    look: &Look,
    (index, node): (usize, &Node),
    (side, entry): (&Side<'_>, &Entry),
) -> Option<bool> {
    let numbers = || (major(node.status.special), minor(node.status.special));
    match (&entry.kind, node.status.file_type()) {
        (EntryKind::Directory, FileType::Directory) | (EntryKind::Fifo, FileType::Fifo) => Some(true),
        (EntryKind::File(data), FileType::RegularFile) => {
            let content = look.read(index).and_then(|read| read.content);
            Some(content == Some(side.content(data)))
        }
        (EntryKind::Symlink { target }, FileType::Symlink) => {
            Some(matches!(&look.first(node).kind, NodeKind::Symlink(now) if now == target))
        }
        (EntryKind::CharDevice { major, minor }, FileType::CharacterDevice)
        | (EntryKind::BlockDevice { major, minor }, FileType::BlockDevice) => {
            Some((*major, *minor) == numbers())
        }
        _ => None,
    }
}

fn has_meta(look: &Look, (index, node): (usize, &Node), meta: &Meta) -> bool {
    let is_directory = node.status.file_type() == FileType::Directory;
    if look.is_fat(node) {
        return is_directory || near(node.status.modified, meta.mtime);
    }
    let status = &node.status;
    let now = Meta {
        mode: u16::try_from(status.mode & 0o7777).unwrap_or_default(),
        uid: status.uid,
        gid: status.gid,
        mtime: status.modified,
        ..Meta::default()
    };
    let plain = Meta { flags: now.flags, xattrs: Vec::new(), ..meta.clone() };
    let attributes = match look.read(index) {
        Some(read) => read.attributes,
        None => attributes_id(&look.first(node).xattrs, node.flags),
    };
    let mode_counts = status.file_type() != FileType::Symlink;
    let plain = if mode_counts { plain } else { Meta { mode: now.mode, ..plain } };
    same_meta(&now, &plain, is_directory) && attributes == attributes_id(&meta.xattrs, meta.flags)
}

fn near(a: Time, b: Time) -> bool {
    (a.seconds - b.seconds).abs() <= FAT_SECONDS
}

impl Look {
    /// The node that describes a node's inode: itself, or its first name.
    pub(super) fn first<'a>(&'a self, node: &'a Node) -> &'a Node {
        match node.kind {
            NodeKind::HardLink(first) => self.nodes.get(first).unwrap_or(node),
            _ => node,
        }
    }
}
