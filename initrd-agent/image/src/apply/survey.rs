//! What an interrupted deployment left in the files, and what of it is whole. There is no record of what was written,
//! which could be ahead of the disk: every chunk is read back and compared with its hash, so what counts as whole is
//! on the disk and is the image's.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use super::attributes::{failed, refused};
use super::files::{Files, Kept};
use super::job::ApplyError;
use super::plan::{Plan, Target, chunks_of, file_data};
use super::report::Tally;
use super::run::MAX_WORKERS;
use super::worker::Place;
use crate::entry::{Content, Extent, FileData};
use crate::id::ChunkHash;
use crate::inode::Status;
use crate::manifest::MAX_CHUNK_BYTES;
use crate::readback::{is_zero, read_exact};
use crate::tree::Directories;

/// Opened to be read and, when something is missing, to be written.
const OPEN: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// What is whole in a tree.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// For each place of the plan.
    pub whole: Vec<bool>,
    /// Bytes of file content in those places.
    pub bytes: u64,
    /// What was counted on the way: files that are whole.
    pub tally: Tally,
}

/// Reads all files of the image that are in the tree. Files of which nothing is whole are removed.
pub(super) fn survey(place: Place<'_>, plan: &Plan, files: &Files<'_>) -> Result<Survey, ApplyError> {
    let with_content: Vec<u32> = (0..)
        .zip(&place.job.manifest.entries)
        .filter(|(_, e)| file_data(&e.kind).is_some_and(|data| chunks_of(data).next().is_some()))
        .map(|(index, _)| index)
        .collect();
    let whole: Vec<AtomicBool> = (0..plan.places()).map(|_| AtomicBool::new(false)).collect();
    let (next, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
    let tally = std::thread::scope(|scope| {
        let look = || {
            let mut surveyor =
                Surveyor { place, plan, files, whole: &whole, buffer: Vec::new(), bytes: &bytes };
            let (mut directories, mut tally) = (Directories::new(place.root), Tally::default());
            while let Some(index) = with_content.get(next.fetch_add(1, Ordering::Relaxed)) {
                surveyor.file(*index, (&mut directories, &mut tally))?;
            }
            Ok(tally)
        };
        let threads = place.job.threads.clamp(1, MAX_WORKERS);
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(look)).collect();
        let mut all = Tally::default();
        for thread in running {
            all.add(thread.join().map_err(|_| ApplyError::Stopped)??);
        }
        Ok(all)
    })?;
    let whole = whole.into_iter().map(AtomicBool::into_inner).collect();
    Ok(Survey { whole, bytes: bytes.into_inner(), tally })
}

struct Surveyor<'s> {
    place: Place<'s>,
    plan: &'s Plan,
    files: &'s Files<'s>,
    whole: &'s [AtomicBool],
    buffer: Vec<u8>,
    bytes: &'s AtomicU64,
}

impl Surveyor<'_> {
    fn file(
        &mut self,
        index: u32,
        (directories, tally): (&mut Directories<'_>, &mut Tally),
    ) -> Result<(), ApplyError> {
        let entry = &self.place.job.manifest.entries[index as usize];
        let data = file_data(&entry.kind).expect("only files are surveyed");
        let (parent, name) = entry.split().expect("the root is no file");
        let Ok(parent) = directories.get(parent) else { return Ok(()) };
        let fd = match openat(parent, name, OPEN, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(refused("opening again", &entry.path)(errno)),
        };
        let size = Status::of(fd.as_fd()).map_err(failed("reading the status of", &entry.path))?.size;
        let chunks: Vec<(u32, u64)> = chunks_of(data).collect();
        // To make a file longer inside a hole would fill the block that it ended in.
        let usable = size == data.size || size < data.size && !self.has_holes(data);
        let found = if usable { self.whole_chunks(fd.as_fd(), &chunks) } else { Vec::new() };
        if found.is_empty() || !self.gaps_are_empty(fd.as_fd(), data) {
            return unlinkat(parent, name, AtFlags::empty()).map_err(refused("removing", &entry.path));
        }
        for (chunk, offset) in &found {
            let place = self.plan.place(*chunk as usize, Target { entry: index, offset: *offset });
            self.whole[place].store(true, Ordering::Relaxed);
            let len = self.place.job.manifest.chunks[*chunk as usize].len;
            self.bytes.fetch_add(len.into(), Ordering::Relaxed);
        }
        let missing = u32::try_from(chunks.len() - found.len()).expect("a file has fewer chunks than that");
        self.files.keep(Kept { index, missing }, fd.as_fd(), tally)
    }

    /// Those of a file's chunks that are on the disk as they should be. One that cannot be read is not.
    fn whole_chunks(&mut self, fd: BorrowedFd<'_>, chunks: &[(u32, u64)]) -> Vec<(u32, u64)> {
        let known = &self.place.job.manifest.chunks;
        self.buffer.resize(MAX_CHUNK_BYTES as usize, 0);
        let buffer = &mut self.buffer;
        let mut is_whole = |(chunk, offset): &(u32, u64)| {
            let chunk = &known[*chunk as usize];
            let bytes = &mut buffer[..chunk.len as usize];
            read_exact(fd, bytes, *offset) && ChunkHash::of(bytes) == chunk.hash
        };
        chunks.iter().copied().filter(|chunk| is_whole(chunk)).collect()
    }

    fn has_holes(&self, data: &FileData) -> bool {
        let known = &self.place.job.manifest.chunks;
        let len = |extent: &Extent| match extent.content {
            Content::Chunk(chunk) => known[chunk as usize].len.into(),
            Content::Zeros(len) => len,
        };
        data.extents.iter().map(len).sum::<u64>() < data.size
    }

    /// Whether there are only zeros where the image has no chunk.
    fn gaps_are_empty(&mut self, fd: BorrowedFd<'_>, data: &FileData) -> bool {
        let known = &self.place.job.manifest.chunks;
        let mut at = 0;
        let covered = chunks_of(data).map(|(chunk, offset)| (offset, u64::from(known[chunk as usize].len)));
        for (start, len) in covered.chain([(data.size, 0)]) {
            if at < start && !is_zero(fd, (at, start), &mut self.buffer) {
                return false;
            }
            at = start + len;
        }
        true
    }
}
