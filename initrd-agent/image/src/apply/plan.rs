//! Which bytes go where: for every chunk the places that need it, for every request the frames it brings.

use std::ops::Range;

use crate::entry::{Content, EntryKind, FileData};
use crate::manifest::Manifest;

/// How much is fetched at once, unless one frame is larger. Large enough that a request's round trip is small beside
/// its transfer, small enough that some can be on the way and in memory (see [`super::run`]).
const REQUEST_BYTES: u64 = 4 << 20;

/// Frames of this image that lie this close in a pack are fetched together; what is between them is dropped. About
/// what a wire carries in the time of one more request.
const GAP_BYTES: u64 = 64 << 10;

/// A place that needs a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// Index of the file's entry.
    pub entry: u32,
    /// Where in the file.
    pub offset: u64,
}

/// One read from a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// Index of the pack.
    pub pack: u32,
    /// Which of its bytes.
    pub range: Range<u64>,
    /// Indices of the frames in it.
    pub frames: Range<usize>,
}

/// The plan of a deployment.
#[derive(Debug)]
pub(super) struct Plan {
    targets: Vec<Target>,
    /// Where each chunk's targets begin; one more than there are chunks.
    target_starts: Vec<usize>,
    /// The chunks of each frame.
    frame_chunks: Vec<Range<usize>>,
    /// For each target whether it is whole already; empty when none is.
    whole: Vec<bool>,
    /// Reads, in deploy order.
    pub requests: Vec<Request>,
    /// Plain bytes of all frames.
    pub total: u64,
}

impl Plan {
    pub(super) fn new(manifest: &Manifest) -> Self {
        let (targets, target_starts) = targets(manifest);
        Self {
            targets,
            target_starts,
            frame_chunks: frame_chunks(manifest),
            whole: Vec::new(),
            requests: requests(manifest, |_| true),
            total: manifest.frames.iter().map(|frame| u64::from(frame.plain_len)).sum(),
        }
    }

    /// The places that need a chunk.
    pub(super) fn targets(&self, chunk: usize) -> &[Target] {
        &self.targets[self.target_starts[chunk]..self.target_starts[chunk + 1]]
    }

    /// The places that need a chunk and do not have it yet.
    pub(super) fn wanted(&self, chunk: usize) -> impl Iterator<Item = &Target> {
        let places = self.target_starts[chunk]..self.target_starts[chunk + 1];
        places.filter(|place| !self.is_whole(*place)).map(|place| &self.targets[place])
    }

    fn is_whole(&self, place: usize) -> bool {
        self.whole.get(place).copied().unwrap_or(false)
    }

    /// Number of all places.
    pub(super) fn places(&self) -> usize {
        self.targets.len()
    }

    /// The number of a place that needs a chunk.
    pub(super) fn place(&self, chunk: usize, target: Target) -> usize {
        // A chunk's places are in the order of entries and offsets.
        let key = |target: &Target| (target.entry, target.offset);
        let found = self.targets(chunk).binary_search_by_key(&key(&target), key);
        self.target_starts[chunk] + found.expect("every use of a chunk is one of its places")
    }

    /// Leaves out the places that are whole, and every frame that brings nothing else. Answers the plain bytes of
    /// the frames left out.
    pub(super) fn leave_out(&mut self, manifest: &Manifest, whole: Vec<bool>) -> u64 {
        self.whole = whole;
        let needed = |frame: usize| self.chunks(frame).any(|chunk| self.wanted(chunk).next().is_some());
        let requests = requests(manifest, needed);
        let needed: u64 = (0..manifest.frames.len())
            .filter(|frame| needed(*frame))
            .map(|frame| u64::from(manifest.frames[frame].plain_len))
            .sum();
        self.requests = requests;
        self.total - needed
    }

    /// The chunks of a frame.
    pub(super) fn chunks(&self, frame: usize) -> Range<usize> {
        self.frame_chunks[frame].clone()
    }
}

/// The chunks that a file is made of, with their offsets.
pub(crate) fn chunks_of(data: &FileData) -> impl Iterator<Item = (u32, u64)> + '_ {
    data.extents.iter().filter_map(|extent| match extent.content {
        Content::Chunk(chunk) => Some((chunk, extent.offset)),
        Content::Zeros(_) => None,
    })
}

/// The data of an entry that is a regular file.
pub(crate) fn file_data(kind: &EntryKind) -> Option<&FileData> {
    match kind {
        EntryKind::File(data) => Some(data),
        EntryKind::Directory
        | EntryKind::Symlink { .. }
        | EntryKind::HardLink { .. }
        | EntryKind::CharDevice { .. }
        | EntryKind::BlockDevice { .. }
        | EntryKind::Fifo => None,
    }
}

