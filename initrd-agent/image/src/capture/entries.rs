//! Turns what was found and read into the manifest's entries.

use std::collections::HashMap;

use super::CaptureError;
use super::pipeline::FileContent;
use crate::entry::{Entry, EntryKind, FileData, Meta, Origin};
use crate::walk::{Node, NodeKind};

/// One entry per name that still is there; chunk indices are the capture's own.
pub(super) fn entries(
    nodes: Vec<Node>,
    mut contents: HashMap<usize, FileContent>,
) -> Result<Vec<Entry>, CaptureError> {
    let mut entries = Vec::with_capacity(nodes.len());
    let mut new_index: HashMap<usize, u32> = HashMap::new();
    for (index, node) in nodes.into_iter().enumerate() {
        let position = u32::try_from(entries.len()).map_err(|_| CaptureError::TooLarge)?;
        let kind = match &node.kind {
            NodeKind::Gone => continue,
            NodeKind::Directory => EntryKind::Directory,
            NodeKind::File => EntryKind::File(FileData {
                size: node.status.size,
                extents: contents.remove(&index).expect("every file was read or is known").extents,
                origin: Origin { inode: node.status.inode, changed: node.status.changed },
            }),
            NodeKind::Symlink(target) => EntryKind::Symlink { target: target.clone() },
            NodeKind::HardLink(first) => EntryKind::HardLink {
                first: *new_index.get(first).expect("the first name of an inode comes first and is kept"),
            },
            NodeKind::CharDevice { major, minor } => EntryKind::CharDevice { major: *major, minor: *minor },
            NodeKind::BlockDevice { major, minor } => EntryKind::BlockDevice { major: *major, minor: *minor },
            NodeKind::Fifo => EntryKind::Fifo,
        };
        let link = matches!(kind, EntryKind::HardLink { .. });
        if !link && node.status.links > 1 {
            new_index.insert(index, position);
        }
        let meta = if link { Meta::default() } else { meta(&node) };
        entries.push(Entry { path: node.path, kind, meta });
    }
    Ok(entries)
}

fn meta(node: &Node) -> Meta {
    Meta {
        mode: u16::try_from(node.status.mode & 0o7777).expect("twelve bits fit"),
        uid: node.status.uid,
        gid: node.status.gid,
        mtime: node.status.modified,
        flags: node.flags,
        xattrs: node.xattrs.clone(),
    }
}
