//! The manifest of one image generation: all that is known about it, except the bytes of its files.
//!
//! Encoded form, integers little-endian: 8 bytes magic, `u16` format, `u64` length of the plain bytes, then the plain
//! bytes as one zstd stream. The plain bytes are postcard of [`Manifest`]'s fields in order; layout and boot facts
//! are JSON inside it, because their types are the wire protocol's and describe themselves.

mod check;
mod codec;
mod delta;
mod subtree;
mod without;

use serde::{Deserialize, Serialize};
use sysclone_protocol::boot::BootFacts;
use sysclone_protocol::layout::Layout;
use sysclone_protocol::names::{ImageName, ImageRef};

pub use codec::ManifestError;
pub(crate) use codec::decode_header;
#[cfg(any(test, fuzzing))]
pub(crate) use codec::wrap;
pub use delta::DeltaError;
#[cfg(any(test, fuzzing))]
pub(crate) use delta::apply_delta_fields;

use crate::entry::{Entry, EntryKind};
use crate::id::{ChunkHash, PackId};

/// The manifest format that this version writes and reads.
pub(crate) const FORMAT: u16 = 1;

/// The largest chunk a manifest may name. The cutter stops at half a MiB; the rest is room for a later format.
pub(crate) const MAX_CHUNK_BYTES: u32 = 4 << 20;

/// The largest frame a manifest may name; bounds the memory that one frame takes when applied.
pub(crate) const MAX_FRAME_BYTES: u32 = 8 << 20;

/// One image generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What, when, from where.
    pub header: Header,
    /// The golden client's disks.
    pub layout: Layout,
    /// How it boots.
    pub boot: BootFacts,
    /// Every name; the first is the root directory, a directory comes before what is in it.
    pub entries: Vec<Entry>,
    /// Chunks by frame and offset.
    pub chunks: Vec<Chunk>,
    /// Frames by pack and offset.
    pub frames: Vec<Frame>,
    /// Packs in deploy order.
    pub packs: Vec<Pack>,
}

/// What was captured, when and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Image name.
    pub image: ImageName,
    /// Generation, counted from 1; the store decides it.
    pub generation: u32,
    /// The generation whose packs were reused.
    pub parent: Option<u32>,
    /// The captured operating system.
    pub os: OsIdentity,
    /// Architecture as the kernel names it (`x86_64`, `ppc64le`, `ppc64`).
    pub arch: String,
    /// When the capture began, golden client's clock, seconds since the epoch.
    pub captured_at: i64,
    /// Host name of the golden client.
    pub source: String,
    /// Patterns that were left out, the built-in ones too.
    pub excludes: Vec<String>,
    /// Types of SSH host key the golden client has (`rsa`, `ed25519`), so that a clone gets its own of each.
    pub host_key_types: Vec<String>,
    /// Files that did not hold still while they were read.
    pub inconsistent: Vec<Notice>,
    /// Names that are not in the image although no pattern excludes them (sockets, subvolumes).
    pub skipped: Vec<Notice>,
}

/// A captured operating system, from its os-release file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsIdentity {
    /// `ID` (`debian`).
    pub id: String,
    /// `VERSION_ID` (`12`).
    pub version: String,
    /// `PRETTY_NAME`.
    pub name: String,
}

/// Something to know about one path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Notice {
    /// Path from the root without a leading slash, raw bytes.
    #[serde(with = "serde_bytes")]
    pub path: Vec<u8>,
    /// What there is to know.
    pub reason: String,
}

/// A piece of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Hash of the plain bytes.
    pub hash: ChunkHash,
    /// Length in bytes.
    pub len: u32,
    /// Frame that holds it, by index.
    pub frame: u32,
    /// Where it begins in the frame's plain bytes.
    pub offset: u32,
}

/// The unit of fetching, decrypting and decompressing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Pack that holds it, by index.
    pub pack: u32,
    /// Its number in that pack; the nonce of its encryption.
    pub number: u32,
    /// Where it begins in the pack, in bytes.
    pub offset: u64,
    /// Length in the pack in bytes.
    pub stored_len: u32,
    /// Length of its plain bytes.
    pub plain_len: u32,
}

