//! Judges whether what was read of a file is a state that the file had.

use std::os::fd::BorrowedFd;

use super::CaptureError;
use super::read::{Probe, allocated, append};
use crate::chunk::MAX_BYTES;
use crate::entry::display;
use crate::id::ChunkHash;
use crate::inode::Status;

/// What became of a file while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// Nothing.
    Steady,
    /// It is longer. What was read is a state that it had, unless its beginning changed too.
    Grown,
    /// Anything else.
    Changed,
}

/// What became of a file since it was opened.
pub(super) fn since(fd: BorrowedFd<'_>, probe: &Probe, path: &[u8]) -> Result<Since, CaptureError> {
    let failed = |source| CaptureError::Metadata { what: "status", path: display(path), source };
    let now = Status::of(fd).map_err(failed)?;
    Ok(if probe.status.is_unchanged(&now) {
        Since::Steady
    } else if now.size > probe.status.size {
        Since::Grown
    } else {
        Since::Changed
    })
}

/// A range that was read: where, how long, and its hash; none when it was all zeros.
pub(super) type Seen = (u64, u64, Option<ChunkHash>);

/// Whether a file that grew still begins with what was read. A log does; a file that was also rewritten does not.
pub(super) fn begins_the_same(
    fd: BorrowedFd<'_>,
    (probe, path): (&Probe, &[u8]),
    seen: impl IntoIterator<Item = Seen>,
) -> Result<bool, CaptureError> {
    let failed = |source| CaptureError::Metadata { what: "holes", path: display(path), source };
    if allocated(fd, probe.status.size).map_err(failed)? != probe.ranges {
        return Ok(false);
    }
    let mut buffer = Vec::new();
    for (offset, len, hash) in seen {
        let mut at = offset;
        while at < offset + len {
            let end = (offset + len).min(at + u64::from(MAX_BYTES));
            buffer.clear();
            append(fd, at..end, (path, &mut buffer))?;
            let zeros = || buffer.iter().all(|byte| *byte == 0);
            let same = buffer.len() as u64 == end - at
                && hash.map_or_else(zeros, |hash| ChunkHash::of(&buffer) == hash);
            if !same {
                return Ok(false);
            }
            at = end;
        }
    }
    Ok(true)
}
