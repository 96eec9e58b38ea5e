//! The order of a capture: files go to the workers in the order of the walk, what they read comes back in any order
//! and is put into order again, new chunks become frames, frames are compressed by the workers and packed in order.
//! The same tree gives the same chunks, frames and order, whatever the number of threads.
//!
//! Memory, beside one record per name and chunk: one pack in the making and one being stored (2 × 64 MiB), one
//! segment (4 MiB) per worker and one more, and some frames of 1 MiB; 165 MiB with four workers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};

use super::assemble::Assembler;
use super::read::{Pieces, Probe, open_file, probe};
use super::still::{Since, since};
use super::work::{Done, Job, Read, SEGMENT_BYTES, SmallFile};
use super::{CaptureError, CaptureProgress};
use crate::entry::{Content, Extent};
use crate::id::PackId;
use crate::inode::XattrReader;
use crate::tree::Directories;
use crate::walk::{Node, NodeKind};

/// Small files are handed to a worker together, up to this many bytes and names: enough that handing over costs
/// nothing, little enough that all workers have something to do.
const BATCH_BYTES: u64 = 2 << 20;
const BATCH_FILES: usize = 256;

/// Frames that wait for a worker or for their turn, at most, before more is read.
const FRAMES_IN_FLIGHT: u64 = 8;

/// How often a file that changes while it is read is read.
const ATTEMPTS: u8 = 3;

/// Where finished packs go: to the thread that stores them, one at a time.
pub(super) type Packs = Sender<(PackId, Vec<u8>)>;

/// What the rest of a capture needs from outside this thread.
pub(super) struct Threads<'a> {
    pub jobs: Sender<Job>,
    pub results: Receiver<Done>,
    pub packs: Packs,
    pub sent: &'a AtomicU64,
    pub workers: u64,
}

/// Content of a file that was read.
#[derive(Debug, Default)]
pub(super) struct FileContent {
    pub extents: Vec<Extent>,
    attempts: u8,
    /// Still changing at the last attempt.
    pub unsteady: bool,
}

impl FileContent {
    /// Content that is known without reading.
    pub(super) fn known(extents: Vec<Extent>) -> Self {
        Self { extents, ..Self::default() }
    }

    /// How often it was read.
    pub(super) fn attempts(&self) -> u8 {
        self.attempts
    }
}

/// A file that is read in segments.
struct LargeFile {
    file: Arc<OwnedFd>,
    probe: Probe,
    segments: VecDeque<Range<u64>>,
    /// Segments not yet read.
    open: usize,
    extents: Vec<Extent>,
    ends_at: Option<u64>,
}

pub(super) struct Pipeline<'a, 'k> {
    pub nodes: &'a mut [Node],
    pub contents: HashMap<usize, FileContent>,
    pub tables: Assembler<'k>,
    threads: Threads<'a>,
    directories: Directories<'a>,
    xattrs: XattrReader,
    queue: VecDeque<usize>,
    again: Vec<usize>,
    large: HashMap<usize, LargeFile>,
    /// The large file whose segments are being handed out.
    handing_out: Option<usize>,
    reads: InOrder<(Vec<u8>, Read)>,
    frames: InOrder<Vec<u8>>,
    pub progress: CaptureProgress,
}

/// Puts results back into the order in which their jobs were given out.
struct InOrder<T> {
    given: u64,
    taken: u64,
    waiting: BTreeMap<u64, T>,
}

impl<T> InOrder<T> {
    fn new() -> Self {
        Self { given: 0, taken: 0, waiting: BTreeMap::new() }
    }

    fn give(&mut self) -> u64 {
        self.given += 1;
        self.given - 1
    }

    fn in_flight(&self) -> u64 {
        self.given - self.taken
    }

    fn put(&mut self, place: u64, result: T) {
        self.waiting.insert(place, result);
    }

    fn take(&mut self) -> Option<T> {
        let result = self.waiting.remove(&self.taken)?;
        self.taken += 1;
        Some(result)
    }
}

