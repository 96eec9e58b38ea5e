//! What is known of files that were read before: while nothing about an inode changes, nor does what it holds.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;

use super::ids::{AttributesId, ContentId};
use crate::entry::Time;
use crate::inode::Status;

/// Name of the file in an update's state directory.
const NAME: &str = "cache";
/// First bytes: name and format.
const MAGIC: &[u8; 8] = b"SYSCUC1\n";
/// A file that changed less than this before it was read may change once more in the same tick of the file system's
/// clock.
const DOUBT_SECONDS: i64 = 2;

/// What is known of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    inode: u64,
    size: u64,
    modified: Time,
    changed: Time,
    pub(super) content: ContentId,
    pub(super) attributes: AttributesId,
}

impl Known {
    pub(super) fn new(status: &Status, content: ContentId, attributes: AttributesId) -> Self {
        let Status { inode, size, modified, changed, .. } = *status;
        Self { inode, size, modified, changed, content, attributes }
    }

    fn is_of(&self, status: &Status) -> bool {
        (self.inode, self.size, self.modified, self.changed)
            == (status.inode, status.size, status.modified, status.changed)
    }
}

/// Files by path.
#[derive(Debug, Default)]
pub(super) struct Cache(HashMap<Box<[u8]>, Known>);

/// One file, with its path as what reads or writes has it.
#[derive(Serialize, Deserialize)]
struct Line<P>(P, Known);

impl Cache {
    /// Reads what the last update or dry run left; nothing when there is none, or it is damaged: all is read again.
    pub(super) fn load(state: &Path) -> Self {
        Self::try_load(&state.join(NAME)).unwrap_or_default()
    }

    fn try_load(path: &Path) -> Option<Self> {
        let bytes = fs::read(path).ok()?;
        let (hash, plain) = bytes.strip_prefix(MAGIC)?.split_at_checked(blake3::OUT_LEN)?;
        if blake3::hash(plain).as_bytes() != hash {
            return None;
        }
        let lines: Vec<Line<&[u8]>> = postcard::from_bytes(plain).ok()?;
        Some(Self(lines.into_iter().map(|Line(path, known)| (path.into(), known)).collect()))
    }

    /// What is known of this file, if it is still as it was.
    pub(super) fn get(&self, path: &[u8], status: &Status) -> Option<&Known> {
        self.0.get(path).filter(|known| known.is_of(status))
    }

    /// Keeps what was read by now, but for files that changed just before.
    pub(super) fn save<'a>(
        state: &Path,
        files: impl Iterator<Item = (&'a [u8], Known)>,
        now: i64,
    ) -> io::Result<()> {
        let lines: Vec<Line<&Bytes>> = files
            .filter(|(_, known)| known.changed.seconds < now - DOUBT_SECONDS)
            .map(|(path, known)| Line(Bytes::new(path), known))
            .collect();
        let plain = postcard::to_allocvec(&lines).map_err(io::Error::other)?;
        let new = state.join("cache.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(MAGIC)?;
        file.write_all(blake3::hash(&plain).as_bytes())?;
        file.write_all(&plain)?;
        // Not brought to the disk: one that a power cut damages is not believed.
        fs::rename(&new, state.join(NAME))
    }
}
