//! Reads regular files: status before and after, attributes, allocated ranges, chunks.

use std::io;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, SeekFrom, openat, seek};
use rustix::io::{Errno, pread};

use super::CaptureError;
use super::still::Seen;
use crate::chunk::{cut, is_zeros};
use crate::entry::{InodeFlags, Xattr, display, split};
use crate::fiemap::{unwritten, without};
use crate::id::ChunkHash;
use crate::inode::{Status, XattrReader, read_flags};
use crate::tree::Directories;
use crate::walk::is_gone;

/// All about a file but its bytes, at the moment it was opened.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub status: Status,
    pub xattrs: Vec<Xattr>,
    pub flags: InodeFlags,
    /// Ranges with data below its size, in order.
    pub ranges: Vec<Range<u64>>,
    /// Ranges that have room but were never written, in order.
    pub reserved: Vec<Range<u64>>,
}

/// A chunk of a file that was read.
#[derive(Debug)]
pub(super) struct Piece {
    /// Where in the file.
    pub offset: u64,
    /// Where in the buffer it was read to.
    pub bytes: Range<usize>,
    /// Its hash; none when it is all zeros.
    pub hash: Option<ChunkHash>,
}

impl Piece {
    /// What was seen, without the bytes.
    pub(super) fn seen(&self) -> Seen {
        (self.offset, self.bytes.len() as u64, self.hash)
    }
}

/// Chunks of one range or file, in order.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub pieces: Vec<Piece>,
    /// Set when the file ended before the range did.
    pub ends_at: Option<u64>,
}

/// Opens a regular file to read it; none when it vanished or is something else by now.
pub(super) fn open_file(
    directories: &mut Directories<'_>,
    path: &[u8],
) -> Result<Option<OwnedFd>, CaptureError> {
    let (parent, name) = split(path).expect("the root is a directory, not a file");
    let opened = directories.get(parent).and_then(|parent| open_quietly(parent, name));
    match opened {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(source) => Err(CaptureError::Read { path: display(path), offset: 0, source }),
    }
}

/// Opens without changing the time of last access where that is allowed, and without waiting when the file was
/// replaced by a pipe.
fn open_quietly(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match openat(parent, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => Ok(openat(parent, name, flags, Mode::empty())?),
        other => Ok(other?),
    }
}

/// Reads status, attributes and allocated ranges; none when it is not a regular file.
pub(super) fn probe(
    fd: BorrowedFd<'_>,
    path: &[u8],
    xattrs: &mut XattrReader,
) -> Result<Option<Probe>, CaptureError> {
    let failed = |what| move |source| CaptureError::Metadata { what, path: display(path), source };
    let status = Status::of(fd).map_err(failed("status"))?;
    if status.file_type() != FileType::RegularFile {
        return Ok(None);
    }
    let ranges = allocated(fd, status.size).map_err(failed("holes"))?;
    Ok(Some(Probe {
        xattrs: xattrs.of_file(fd).map_err(failed("attributes"))?,
        flags: read_flags(fd).map_err(failed("flags"))?,
        reserved: reserved(fd, &status, &ranges).map_err(failed("reserved room"))?,
        ranges,
        status,
    }))
}

/// What blocks are counted in, and at most what a file's end is rounded up to.
const BLOCK_BYTES: u64 = 4096;

/// The ranges that have room but no data. Asked for only when more room is in use than the data takes, which costs
/// nothing for nearly every file.
fn reserved(fd: BorrowedFd<'_>, status: &Status, data: &[Range<u64>]) -> io::Result<Vec<Range<u64>>> {
    let block = |at: u64| at / BLOCK_BYTES;
    let taken: u64 = data.iter().map(|range| block(range.end + BLOCK_BYTES - 1) - block(range.start)).sum();
    let full = matches!(data, [all] if *all == (0..status.size));
    if full || status.allocated <= taken * BLOCK_BYTES {
        return Ok(Vec::new());
    }
    Ok(without(unwritten(fd, status.size)?, data))
}

/// The allocated ranges of a file below `size`; all of it where the file system does not tell.
pub(super) fn allocated(fd: BorrowedFd<'_>, size: u64) -> io::Result<Vec<Range<u64>>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(fd, SeekFrom::Data(at)) {
            Ok(start) if start < size => start,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) if at == 0 => return Ok(std::iter::once(0..size).collect()),
            Err(errno) => return Err(errno.into()),
        };
        let end = match seek(fd, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            // The file was cut off behind our back; the status afterwards will show it.
            Err(Errno::NXIO) => size,
            Err(errno) => return Err(errno.into()),
        };
        if end <= start {
            break;
        }
        ranges.push(start..end);
        at = end;
    }
    Ok(ranges)
}

/// Reads one range of a file to the end of `buffer` and cuts it into `pieces`. Stops where the file ends.
pub(super) fn read_range(
    fd: BorrowedFd<'_>,
    range: Range<u64>,
    (path, buffer, pieces): (&[u8], &mut Vec<u8>, &mut Pieces),
) -> Result<(), CaptureError> {
    let base = buffer.len();
    pieces.ends_at = append(fd, range.clone(), (path, buffer))?;
    for chunk in cut(&buffer[base..]) {
        let bytes = base + chunk.start..base + chunk.end;
        let content = &buffer[bytes.clone()];
        let hash = (!is_zeros(content)).then(|| ChunkHash::of(content));
        pieces.pieces.push(Piece { offset: range.start + chunk.start as u64, bytes, hash });
    }
    Ok(())
}

/// Reads one range of a file to the end of `buffer`; answers where the file ended when that was earlier.
pub(super) fn append(
    fd: BorrowedFd<'_>,
    range: Range<u64>,
    (path, buffer): (&[u8], &mut Vec<u8>),
) -> Result<Option<u64>, CaptureError> {
    let base = buffer.len();
    let len = usize::try_from(range.end - range.start).expect("ranges are cut into segments before");
    buffer.resize(base + len, 0);
    let mut done = 0;
    while done < len {
        let offset = range.start + done as u64;
        match pread(fd, &mut buffer[base + done..], offset) {
            Ok(0) => {
                buffer.truncate(base + done);
                return Ok(Some(offset));
            }
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(CaptureError::Read { path: display(path), offset, source: errno.into() });
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};
    use std::os::fd::AsFd;

    fn sparse() -> std::fs::File {
        let mut file = tempfile::tempfile_in("/var/tmp").unwrap();
        file.seek(io::SeekFrom::Start(4 << 30)).unwrap();
        file.write_all(b"far away").unwrap();
        file.set_len(5 << 30).unwrap();
        file
    }

    #[test]
    fn only_allocated_ranges_are_read() {
        let file = sparse();
        let ranges = allocated(file.as_fd(), 5 << 30).unwrap();
        assert_eq!(ranges.len(), 1, "{ranges:?}");
        assert_eq!(ranges[0].start, 4 << 30);
        assert!(ranges[0].end - ranges[0].start <= 64 << 10, "{ranges:?}");
        assert!(allocated(file.as_fd(), 0).unwrap().is_empty());
    }

    #[test]
    fn a_file_that_is_shorter_than_expected_ends_where_it_ends() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 5000]).unwrap();
        let (mut buffer, mut pieces) = (Vec::new(), Pieces::default());
        read_range(file.as_fd(), 0..9000, (b"x", &mut buffer, &mut pieces)).unwrap();
        assert_eq!((buffer.len(), pieces.ends_at, pieces.pieces.len()), (5000, Some(5000), 1));
    }
}