impl<'a, 'k> Pipeline<'a, 'k> {
    pub(super) fn new(
        nodes: &'a mut [Node],
        tables: Assembler<'k>,
        directories: Directories<'a>,
        threads: Threads<'a>,
    ) -> Self {
        Self {
            nodes,
            contents: HashMap::new(),
            tables,
            threads,
            directories,
            xattrs: XattrReader::new(),
            queue: VecDeque::new(),
            again: Vec::new(),
            large: HashMap::new(),
            handing_out: None,
            reads: InOrder::new(),
            frames: InOrder::new(),
            progress: CaptureProgress::default(),
        }
    }

    /// Reads all these files, then ends the last frame and pack.
    pub(super) fn run(
        &mut self,
        files: VecDeque<usize>,
        progress: &dyn Fn(CaptureProgress),
    ) -> Result<(), CaptureError> {
        self.queue = files;
        loop {
            self.hand_out()?;
            // Files may wait although nothing is being read: for frames to be compressed first.
            let waiting = self.handing_out.is_some() || !self.queue.is_empty();
            if self.reads.in_flight() == 0 && !waiting {
                if self.again.is_empty() {
                    break;
                }
                self.queue.extend(std::mem::take(&mut self.again));
                continue;
            }
            self.receive()?;
            self.report(progress);
        }
        if let Some(frame) = self.tables.close_frame()? {
            self.compress(frame)?;
        }
        while self.frames.in_flight() > 0 {
            self.receive()?;
            self.report(progress);
        }
        if let Some(pack) = self.tables.close_pack()? {
            self.send_pack(pack)?;
        }
        Ok(())
    }

    /// What was read and where it is; ends the threads.
    pub(super) fn into_parts(self) -> (HashMap<usize, FileContent>, Assembler<'k>, CaptureProgress) {
        (self.contents, self.tables, self.progress)
    }

    fn report(&mut self, progress: &dyn Fn(CaptureProgress)) {
        self.progress.sent = self.threads.sent.load(Ordering::Relaxed);
        progress(CaptureProgress { bytes: self.progress.bytes.min(self.progress.total), ..self.progress });
    }

    /// Gives the workers what they can take.
    fn hand_out(&mut self) -> Result<(), CaptureError> {
        while self.reads.in_flight() <= self.threads.workers && self.frames.in_flight() < FRAMES_IN_FLIGHT {
            let Some(job) = self.next_read()? else { break };
            self.send(job)?;
        }
        Ok(())
    }

    fn send(&self, job: Job) -> Result<(), CaptureError> {
        self.threads.jobs.send(job).map_err(|_| CaptureError::Stopped)
    }

    fn send_pack(&self, pack: (PackId, Vec<u8>)) -> Result<(), CaptureError> {
        self.threads.packs.send(pack).map_err(|_| CaptureError::Stopped)
    }

    fn compress(&mut self, plain: Vec<u8>) -> Result<(), CaptureError> {
        let place = self.frames.give();
        self.send(Job::Compress { place, plain })
    }

    /// The next thing to read: a segment of a large file that is open, or a batch of small files.
    fn next_read(&mut self) -> Result<Option<Job>, CaptureError> {
        if let Some(job) = self.next_segment() {
            return Ok(Some(job));
        }
        let mut files = Vec::new();
        let mut bytes = 0;
        while let Some(node) = self.queue.front().copied() {
            let size = self.nodes[node].status.size;
            let large = size > SEGMENT_BYTES;
            if !files.is_empty() && (large || bytes + size > BATCH_BYTES || files.len() == BATCH_FILES) {
                break;
            }
            self.queue.pop_front();
            if large {
                self.open_large(node)?;
                match self.next_segment() {
                    Some(job) => return Ok(Some(job)),
                    None => continue,
                }
            }
            bytes += size;
            files.push((node, self.nodes[node].path.clone()));
        }
        if files.is_empty() {
            return Ok(None);
        }
        let place = self.reads.give();
        Ok(Some(Job::Small { place, files }))
    }

    fn next_segment(&mut self) -> Option<Job> {
        let node = self.handing_out?;
        let large = self.large.get_mut(&node)?;
        let range = large.segments.pop_front()?;
        if large.segments.is_empty() {
            self.handing_out = None;
        }
        let (path, file) = (self.nodes[node].path.clone(), Arc::clone(&large.file));
        Some(Job::Segment { place: self.reads.give(), node, path, file, range })
    }

