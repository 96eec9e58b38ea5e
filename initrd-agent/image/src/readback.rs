//! Compares files with what an image says of them, by reading every byte.

use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread};

use crate::apply::chunks_of;
use crate::entry::FileData;
use crate::id::ChunkHash;
use crate::manifest::{Chunk, MAX_CHUNK_BYTES};

/// Whether a file of this size has exactly this content; where its holes are does not matter.
pub(crate) fn holds(
    fd: BorrowedFd<'_>,
    size: u64,
    (data, known): (&FileData, &[Chunk]),
    buffer: &mut Vec<u8>,
) -> bool {
    if size != data.size {
        return false;
    }
    buffer.resize(MAX_CHUNK_BYTES as usize, 0);
    let mut at = 0;
    for (chunk, offset) in chunks_of(data) {
        let chunk = &known[chunk as usize];
        if at < offset && !is_zero(fd, (at, offset), buffer) {
            return false;
        }
        let bytes = &mut buffer[..chunk.len as usize];
        if !read_exact(fd, bytes, offset) || ChunkHash::of(bytes) != chunk.hash {
            return false;
        }
        at = offset + u64::from(chunk.len);
    }
    at >= size || is_zero(fd, (at, size), buffer)
}

/// Fills `bytes` from this place; no when the file ends before, or cannot be read there.
pub(crate) fn read_exact(fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> bool {
    let mut done = 0;
    while done < bytes.len() {
        match pread(fd, &mut bytes[done..], offset + done as u64) {
            Ok(0) => return false,
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

/// Whether a range reads as zeros; holes are not read. What is behind the end of the file counts as zero.
pub(crate) fn is_zero(fd: BorrowedFd<'_>, (mut at, end): (u64, u64), buffer: &mut [u8]) -> bool {
    loop {
        at = match seek(fd, SeekFrom::Data(at)) {
            Ok(data) if data < end => data.max(at),
            Ok(_) | Err(Errno::NXIO) => return true,
            // A file system that cannot tell is read all through.
            Err(_) => at,
        };
        let want = usize::try_from(end - at).map_or(buffer.len(), |len| len.min(buffer.len()));
        match pread(fd, &mut buffer[..want], at) {
            Ok(0) => return true,
            Ok(n) if buffer[..n].iter().all(|b| *b == 0) => at += n as u64,
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return false,
        }
        if at >= end {
            return true;
        }
    }
}
