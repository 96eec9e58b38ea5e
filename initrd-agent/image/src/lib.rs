//! The image format of sysclone and all that is done with it: capture of a running file tree, apply to a mounted
//! one, verification, and the server's store. No network here: packs travel through [`PackSink`] and [`PackSource`].
//!
//! An image generation is one signed [`Manifest`] and the packs that it names. Files are cut into content-defined
//! chunks (BLAKE3), chunks are gathered into frames (zstd, then ChaCha20-Poly1305), frames into packs that are named
//! by the hash of their bytes and never change.

mod apply;
mod capture;
mod chunk;
mod content;
mod crypt;
mod diff;
mod entry;
mod exclude;
mod fiemap;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod id;
mod inode;
mod manifest;
mod pack;
mod readback;
pub mod sign;
mod store;
mod tables;
mod tree;
pub mod update;
mod walk;

pub use apply::{ApplyError, ApplyJob, ApplyProgress, ApplyReport, ApplyWarning, Before, apply};
pub use capture::{CaptureError, CaptureFacts, CaptureJob, CaptureOptions, CaptureProgress, capture};
pub use content::read_file;
pub use crypt::{ImageKey, KeyError};
pub use diff::{Change, Diff, Difference, diff};
pub use entry::{Content, Entry, EntryKind, Extent, FileData, InodeFlags, Meta, Origin, Time, Xattr};
pub use exclude::{ExcludeError, Excludes, VOLATILE};
pub use id::{ChunkHash, IdError, ManifestDigest, PackId};
pub use manifest::{Chunk, DeltaError, Frame, Header, Manifest, ManifestError, Notice, OsIdentity, Pack};
pub use pack::{
    Giver, IndexedChunk, IndexedFrame, PackBytes, PackError, PackIndex, PackSink, PackSource, read_index,
};
pub use store::{
    Accept, BadPack, Damage, ExportHead, ExportJob, ExportReport, FsckJob, FsckReport, GcReport, GcRule,
    HealReport, Holder, Hurt, ImportReport, Made, MostlyDead, PackDirectory, Pin, PutOutcome, RepackReport,
    RepairReport, RetentionRule, Store, StoreError, StoredPack, VerifyReport, plan_retention,
};
