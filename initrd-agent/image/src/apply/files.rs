//! Writes regular files. A file whose content is all in one frame is written at once; others are kept open, and
//! reopened when too many are, until their last chunk has come. A file that is not complete is known and removed
//! when the deployment fails.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, fallocate, fstatfs, ftruncate, openat, unlinkat};
use rustix::io::{Errno, pwrite};

use super::attributes::{add_flags, failed, refused, set_all, set_all_of_new};
use super::job::ApplyError;
use super::plan::{chunks_of, file_data};
use super::report::Tally;
use crate::entry::{Content, Entry, FileData, InodeFlags};
use crate::manifest::{Chunk, Manifest};
use crate::tree::Directories;

/// Files kept open at most. With directories and connections this stays far below the usual limit of 1024.
const MAX_OPEN: usize = 256;

/// Content below this is written without reserving its room first: it is one write anyway.
const RESERVE_BYTES: u64 = 256 << 10;

/// File system magic of btrfs, where reserved room is never compressed and costs a second write of metadata.
const BTRFS_MAGIC: u64 = 0x9123_683e;

/// What zeros are written from, where room cannot be reserved.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

const CREATE: OFlags =
    OFlags::CREATE.union(OFlags::EXCL).union(OFlags::WRONLY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const REOPEN: OFlags = OFlags::WRONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Some bytes that go into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Write<'b> {
    /// Index of the file's entry.
    pub entry: u32,
    /// Where in the file.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'b [u8],
}

/// A file that was there before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    /// Index of its entry.
    pub index: u32,
    /// How many of its chunks are not whole.
    pub missing: u32,
}

/// The files of a deployment.
pub(super) struct Files<'a> {
    manifest: &'a Manifest,
    /// Chunks that each file still waits for.
    missing: Vec<AtomicU32>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    files: HashMap<u32, Arc<OwnedFd>>,
    /// Files that were created and are not complete.
    incomplete: HashSet<u32>,
}

