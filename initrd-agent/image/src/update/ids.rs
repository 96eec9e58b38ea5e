//! Short identities of content and attributes, by which generations and the stat cache are compared.

use std::io::Write as _;

use crate::apply::chunks_of;
use crate::entry::{FileData, InodeFlags, Meta, Xattr};
use crate::manifest::Chunk;

/// What a regular file holds.
pub(super) type ContentId = [u8; 16];
/// Extended attributes and flags of an inode; zeros when it has none.
pub(super) type AttributesId = [u8; 16];

fn short(hash: &blake3::Hasher) -> [u8; 16] {
    let mut id = [0; 16];
    hash.finalize_xof().fill(&mut id);
    id
}

/// Equal for files whose bytes are equal and were cut alike.
pub(super) fn content_id(data: &FileData, chunks: &[Chunk]) -> ContentId {
    let mut hash = blake3::Hasher::new();
    hash.update(&data.size.to_le_bytes());
    for (chunk, offset) in chunks_of(data) {
        hash.update(&offset.to_le_bytes()).update(&chunks[chunk as usize].hash.0);
    }
    short(&hash)
}

/// Equal for equal attributes and flags.
pub(super) fn attributes_id(xattrs: &[Xattr], flags: InodeFlags) -> AttributesId {
    if xattrs.is_empty() && flags == InodeFlags::default() {
        return [0; 16];
    }
    let mut hash = blake3::Hasher::new();
    let bytes = postcard::to_allocvec(&(xattrs, flags)).expect("attributes always encode");
    hash.write_all(&bytes).expect("a hash takes everything");
    short(&hash)
}

/// Whether two entries' metadata is the same, times of directories aside: those change with every name in them.
pub(super) fn same_meta(a: &Meta, b: &Meta, is_directory: bool) -> bool {
    (a.mode, a.uid, a.gid, a.flags, &a.xattrs) == (b.mode, b.uid, b.gid, b.flags, &b.xattrs)
        && (is_directory || a.mtime == b.mtime)
}