    fn open_large(&mut self, node: usize) -> Result<(), CaptureError> {
        let path = &self.nodes[node].path;
        let opened = match open_file(&mut self.directories, path)? {
            Some(file) => probe(file.as_fd(), path, &mut self.xattrs)?.map(|probe| (file, probe)),
            None => None,
        };
        let Some((file, probe)) = opened else {
            self.vanished(node);
            return Ok(());
        };
        let segments: VecDeque<_> = probe.ranges.iter().flat_map(segments).collect();
        if segments.is_empty() {
            let steady = since(file.as_fd(), &probe, path)? == Since::Steady;
            self.finish_file(node, probe, (Vec::new(), steady));
            return Ok(());
        }
        let open = segments.len();
        let file = Arc::new(file);
        self.large
            .insert(node, LargeFile { file, probe, segments, open, extents: Vec::new(), ends_at: None });
        self.handing_out = Some(node);
        Ok(())
    }

    /// Takes one result, then all that are next in order.
    fn receive(&mut self) -> Result<(), CaptureError> {
        match self.threads.results.recv().map_err(|_| CaptureError::Stopped)? {
            Done::Failed(error) => return Err(error),
            Done::Compressed { place, bytes } => self.frames.put(place, bytes),
            Done::Read { place, buffer, what } => self.reads.put(place, (buffer, what)),
        }
        while let Some(compressed) = self.frames.take() {
            if let Some(pack) = self.tables.pack(compressed)? {
                self.send_pack(pack)?;
            }
        }
        while let Some((buffer, read)) = self.reads.take() {
            match read {
                Read::Small(files) => {
                    for (node, file) in files {
                        self.small_file(node, file, &buffer)?;
                    }
                }
                Read::Segment { node, pieces } => self.segment(node, &pieces, &buffer)?,
                Read::Checked { node, same } => self.checked(node, same),
            }
        }
        Ok(())
    }

    fn small_file(&mut self, node: usize, file: SmallFile, buffer: &[u8]) -> Result<(), CaptureError> {
        match file {
            SmallFile::Gone => self.vanished(node),
            SmallFile::Large(probe) => {
                self.nodes[node].status = probe.status;
                self.again.push(node);
            }
            SmallFile::Read { mut probe, pieces, steady } => {
                let mut extents = Vec::new();
                self.add_pieces(&mut extents, &pieces, buffer)?;
                probe.status.size = pieces.ends_at.unwrap_or(probe.status.size);
                self.finish_file(node, *probe, (extents, steady));
            }
        }
        Ok(())
    }

    fn segment(&mut self, node: usize, pieces: &Pieces, buffer: &[u8]) -> Result<(), CaptureError> {
        let mut large = self.large.remove(&node).expect("segments come from files that are open");
        if large.ends_at.is_none() {
            self.add_pieces(&mut large.extents, pieces, buffer)?;
            large.ends_at = pieces.ends_at;
        }
        large.open -= 1;
        if large.open > 0 {
            self.large.insert(node, large);
            return Ok(());
        }
        let (file, path) = (Arc::clone(&large.file), self.nodes[node].path.clone());
        match since(file.as_fd(), &large.probe, &path)? {
            Since::Grown if large.ends_at.is_none() => {
                let probe = Box::new(large.probe.clone());
                let seen = large.extents.iter().map(|extent| self.tables.seen(extent)).collect();
                let place = self.reads.give();
                self.large.insert(node, large);
                self.send(Job::Check { place, node, path, file, probe, seen })
            }
            since => {
                large.probe.status.size = large.ends_at.unwrap_or(large.probe.status.size);
                self.finish_file(node, large.probe, (large.extents, since == Since::Steady));
                Ok(())
            }
        }
    }

    /// A large file that grew was read a second time.
    fn checked(&mut self, node: usize, same: bool) {
        let large = self.large.remove(&node).expect("only files that are open are checked");
        self.finish_file(node, large.probe, (large.extents, same));
    }