fn targets(manifest: &Manifest) -> (Vec<Target>, Vec<usize>) {
    let uses = || {
        let files = (0..).zip(&manifest.entries).filter_map(|(index, e)| Some((index, file_data(&e.kind)?)));
        files.flat_map(|(entry, data)| {
            chunks_of(data).map(move |(chunk, offset)| (chunk as usize, Target { entry, offset }))
        })
    };
    let mut starts = vec![0; manifest.chunks.len() + 1];
    for (chunk, _) in uses() {
        starts[chunk + 1] += 1;
    }
    for chunk in 1..starts.len() {
        starts[chunk] += starts[chunk - 1];
    }
    let mut next = starts.clone();
    let mut targets = vec![Target { entry: 0, offset: 0 }; starts[manifest.chunks.len()]];
    for (chunk, target) in uses() {
        targets[next[chunk]] = target;
        next[chunk] += 1;
    }
    (targets, starts)
}

/// Chunks are ordered by frame, so each frame's are neighbours.
fn frame_chunks(manifest: &Manifest) -> Vec<Range<usize>> {
    let mut ranges = vec![0..0; manifest.frames.len()];
    for (index, chunk) in manifest.chunks.iter().enumerate() {
        let range = &mut ranges[chunk.frame as usize];
        let start = if range.end == 0 { index } else { range.start };
        *range = start..index + 1;
    }
    ranges
}

fn requests(manifest: &Manifest, needed: impl Fn(usize) -> bool) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for (index, frame) in manifest.frames.iter().enumerate().filter(|(index, _)| needed(*index)) {
        let end = frame.offset + u64::from(frame.stored_len);
        if let Some(last) = requests.last_mut()
            && last.pack == frame.pack
            && last.frames.end == index
            && frame.offset - last.range.end <= GAP_BYTES
            && end - last.range.start <= REQUEST_BYTES
        {
            last.range.end = end;
            last.frames.end = index + 1;
        } else {
            requests.push(Request { pack: frame.pack, range: frame.offset..end, frames: index..index + 1 });
        }
    }
    requests
}

/// Plans a deployment of this manifest and checks that every frame is fetched once and from within its pack.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_plan(manifest: &Manifest) {
    let plan = Plan::new(manifest);
    let mut next = 0;
    for request in &plan.requests {
        assert!(request.range.end <= manifest.packs[request.pack as usize].bytes);
        assert_eq!(request.frames.start, next);
        next = request.frames.end;
    }
    assert_eq!(next, manifest.frames.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Frame;
    use crate::manifest::tests::small;

    #[test]
    fn every_chunk_knows_its_places() {
        let plan = Plan::new(&small());
        assert_eq!(plan.targets(0), [Target { entry: 1, offset: 0 }]);
        assert_eq!(plan.targets(1), [Target { entry: 1, offset: 1 << 32 }]);
        assert_eq!(plan.chunks(0), 0..2);
        assert_eq!(plan.total, 10);
    }

    #[test]
    fn what_is_whole_is_neither_wanted_nor_fetched() {
        let manifest = small();
        let mut plan = Plan::new(&manifest);
        let second = plan.place(1, Target { entry: 1, offset: 1 << 32 });
        let mut whole = vec![false; plan.places()];
        whole[second] = true;
        assert_eq!(plan.leave_out(&manifest, whole.clone()), 0);
        assert_eq!((plan.wanted(0).count(), plan.wanted(1).count(), plan.requests.len()), (1, 0, 1));
        whole.fill(true);
        assert_eq!(plan.leave_out(&manifest, whole), 10);
        assert!(plan.requests.is_empty());
    }

    #[test]
    fn frames_that_are_not_needed_part_a_request() {
        let mut manifest = small();
        let frame =
            |number| Frame { pack: 0, number, offset: 48 + u64::from(number), stored_len: 1, plain_len: 1 };
        manifest.frames = (0..4).map(frame).collect();
        let ranges: Vec<_> = requests(&manifest, |index| index != 1).into_iter().map(|r| r.frames).collect();
        assert_eq!(ranges, [0..1, 2..4]);
    }

    #[test]
    fn neighbouring_frames_are_fetched_together_up_to_a_size() {
        let mut manifest = small();
        let frame =
            |pack, number, offset| Frame { pack, number, offset, stored_len: 1 << 20, plain_len: 1 << 20 };
        let mib = 1 << 20;
        manifest.frames = (0..5).map(|n| frame(0, n, 48 + u64::from(n) * mib)).collect();
        manifest.frames.push(frame(0, 9, 48 + 9 * mib));
        manifest.frames.push(frame(1, 0, 48));
        let ranges: Vec<_> = requests(&manifest, |_| true).into_iter().map(|r| (r.pack, r.frames)).collect();
        assert_eq!(ranges, [(0, 0..4), (0, 4..5), (0, 5..6), (1, 6..7)]);
    }
}
