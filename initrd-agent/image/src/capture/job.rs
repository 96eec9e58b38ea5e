//! What a capture is told, what it tells, and how it fails.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use sysclone_protocol::boot::BootFacts;
use sysclone_protocol::layout::Layout;
use sysclone_protocol::names::ImageName;

use crate::crypt::{ImageKey, KeyError};
use crate::entry::display;
use crate::exclude::ExcludeError;
use crate::manifest::{Manifest, Notice, OsIdentity};
use crate::pack::PackIndex;

/// How to read.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    /// Where the tree is; `/` on a golden client.
    pub root: PathBuf,
    /// File systems to read, as mount points below `root`; `/` first. Every other mount point becomes an empty
    /// directory.
    pub mount_points: Vec<PathBuf>,
    /// Patterns to leave out beside [`crate::VOLATILE`] and the identity list (swap files belong here).
    pub excludes: Vec<String>,
    /// zstd level.
    pub level: i32,
    /// Worker threads, at least one.
    pub threads: usize,
    /// A file that does not hold still is an error instead of a notice.
    pub strict: bool,
    /// When what is read was the state of the tree, if not now: before its snapshots were made.
    pub as_of: Option<SystemTime>,
}

impl Default for CaptureOptions {
    /// The running system's root file system alone, level 3, up to four threads.
    fn default() -> Self {
        Self {
            root: "/".into(),
            mount_points: vec!["/".into()],
            excludes: Vec::new(),
            level: 3,
            threads: std::thread::available_parallelism().map_or(1, usize::from).min(4),
            strict: false,
            as_of: None,
        }
    }
}

/// What the manifest says about the golden client.
#[derive(Debug, Clone)]
pub struct CaptureFacts {
    /// Image to make a generation of.
    pub image: ImageName,
    /// The operating system.
    pub os: OsIdentity,
    /// Architecture as the kernel names it.
    pub arch: String,
    /// Host name.
    pub source: String,
    /// Types of SSH host key found.
    pub host_key_types: Vec<String>,
    /// Its disks.
    pub layout: Layout,
    /// How it boots.
    pub boot: BootFacts,
}

/// One capture.
#[derive(Debug)]
pub struct CaptureJob<'a> {
    /// How to read.
    pub options: CaptureOptions,
    /// What the manifest says about the golden client.
    pub facts: CaptureFacts,
    /// The generation before, whose chunks need not be sent again.
    pub parent: Option<&'a Manifest>,
    /// Whole packs of an interrupted capture, reused likewise.
    pub staged: Vec<PackIndex>,
    /// The image's key.
    pub key: &'a ImageKey,
}

/// How far a capture is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptureProgress {
    /// Names read.
    pub files: u64,
    /// Bytes of files read, or known to be unchanged.
    pub bytes: u64,
    /// Bytes in all, from the walk.
    pub total: u64,
    /// Bytes of packs put into the sink.
    pub sent: u64,
}

/// Why a capture failed. Nothing became visible; packs already put are reused by the next one.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// An exclude pattern is malformed.
    #[error("reading the exclude patterns")]
    Exclude(#[from] ExcludeError),
    /// A mount point to read is not there.
    #[error("opening {path}")]
    MountPoint {
        /// The mount point.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A name or its metadata could not be read.
    #[error("reading {what} of {path}")]
    Metadata {
        /// `names`, `attributes`…
        what: &'static str,
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file's bytes could not be read.
    #[error("reading {path} at byte {offset}")]
    Read {
        /// The file.
        path: String,
        /// Where in it.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A pack was not accepted.
    #[error("storing a pack")]
    Sink(#[source] io::Error),
    /// Compression failed.
    #[error("compressing")]
    Compress(#[source] io::Error),
    /// No key could be made.
    #[error("making a pack's key")]
    Key(#[from] KeyError),
    /// Files changed each time they were read, and the capture was to be strict.
    #[error(
        "{} changed while being read ({}), and the capture is strict: stop what writes, exclude them, or capture \
         without --strict", files(.0.len()), .0.first().map(|notice| display(&notice.path)).unwrap_or_default()
    )]
    Inconsistent(Vec<Notice>),
    /// A thread of the capture ended without saying why.
    #[error("a thread of the capture ended early")]
    Stopped,
    /// More entries, chunks or frames than the format can number.
    #[error("the tree has more than 4294967295 names or chunks, which is more than one image can hold")]
    TooLarge,
}

fn files(number: usize) -> String {
    if number == 1 { "one file".to_owned() } else { format!("{number} files") }
}
