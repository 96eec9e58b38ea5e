//! The journal of an update: what is to be swapped, so that an update that began is finished whatever interrupts it,
//! and can be undone.
//!
//! In the root of every file system concerned there is a directory with slots. For number `N`, the file `N` is the new
//! version that waits, and `N.old` is the version before. Which of them are there says how far a swap is; nothing else
//! is written while swapping.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{UpdateError, call};
use crate::entry::{InodeFlags, Meta, Time};

/// Name of the file in an update's state directory.
const NAME: &str = "journal";
/// First bytes: name and format.
const MAGIC: &[u8; 8] = b"SYSCUJ1\n";

/// How far an update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// All is ready and verified; swaps may have begun. It is finished by going forward.
    Applying,
    /// Done; the version before is kept.
    Applied,
    /// Going back may have begun. It is finished by going back.
    RollingBack,
}

/// What is done with one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum OpKind {
    /// The slot's file takes the path's place.
    Put {
        /// Whether the new one is a directory.
        directory: bool,
        /// Flags of the old one that forbid changes.
        old_flags: InodeFlags,
        /// Flags that the new one gets in the end.
        new_flags: InodeFlags,
    },
    /// The path goes into the slot.
    Remove {
        /// Its flags that forbid changes.
        old_flags: InodeFlags,
    },
    /// The inode's metadata changes in its place.
    Meta {
        /// As it was.
        old: Meta,
        /// As it gets.
        new: Meta,
    },
}

/// One swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Op {
    #[serde(with = "serde_bytes")]
    pub(super) path: Vec<u8>,
    /// Index of its file system in [`Journal::mounts`].
    pub(super) mount: u32,
    pub(super) slot: u32,
    pub(super) late: bool,
    pub(super) kind: OpKind,
}

/// A directory in which names are swapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Touched {
    #[serde(with = "serde_bytes")]
    pub(super) path: Vec<u8>,
    /// Its time before; none for one that is new.
    pub(super) old: Option<Time>,
    /// Its time afterwards.
    pub(super) new: Time,
    /// Flags that forbid changes of its names.
    pub(super) old_flags: InodeFlags,
    /// The same afterwards.
    pub(super) new_flags: InodeFlags,
}

/// A mount point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MountPath(#[serde(with = "serde_bytes")] pub(super) Vec<u8>);

/// The journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Generation before (`compute@3`), when it was known.
    pub from: Option<String>,
    /// Generation afterwards.
    pub to: String,
    /// How far it is.
    pub progress: Progress,
    /// File systems with slots, as paths of the tree.
    pub(super) mounts: Vec<MountPath>,
    pub(super) ops: Vec<Op>,
    /// Deepest first.
    pub(super) touched: Vec<Touched>,
}

impl Journal {
    /// Reads the journal; none when there is none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn load(state: &Path) -> Result<Option<Self>, UpdateError> {
        let path = state.join(NAME);
        let shown = path.display().to_string();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(call("reading", shown)(error)),
        };
        let damaged = |what: &str| UpdateError::Journal { path: shown.clone(), what: what.to_owned() };
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("it does not begin as a journal"))?;
        let (hash, plain) = rest.split_at_checked(blake3::OUT_LEN).ok_or_else(|| damaged("it is cut off"))?;
        if blake3::hash(plain).as_bytes() != hash {
            return Err(damaged("its checksum does not fit"));
        }
        postcard::from_bytes(plain).map(Some).map_err(|error| damaged(&error.to_string()))
    }

    /// Writes the journal, and returns when it is on the disk.
    pub(super) fn save(&self, state: &Path) -> Result<(), UpdateError> {
        let path = state.join(NAME);
        let put = || -> io::Result<()> {
            let plain = postcard::to_allocvec(self).map_err(io::Error::other)?;
            let new = path.with_extension("new");
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(MAGIC)?;
            file.write_all(blake3::hash(&plain).as_bytes())?;
            file.write_all(&plain)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(state)?.sync_all()
        };
        put().map_err(call("writing", path.display().to_string()))
    }

    /// Removes the journal, and returns when that is on the disk.
    pub(super) fn remove(state: &Path) -> Result<(), UpdateError> {
        let path = state.join(NAME);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(call("removing", path.display().to_string())(error)),
        }
        File::open(state).and_then(|d| d.sync_all()).map_err(call("writing", state.display().to_string()))
    }

    /// Number of swaps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The paths that are swapped, as people read them.
    pub fn paths(&self) -> impl Iterator<Item = String> + '_ {
        self.ops.iter().map(|op| crate::entry::display(&op.path))
    }

    /// Whether it is neither finished nor undone.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        match self.progress {
            Progress::Applying | Progress::RollingBack => true,
            Progress::Applied => false,
        }
    }

    /// The mount points concerned, below `root`.
    pub(super) fn mount_paths(&self, root: &Path) -> Vec<PathBuf> {
        use std::os::unix::ffi::OsStrExt as _;
        self.mounts.iter().map(|mount| root.join(std::ffi::OsStr::from_bytes(&mount.0))).collect()
    }
}