/// A pack that holds frames of this generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// Its name.
    pub id: PackId,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its salt, from which its key is derived.
    pub salt: [u8; 32],
}

impl Manifest {
    /// `image@generation`.
    #[must_use]
    pub fn image_ref(&self) -> ImageRef {
        ImageRef { name: self.header.image.clone(), generation: self.header.generation }
    }

    /// Sum of the sizes of all regular files, holes counted, hard links once.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.entries.iter().fold(0, |sum, entry| match &entry.kind {
            EntryKind::File(data) => sum.saturating_add(data.size),
            EntryKind::Directory
            | EntryKind::Symlink { .. }
            | EntryKind::HardLink { .. }
            | EntryKind::CharDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo => sum,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::entry::{Content, Extent, FileData, Meta, Xattr};
    use crate::pack::HEADER_BYTES;
    use sysclone_protocol::boot::{Initramfs, Loader};
    use sysclone_protocol::inventory::Firmware;

    fn entry(path: &[u8], kind: EntryKind) -> Entry {
        Entry { path: path.to_vec(), kind, meta: Meta { mode: 0o755, ..Meta::default() } }
    }

    /// A manifest that uses every feature of the format.
    pub(crate) fn small() -> Manifest {
        let chunk = |text: &[u8], offset| Chunk {
            hash: ChunkHash::of(text),
            len: u32::try_from(text.len()).unwrap(),
            frame: 0,
            offset,
        };
        let extents = vec![
            Extent { offset: 0, content: Content::Chunk(0) },
            Extent { offset: 4096, content: Content::Zeros(4096) },
            Extent { offset: 1 << 32, content: Content::Chunk(1) },
        ];
        let file = FileData { size: (1 << 32) + 5, extents, origin: crate::entry::Origin::default() };
        let mut special = entry(b"file", EntryKind::File(file));
        special.meta.xattrs = vec![
            Xattr { name: b"security.capability".to_vec(), value: vec![1, 0, 0, 2] },
            Xattr { name: b"user.a".to_vec(), value: vec![] },
        ];
        special.meta.flags.immutable = true;
        let link = Entry { meta: Meta::default(), ..entry(b"sub/link", EntryKind::HardLink { first: 1 }) };
        Manifest {
            header: header(),
            layout: Layout::default(),
            boot: BootFacts {
                firmware: Firmware::Bios,
                loader: Loader::Grub2Bios,
                loader_disks: vec!["vda".into()],
                boot_device: None,
                kernels: vec![],
                initramfs: Initramfs::InitramfsTools,
                kernel_cmdline: String::new(),
            },
            entries: vec![
                entry(b"", EntryKind::Directory),
                special,
                entry(b"sub", EntryKind::Directory),
                entry(b"sub/\xff\xfe", EntryKind::Symlink { target: b"../x".to_vec() }),
                link,
                entry(b"sub/null", EntryKind::CharDevice { major: 1, minor: 3 }),
                entry(b"sub/disk", EntryKind::BlockDevice { major: 8, minor: 0 }),
                entry(b"sub/pipe", EntryKind::Fifo),
            ],
            chunks: vec![chunk(b"hello", 0), chunk(b"world", 5)],
            frames: vec![Frame { pack: 0, number: 0, offset: HEADER_BYTES, stored_len: 40, plain_len: 10 }],
            packs: vec![Pack { id: PackId([9; 32]), bytes: 200, salt: [3; 32] }],
        }
    }

    fn header() -> Header {
        Header {
            image: "demo".parse().unwrap(),
            generation: 2,
            parent: Some(1),
            os: OsIdentity { id: "debian".into(), version: "12".into(), name: "Debian".into() },
            arch: "x86_64".into(),
            captured_at: 1_700_000_000,
            source: "golden".into(),
            excludes: vec!["/tmp/*".into()],
            host_key_types: vec!["ed25519".into()],
            inconsistent: vec![Notice { path: b"var/log/x".to_vec(), reason: "changed".into() }],
            skipped: vec![],
        }
    }
}
