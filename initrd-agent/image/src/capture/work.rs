//! What the worker threads do: read small files, read segments of large ones, compress frames.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::CaptureError;
use super::read::{Piece, Pieces, Probe, open_file, probe, read_range};
use super::still::{Seen, Since, begins_the_same, since};
use crate::inode::XattrReader;
use crate::pack::compress_frame;
use crate::tree::Directories;

/// Files above this are read in segments of this size by several threads. Cuts restart at a segment, so a small one
/// would cost chunks when content moves; a large one costs memory (see [`super::pipeline`]).
pub(super) const SEGMENT_BYTES: u64 = 4 << 20;

/// Something to do, with its place in the order of results.
pub(super) enum Job {
    /// Read whole files, by node and path.
    Small { place: u64, files: Vec<(usize, Vec<u8>)> },
    /// Read a part of a file that is open already.
    Segment { place: u64, node: usize, path: Vec<u8>, file: Arc<OwnedFd>, range: Range<u64> },
    /// Read again what a file had when it was opened: it grew meanwhile.
    Check { place: u64, node: usize, path: Vec<u8>, file: Arc<OwnedFd>, probe: Box<Probe>, seen: Vec<Seen> },
    /// Compress a frame.
    Compress { place: u64, plain: Vec<u8> },
}

/// Something done.
pub(super) enum Done {
    Read { place: u64, buffer: Vec<u8>, what: Read },
    Compressed { place: u64, bytes: Vec<u8> },
    Failed(CaptureError),
}

/// What was read.
pub(super) enum Read {
    Small(Vec<(usize, SmallFile)>),
    Segment { node: usize, pieces: Pieces },
    Checked { node: usize, same: bool },
}

/// What became of a small file.
pub(super) enum SmallFile {
    /// It is not there any more, or no regular file.
    Gone,
    /// It has grown beyond a segment since it was found.
    Large(Box<Probe>),
    /// Read; `steady` when it did not change meanwhile, or only grew behind what was read.
    Read { probe: Box<Probe>, pieces: Pieces, steady: bool },
}

/// Tells the thread that waits for results when a worker panics; it would wait for ever.
struct PanicGuard<'a>(&'a Sender<Done>);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // When nobody listens any more, nobody waits.
            drop(self.0.send(Done::Failed(CaptureError::Stopped)));
        }
    }
}

/// Works until there are no more jobs or nobody wants the results.
pub(super) fn run(root: BorrowedFd<'_>, level: i32, jobs: &Receiver<Job>, results: &Sender<Done>) {
    let _guard = PanicGuard(results);
    let mut worker = match Worker::new(root, level) {
        Ok(worker) => worker,
        Err(error) => {
            // Nobody listens when another worker failed first; that error is the one reported.
            drop(results.send(Done::Failed(error)));
            return;
        }
    };
    for job in jobs {
        let done = worker.work(job).unwrap_or_else(Done::Failed);
        if results.send(done).is_err() {
            return;
        }
    }
}

struct Worker<'a> {
    directories: Directories<'a>,
    xattrs: XattrReader,
    compressor: zstd::bulk::Compressor<'static>,
}

impl<'a> Worker<'a> {
    fn new(root: BorrowedFd<'a>, level: i32) -> Result<Self, CaptureError> {
        Ok(Self {
            directories: Directories::new(root),
            xattrs: XattrReader::new(),
            compressor: zstd::bulk::Compressor::new(level).map_err(CaptureError::Compress)?,
        })
    }

    fn work(&mut self, job: Job) -> Result<Done, CaptureError> {
        match job {
            Job::Compress { place, plain } => {
                let bytes = compress_frame(&mut self.compressor, &plain).map_err(CaptureError::Compress)?;
                Ok(Done::Compressed { place, bytes })
            }
            Job::Segment { place, node, path, file, range } => {
                let (mut buffer, mut pieces) = (Vec::new(), Pieces::default());
                read_range(file.as_fd(), range, (&path, &mut buffer, &mut pieces))?;
                Ok(Done::Read { place, buffer, what: Read::Segment { node, pieces } })
            }
            Job::Check { place, node, path, file, probe, seen } => {
                let same = begins_the_same(file.as_fd(), (&probe, &path), seen)?;
                Ok(Done::Read { place, buffer: Vec::new(), what: Read::Checked { node, same } })
            }
            Job::Small { place, files } => {
                let mut buffer = Vec::new();
                let mut read = Vec::with_capacity(files.len());
                for (node, path) in files {
                    read.push((node, self.small_file(&path, &mut buffer)?));
                }
                Ok(Done::Read { place, buffer, what: Read::Small(read) })
            }
        }
    }

    fn small_file(&mut self, path: &[u8], buffer: &mut Vec<u8>) -> Result<SmallFile, CaptureError> {
        let Some(file) = open_file(&mut self.directories, path)? else { return Ok(SmallFile::Gone) };
        let Some(probe) = probe(file.as_fd(), path, &mut self.xattrs)? else { return Ok(SmallFile::Gone) };
        if probe.status.size > SEGMENT_BYTES {
            return Ok(SmallFile::Large(Box::new(probe)));
        }
        let mut pieces = Pieces::default();
        for range in &probe.ranges {
            read_range(file.as_fd(), range.clone(), (path, buffer, &mut pieces))?;
            if pieces.ends_at.is_some() {
                break;
            }
        }
        let steady = match since(file.as_fd(), &probe, path)? {
            Since::Steady => true,
            Since::Grown if pieces.ends_at.is_none() => {
                let seen = pieces.pieces.iter().map(Piece::seen);
                begins_the_same(file.as_fd(), (&probe, path), seen)?
            }
            Since::Grown | Since::Changed => false,
        };
        Ok(SmallFile::Read { probe: Box::new(probe), pieces, steady })
    }
}