impl<'a> Files<'a> {
    pub(super) fn new(manifest: &'a Manifest) -> Self {
        let chunks = |entry: &Entry| file_data(&entry.kind).map_or(0, |data| chunks_of(data).count());
        let missing = manifest.entries.iter().map(|entry| {
            AtomicU32::new(u32::try_from(chunks(entry)).expect("a manifest has fewer chunks than that"))
        });
        Self { manifest, missing: missing.collect(), open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // The table is changed in single steps, so a panic elsewhere leaves it whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, index: u32) -> (&'a Entry, &'a FileData) {
        let entry = &self.manifest.entries[index as usize];
        (entry, file_data(&entry.kind).expect("only files have chunks"))
    }

    /// Creates a file that has no data.
    pub(super) fn write_empty(
        &self,
        index: u32,
        directories: &mut Directories<'_>,
        tally: &mut Tally,
    ) -> Result<(), ApplyError> {
        self.write_whole(index, (&[], directories), tally)
    }

    /// Writes what one frame holds; sorts `writes`.
    pub(super) fn write(
        &self,
        writes: &mut [Write<'_>],
        directories: &mut Directories<'_>,
        tally: &mut Tally,
    ) -> Result<(), ApplyError> {
        writes.sort_unstable_by_key(|write| (write.entry, write.offset));
        for group in writes.chunk_by(|a, b| a.entry == b.entry) {
            let index = group[0].entry;
            let count = u32::try_from(group.len()).expect("a frame has fewer chunks than that");
            let all = chunks_of(self.entry(index).1).count() == group.len();
            if all {
                self.write_whole(index, (group, directories), tally)?;
            } else {
                self.write_part(index, (group, count, directories), tally)?;
            }
        }
        Ok(())
    }

    fn write_whole(
        &self,
        index: u32,
        (writes, directories): (&[Write<'_>], &mut Directories<'_>),
        tally: &mut Tally,
    ) -> Result<(), ApplyError> {
        let (entry, data) = self.entry(index);
        let parent = parent_of(entry, directories)?;
        let fd = self.create((entry, data), parent, tally)?;
        let written = write_all(fd.as_fd(), writes, &entry.path)
            .and_then(|bytes| set_all_of_new(fd.as_fd(), (&entry.meta, &entry.path), tally).map(|()| bytes));
        match written {
            Ok(bytes) => {
                count(tally, bytes);
                Ok(())
            }
            Err(error) => {
                remove(entry, parent);
                Err(error)
            }
        }
    }

    fn write_part(
        &self,
        index: u32,
        (writes, count_of_chunks, directories): (&[Write<'_>], u32, &mut Directories<'_>),
        tally: &mut Tally,
    ) -> Result<(), ApplyError> {
        let (entry, _) = self.entry(index);
        let fd = self.open_part(index, directories, tally)?;
        tally.report.bytes += write_all(fd.as_fd(), writes, &entry.path)?;
        let before = self.missing[index as usize].fetch_sub(count_of_chunks, Ordering::AcqRel);
        if before == count_of_chunks {
            finish(fd.as_fd(), entry, tally)?;
            let mut open = self.open();
            open.files.remove(&index);
            open.incomplete.remove(&index);
            count(tally, 0);
        }
        Ok(())
    }

    /// The handle of a file that is written in parts: created by whoever comes first, reopened when it was closed to
    /// stay below the limit.
    fn open_part(
        &self,
        index: u32,
        directories: &mut Directories<'_>,
        tally: &mut Tally,
    ) -> Result<Arc<OwnedFd>, ApplyError> {
        let mut open = self.open();
        if let Some(fd) = open.files.get(&index) {
            return Ok(Arc::clone(fd));
        }
        if open.files.len() >= MAX_OPEN {
            let idle = open.files.iter().find(|(_, fd)| Arc::strong_count(fd) == 1).map(|(index, _)| *index);
            idle.and_then(|index| open.files.remove(&index));
        }
        let (entry, data) = self.entry(index);
        let parent = parent_of(entry, directories)?;
        let fd = if open.incomplete.contains(&index) {
            let (_, name) = entry.split().expect("the root is no file");
            openat(parent, name, REOPEN, Mode::empty()).map_err(refused("opening again", &entry.path))?
        } else {
            let fd = self.create((entry, data), parent, tally)?;
            open.incomplete.insert(index);
            fd
        };
        let fd = Arc::new(fd);
        open.files.insert(index, Arc::clone(&fd));
        Ok(fd)
    }

    /// Creates a file, closed to everybody else, with its size and room.
    fn create(
        &self,
        (entry, data): (&Entry, &FileData),
        parent: BorrowedFd<'_>,
        tally: &mut Tally,
    ) -> Result<OwnedFd, ApplyError> {
        let (_, name) = entry.split().expect("the root is no file");
        let created = openat(parent, name, CREATE, Mode::RUSR | Mode::WUSR);
        let fd = created.map_err(refused("creating", &entry.path))?;
        let nocow = InodeFlags { nocow: entry.meta.flags.nocow, ..InodeFlags::default() };
        // Copy-on-write can only be switched off while a file is empty.
        let prepared = add_flags(&fd, (nocow, &entry.path), tally).and_then(|()| {
            reserve(fd.as_fd(), data, &self.manifest.chunks).map_err(failed("making room for", &entry.path))
        });
        match prepared {
            Ok(()) => Ok(fd),
            Err(error) => {
                remove(entry, parent);
                Err(error)
            }
        }
    }

    /// Goes on with a file that was there before; one that lacks nothing gets its metadata.
    pub(super) fn keep(&self, kept: Kept, fd: BorrowedFd<'_>, tally: &mut Tally) -> Result<(), ApplyError> {
        let (entry, data) = self.entry(kept.index);
        // It may have been left between its creation and the reservation of its room.
        reserve(fd, data, &self.manifest.chunks).map_err(failed("making room for", &entry.path))?;
        if kept.missing == 0 {
            finish(fd, entry, tally)?;
            count(tally, 0);
            return Ok(());
        }
        self.missing[kept.index as usize].store(kept.missing, Ordering::Release);
        self.open().incomplete.insert(kept.index);
        Ok(())
    }

    /// Removes every file that is not complete.
    pub(super) fn remove_incomplete(&self, root: BorrowedFd<'_>) {
        let mut directories = Directories::new(root);
        for index in std::mem::take(&mut self.open().incomplete) {
            let (entry, _) = self.entry(index);
            match parent_of(entry, &mut directories) {
                Ok(parent) => remove(entry, parent),
                Err(error) => tracing::warn!(path = entry.display(), %error, "an incomplete file stays"),
            }
        }
    }
}

fn count(tally: &mut Tally, bytes: u64) {
    tally.report.files += 1;
    tally.report.bytes += bytes;
}

fn parent_of<'d>(entry: &Entry, directories: &'d mut Directories<'_>) -> Result<BorrowedFd<'d>, ApplyError> {
    let (parent, _) = entry.split().expect("the root is no file");
    directories.get(parent).map_err(failed("opening the directory of", &entry.path))
}

fn remove(entry: &Entry, parent: BorrowedFd<'_>) {
    let (_, name) = entry.split().expect("the root is no file");
    if let Err(errno) = unlinkat(parent, name, AtFlags::empty()) {
        // The first error is the one that is reported.
        tracing::warn!(path = entry.display(), %errno, "an incomplete file could not be removed");
    }
}

fn finish(fd: BorrowedFd<'_>, entry: &Entry, tally: &mut Tally) -> Result<(), ApplyError> {
    set_all(fd, (&entry.meta, &entry.path), tally)
}

fn write_all(fd: BorrowedFd<'_>, writes: &[Write<'_>], path: &[u8]) -> Result<u64, ApplyError> {
    let mut written = 0;
    for write in writes {
        pwrite_all(fd, write.bytes, write.offset).map_err(refused("writing", path))?;
        written += write.bytes.len() as u64;
    }
    Ok(written)
}

fn pwrite_all(fd: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match pwrite(fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Gives a new file its size, room for what will be written, and its allocated zeros. Holes stay holes.
fn reserve(fd: BorrowedFd<'_>, data: &FileData, chunks: &[Chunk]) -> std::io::Result<()> {
    let runs = runs(data, chunks);
    let dense = matches!(&runs[..], [run] if run.start == 0 && run.len == data.size);
    if !dense && data.size > 0 {
        // Before anything is written: XFS allocates more than is written to a file that grows.
        ftruncate(fd, data.size)?;
    }
    let mut useful = None;
    for run in runs {
        let large = run.len >= RESERVE_BYTES;
        let reserve = run.zeros || large && *useful.get_or_insert_with(|| reserving_is_useful(fd));
        if reserve {
            match fallocate(fd, FallocateFlags::empty(), run.start, run.len) {
                Ok(()) => {}
                // Old ext3 and some others: allocated zeros have to be written, the rest will be.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) if run.zeros => write_zeros(fd, data)?,
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}

struct Run {
    start: u64,
    len: u64,
    zeros: bool,
}

/// Allocated ranges, neighbours joined.
fn runs(data: &FileData, chunks: &[Chunk]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for extent in &data.extents {
        let (len, zeros) = match extent.content {
            Content::Chunk(chunk) => (u64::from(chunks[chunk as usize].len), false),
            Content::Zeros(len) => (len, true),
        };
        match runs.last_mut() {
            Some(run) if run.start + run.len == extent.offset => {
                run.len += len;
                run.zeros |= zeros;
            }
            Some(_) | None => runs.push(Run { start: extent.offset, len, zeros }),
        }
    }
    runs
}

fn write_zeros(fd: BorrowedFd<'_>, data: &FileData) -> std::io::Result<()> {
    for extent in &data.extents {
        let Content::Zeros(len) = extent.content else { continue };
        let mut done = 0;
        while done < len {
            let n = (len - done).min(ZEROS.len() as u64);
            let bytes = &ZEROS[..usize::try_from(n).expect("at most the length of the array")];
            pwrite_all(fd, bytes, extent.offset + done)?;
            done += n;
        }
    }
    Ok(())
}

fn reserving_is_useful(fd: BorrowedFd<'_>) -> bool {
    !fstatfs(fd).is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|magic| magic == BTRFS_MAGIC))
}
