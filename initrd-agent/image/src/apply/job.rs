//! What a deployment is told, what it tells, and how it fails.

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::crypt::ImageKey;
use crate::id::PackId;
use crate::manifest::Manifest;
use crate::pack::PackSource;

/// One deployment.
#[derive(Clone, Copy)]
pub struct ApplyJob<'a> {
    /// What to write; from [`crate::sign::open`].
    pub manifest: &'a Manifest,
    /// The image's key.
    pub key: &'a ImageKey,
    /// Where packs are read from.
    pub source: &'a dyn PackSource,
    /// The target's root with all its file systems mounted.
    pub root: &'a Path,
    /// What is in it.
    pub before: Before<'a>,
    /// Worker threads, 1 to 16.
    pub threads: usize,
}

/// What the target's root holds before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before<'a> {
    /// Nothing but `lost+found` and the like.
    Nothing,
    /// What an interrupted deployment of the same image left. Content that is whole is kept, everything else is
    /// removed but for these names in the root.
    Interrupted(&'a [&'a [u8]]),
}

/// How far it is, in bytes of frames written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApplyProgress {
    /// Done.
    pub done: u64,
    /// In all.
    pub total: u64,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApplyReport {
    /// Directories.
    pub directories: u64,
    /// Regular files.
    pub files: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Additional names of files.
    pub hard_links: u64,
    /// Devices and pipes.
    pub specials: u64,
    /// Bytes of file content written.
    pub bytes: u64,
    /// Bytes of file content that were whole before.
    pub kept_bytes: u64,
    /// Bytes of packs fetched; what had to be fetched twice counts twice.
    pub fetched_bytes: u64,
    /// Bytes of packs that had to be fetched at least.
    pub needed_bytes: u64,
    /// What the target's file systems refused and can do without.
    pub warnings: Vec<ApplyWarning>,
}

/// Something that a file system refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyWarning {
    /// What was refused, and with which error.
    pub what: String,
    /// The first path it was refused for.
    pub example: String,
    /// For how many paths.
    pub count: u64,
}

/// Why a deployment failed. The tree is incomplete, but no file in it looks whole that is not.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The target could not be opened.
    #[error("opening the target's root {path}")]
    Root {
        /// The root.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A pack could not be fetched.
    #[error("fetching bytes {}-{} of pack {pack} of image {image}", range.start, range.end)]
    Fetch {
        /// `image@generation`.
        image: String,
        /// The pack.
        pack: PackId,
        /// Which bytes.
        range: Range<u64>,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was fetched is not what was captured.
    #[error("image {image} is damaged: pack {pack}, frame {frame} (first file: {path}): {what}")]
    Damaged {
        /// `image@generation`.
        image: String,
        /// The pack.
        pack: PackId,
        /// The frame's number in it.
        frame: u32,
        /// A file that needs it.
        path: String,
        /// What does not fit.
        what: &'static str,
    },
    /// A thread of the deployment ended without saying why.
    #[error("a thread of the deployment ended early")]
    Stopped,
    /// The target refused something that the clone cannot do without.
    #[error("{doing} {path}")]
    Write {
        /// `creating`, `writing`…
        doing: &'static str,
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}