    fn add_pieces(
        &mut self,
        extents: &mut Vec<Extent>,
        pieces: &Pieces,
        buffer: &[u8],
    ) -> Result<(), CaptureError> {
        let mut full = Vec::new();
        for piece in &pieces.pieces {
            let len = piece.bytes.len() as u64;
            self.progress.bytes += len;
            let content = match piece.hash {
                Some(hash) => {
                    Content::Chunk(self.tables.chunk(hash, &buffer[piece.bytes.clone()], &mut full)?)
                }
                None => Content::Zeros(len),
            };
            push_extent(extents, Extent { offset: piece.offset, content });
        }
        for frame in full {
            self.compress(frame)?;
        }
        Ok(())
    }

    fn finish_file(&mut self, node: usize, probe: Probe, (extents, steady): (Vec<Extent>, bool)) {
        let extents = with_reserved(extents, &probe);
        let found = &mut self.nodes[node];
        let same_inode =
            (found.status.device, found.status.inode) == (probe.status.device, probe.status.inode);
        found.status = probe.status;
        found.xattrs = probe.xattrs;
        found.flags = probe.flags;
        let content = self.contents.entry(node).or_default();
        content.extents = extents;
        content.attempts += 1;
        content.unsteady = !steady;
        if !steady && content.attempts < ATTEMPTS {
            self.again.push(node);
        } else {
            self.progress.files += 1;
        }
        if !same_inode {
            self.promote(node);
        }
    }

    fn vanished(&mut self, node: usize) {
        self.nodes[node].kind = NodeKind::Gone;
        self.contents.remove(&node);
        self.promote(node);
    }

    /// The inode that this name had lives on under its other names: the first of them is read in its place.
    fn promote(&mut self, gone: usize) {
        let mut first = None;
        for (index, node) in self.nodes.iter_mut().enumerate().skip(gone + 1) {
            if node.kind == NodeKind::HardLink(gone) {
                node.kind = first.map_or(NodeKind::File, NodeKind::HardLink);
                first.get_or_insert(index);
            }
        }
        self.again.extend(first);
    }
}

/// Adds an extent; zeros next to zeros become one.
fn push_extent(extents: &mut Vec<Extent>, extent: Extent) {
    if let (Some(Extent { offset, content: Content::Zeros(len) }), Content::Zeros(more)) =
        (extents.last_mut(), extent.content)
        && *offset + *len == extent.offset
    {
        *len += more;
        return;
    }
    extents.push(extent);
}

/// Adds the room that was reserved but never written: zeros that are allocated.
fn with_reserved(mut extents: Vec<Extent>, probe: &Probe) -> Vec<Extent> {
    if probe.reserved.is_empty() {
        return extents;
    }
    let size = probe.status.size;
    let reserved = probe.reserved.iter().map(|range| (range.start, range.end.min(size)));
    extents.extend(
        reserved
            .filter(|(start, end)| start < end)
            .map(|(start, end)| Extent { offset: start, content: Content::Zeros(end - start) }),
    );
    extents.sort_by_key(|extent| extent.offset);
    let mut joined = Vec::with_capacity(extents.len());
    for extent in extents {
        push_extent(&mut joined, extent);
    }
    joined
}

/// Cuts a range where segments begin, so that appended content does not move them.
fn segments(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let Range { mut start, end } = *range;
    std::iter::from_fn(move || {
        let next = (start - start % SEGMENT_BYTES + SEGMENT_BYTES).min(end);
        let segment = (start < end).then_some(start..next);
        start = next;
        segment
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_begin_at_multiples_whatever_the_range() {
        let cut = |range: Range<u64>| segments(&range).collect::<Vec<_>>();
        let s = SEGMENT_BYTES;
        assert!(cut(5..5).is_empty());
        assert!(cut(0..s).into_iter().eq(std::iter::once(0..s)));
        assert_eq!(cut(10..s + 1), [10..s, s..s + 1]);
        assert_eq!(cut(s..3 * s), [s..2 * s, 2 * s..3 * s]);
    }

    #[test]
    fn neighbouring_zeros_become_one_extent() {
        let mut extents = Vec::new();
        for (offset, content) in [
            (0, Content::Zeros(10)),
            (10, Content::Zeros(5)),
            (20, Content::Zeros(5)),
            (25, Content::Chunk(0)),
        ] {
            push_extent(&mut extents, Extent { offset, content });
        }
        assert_eq!(extents.len(), 3);
        assert_eq!(extents[0].content, Content::Zeros(15));
    }
}
