//! What one name in an image is: type, metadata, and where its bytes are.

use serde::{Deserialize, Serialize};

/// One name of the captured tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path from the root without a leading slash, raw bytes; empty for the root directory itself.
    #[serde(with = "serde_bytes")]
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Its metadata. [`Meta::default`] for a hard link: the metadata is the first name's.
    pub meta: Meta,
}

/// Types of entry. Sockets are not captured: only their owner can make them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File(FileData),
    /// A symbolic link.
    Symlink {
        /// What it points to, as written.
        #[serde(with = "serde_bytes")]
        target: Vec<u8>,
    },
    /// One more name of an inode that an earlier entry describes.
    HardLink {
        /// Index of that entry; it is neither a directory nor a hard link.
        first: u32,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// The bytes of a regular file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileData {
    /// Size in bytes.
    pub size: u64,
    /// Allocated ranges by offset; a gap is a hole.
    pub extents: Vec<Extent>,
    /// Which inode in which state was read, so that the next capture need not read it again.
    pub origin: Origin,
}

/// An allocated range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// What is there.
    pub content: Content,
}

/// Content of an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// The bytes of a chunk, by index into the manifest's chunk table.
    Chunk(u32),
    /// This many zero bytes that occupy disk space.
    Zeros(u64),
}

/// The state of the inode that was read on the golden client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Inode number.
    pub inode: u64,
    /// Time of its last change.
    pub changed: Time,
}

/// A point in time as file systems store it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time {
    /// Seconds since the epoch; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after that second, below 1 000 000 000.
    pub nanos: u32,
}

/// Ownership, permissions, times and attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Permission bits with set-id and sticky bits (`0o7777`).
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Time,
    /// Inode flags.
    pub flags: InodeFlags,
    /// Extended attributes of every name space, by name. ACLs, capabilities and SELinux labels are among them.
    pub xattrs: Vec<Xattr>,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Xattr {
    /// Full name (`security.capability`).
    #[serde(with = "serde_bytes")]
    pub name: Vec<u8>,
    /// Value, as the kernel gives it.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
}

/// The inode flags that are worth keeping on another disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "FlagBytes", try_from = "FlagBytes")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct InodeFlags {
    /// `chattr +i`.
    pub immutable: bool,
    /// `chattr +a`.
    pub append: bool,
    /// `chattr +C` (btrfs: no copy on write).
    pub nocow: bool,
    /// `chattr +d` (not for dump).
    pub nodump: bool,
    /// `chattr +A` (no time of last access).
    pub noatime: bool,
    /// `chattr +S` (written at once).
    pub sync: bool,
    /// `chattr +D` (a directory whose names are written at once).
    pub dirsync: bool,
}

/// Immutable, append-only, and the other flags as bits. The third byte was nocow alone once, so images without the
/// newer flags are the same bytes as ever.
type FlagBytes = (bool, bool, u8);

impl From<InodeFlags> for FlagBytes {
    fn from(flags: InodeFlags) -> Self {
        let InodeFlags { immutable, append, nocow, nodump, noatime, sync, dirsync } = flags;
        let bits = [nocow, nodump, noatime, sync, dirsync];
        let byte = (0..).zip(bits).fold(0, |byte, (place, bit)| byte | u8::from(bit) << place);
        (immutable, append, byte)
    }
}

impl TryFrom<FlagBytes> for InodeFlags {
    type Error = String;
    fn try_from((immutable, append, byte): FlagBytes) -> Result<Self, String> {
        if byte >> 5 != 0 {
            return Err(format!("inode flags {byte:#x} are of a later version"));
        }
        let bit = |place: u8| byte >> place & 1 == 1;
        let (nocow, nodump, noatime, sync, dirsync) = (bit(0), bit(1), bit(2), bit(3), bit(4));
        Ok(Self { immutable, append, nocow, nodump, noatime, sync, dirsync })
    }
}

impl Entry {
    /// The directory that holds it and its name there; none for the root directory.
    #[must_use]
    pub fn split(&self) -> Option<(&[u8], &[u8])> {
        split(&self.path)
    }

    /// The path as people read it, with a leading slash.
    #[must_use]
    pub fn display(&self) -> String {
        display(&self.path)
    }
}

/// Splits a path into the directory that holds it and its name; none for the root directory.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None if path.is_empty() => None,
        None => Some((b"", path)),
    }
}

/// A path as people read it, with a leading slash; bytes that are not UTF-8 are replaced.
pub(crate) fn display(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

/// Joins a directory's path and a name in it.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_keep_the_form_of_images_that_had_three_of_them() {
        let encode = |flags: InodeFlags| postcard::to_allocvec(&flags).unwrap();
        assert_eq!(encode(InodeFlags { append: true, nocow: true, ..InodeFlags::default() }), [0, 1, 1]);
        let all = InodeFlags {
            immutable: true,
            append: true,
            nocow: true,
            nodump: true,
            noatime: true,
            sync: true,
            dirsync: true,
        };
        assert_eq!(encode(all), [1, 1, 0x1f]);
        assert_eq!(postcard::from_bytes(&[1, 1, 0x1f]), Ok(all));
        assert!(postcard::from_bytes::<InodeFlags>(&[0, 0, 0x20]).is_err());
    }

    #[test]
    fn paths_split_into_directory_and_name() {
        assert_eq!(split(b""), None);
        assert_eq!(split(b"etc"), Some((&b""[..], &b"etc"[..])));
        assert_eq!(split(b"etc/ssh/x"), Some((&b"etc/ssh"[..], &b"x"[..])));
        assert_eq!(join(b"", b"etc"), b"etc");
        assert_eq!(join(b"etc", b"x"), b"etc/x");
    }
}
