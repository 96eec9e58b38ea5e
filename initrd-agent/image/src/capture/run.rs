//! One capture from beginning to end: walk, read, tables, header.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crossbeam_channel::{Receiver, bounded, unbounded};

use super::assemble::Assembler;
use super::pipeline::{FileContent, Pipeline, Threads};
use super::unchanged::Unchanged;
use super::{CaptureError, CaptureFacts, CaptureJob, CaptureOptions, CaptureProgress, entries, work};
use crate::exclude::Excludes;
use crate::id::PackId;
use crate::inode::Status;
use crate::manifest::{Header, Manifest, Notice};
use crate::pack::PackSink;
use crate::tables::compact;
use crate::tree::{Directories, open_root};
use crate::walk::{Node, NodeKind, Scope, walk};

/// Captures a tree. `progress` is called on the calling thread only.
///
/// The manifest's generation is the parent's plus one, or 1; the store decides the real one.
///
/// # Errors
/// Anything that could not be read, compressed or stored. Files that vanish or change are no errors.
pub fn capture(
    job: CaptureJob<'_>,
    sink: &mut dyn PackSink,
    progress: &dyn Fn(CaptureProgress),
) -> Result<Manifest, CaptureError> {
    let captured_at = seconds_since_epoch(job.options.as_of.unwrap_or_else(SystemTime::now));
    let root = open_root(&job.options.root).map_err(|source| CaptureError::MountPoint {
        path: job.options.root.display().to_string(),
        source,
    })?;
    let excludes = Excludes::for_capture(&job.options.excludes)?;
    let mount_points = mount_points(&job.options.mount_points, root.as_fd())?;
    let threads = job.options.threads;
    let scope = Scope { root: root.as_fd(), mount_points, excludes: &excludes, threads };
    let (walked, before) = std::thread::scope(|threads| {
        let walking = threads.spawn(|| walk(&scope));
        // Meanwhile: with nothing changed, this is a good part of a capture.
        let tables = tables_before(&job);
        let unchanged = job.parent.map(Unchanged::new).unwrap_or_default();
        (walking.join(), tables.map(|tables| (tables, unchanged)))
    });
    let mut walked = walked.map_err(|_| CaptureError::Stopped)??;
    let mut reading = Reading { options: &job.options, root: root.as_fd(), progress };
    let (contents, tables) = {
        let (tables, unchanged) = before?;
        reading.read(&mut walked.nodes, (tables, &unchanged), sink)?
    };
    let inconsistent = inconsistent(&walked.nodes, &contents);
    if job.options.strict && !inconsistent.is_empty() {
        return Err(CaptureError::Inconsistent(inconsistent));
    }
    let mut entries = entries::entries(walked.nodes, contents)?;
    let (chunks, frames, packs) = compact(&mut entries, (tables.chunks, tables.frames, tables.packs));
    let header = Header {
        inconsistent,
        skipped: sorted(walked.skipped),
        excludes: excludes.texts().to_vec(),
        captured_at,
        ..header(&job.facts, job.parent)
    };
    let CaptureFacts { layout, boot, .. } = job.facts;
    Ok(Manifest { header, layout, boot, entries, chunks, frames, packs })
}

fn header(facts: &CaptureFacts, parent: Option<&Manifest>) -> Header {
    let parent = parent.map(|parent| parent.header.generation);
    Header {
        image: facts.image.clone(),
        generation: parent.unwrap_or(0) + 1,
        parent,
        os: facts.os.clone(),
        arch: facts.arch.clone(),
        captured_at: 0,
        source: facts.source.clone(),
        excludes: Vec::new(),
        host_key_types: facts.host_key_types.clone(),
        inconsistent: Vec::new(),
        skipped: Vec::new(),
    }
}

fn seconds_since_epoch(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The mount points as paths of the tree; all must be there.
fn mount_points(
    given: &[std::path::PathBuf],
    root: BorrowedFd<'_>,
) -> Result<HashSet<Vec<u8>>, CaptureError> {
    let mut directories = Directories::new(root);
    let mut paths = HashSet::new();
    for mount_point in given {
        let path = tree_path(mount_point);
        let found = directories.get(&path).and_then(Status::of);
        found
            .map_err(|source| CaptureError::MountPoint { path: mount_point.display().to_string(), source })?;
        paths.insert(path);
    }
    Ok(paths)
}

/// `/var/lib` as `var/lib`.
pub(crate) fn tree_path(path: &Path) -> Vec<u8> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.as_bytes()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    });
    names.collect::<Vec<_>>().join(&b'/')
}

fn tables_before<'a>(job: &CaptureJob<'a>) -> Result<Assembler<'a>, CaptureError> {
    let mut tables = Assembler::new(job.key);
    if let Some(parent) = job.parent {
        tables.add_parent(parent);
    }
    for staged in &job.staged {
        tables.add_staged(staged)?;
    }
    Ok(tables)
}

struct Reading<'a> {
    options: &'a CaptureOptions,
    root: BorrowedFd<'a>,
    progress: &'a dyn Fn(CaptureProgress),
}

type Read<'k> = (HashMap<usize, FileContent>, Assembler<'k>);

impl Reading<'_> {
    /// Reads every regular file that is not known to be unchanged.
    fn read<'k>(
        &mut self,
        nodes: &mut [Node],
        (tables, unchanged): (Assembler<'k>, &Unchanged<'_>),
        sink: &mut dyn PackSink,
    ) -> Result<Read<'k>, CaptureError> {
        let workers = self.options.threads.max(1);
        let (give, jobs) = unbounded();
        let (done, results) = unbounded();
        // Without room between: a pack waits in the making until the one before is stored.
        let (packs, finished) = bounded(0);
        let sent = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let (jobs, done) = (jobs.clone(), done.clone());
                let (root, level) = (self.root, self.options.level);
                scope.spawn(move || work::run(root, level, &jobs, &done));
            }
            drop((jobs, done));
            let counter = &sent;
            // The thread owns its end, so that a refused pack is noticed by whoever sends the next.
            let storing = scope.spawn(move || store(&finished, sink, counter));
            let threads = Threads { jobs: give, results, packs, sent: &sent, workers: workers as u64 };
            let mut pipeline = Pipeline::new(nodes, tables, Directories::new(self.root), threads);
            let files = pipeline.take_unchanged(unchanged);
            let read = pipeline.run(files, self.progress);
            // Taking it apart closes the channels, which ends the threads.
            let (contents, tables, last) = pipeline.into_parts();
            storing.join().map_err(|_| CaptureError::Stopped)?.map_err(CaptureError::Sink)?;
            read?;
            let sent = sent.load(Ordering::Relaxed);
            (self.progress)(CaptureProgress { bytes: last.total, sent, ..last });
            Ok((contents, tables))
        })
    }
}

/// Stores packs as they come; stops at the first that is refused.
fn store(
    finished: &Receiver<(PackId, Vec<u8>)>,
    sink: &mut dyn PackSink,
    sent: &AtomicU64,
) -> io::Result<()> {
    for (id, bytes) in finished {
        let len = bytes.len() as u64;
        sink.put(&id, bytes)?;
        sent.fetch_add(len, Ordering::Relaxed);
    }
    Ok(())
}

impl Pipeline<'_, '_> {
    /// Fills in what is known of unchanged files; answers the files to read, in the order of the walk.
    fn take_unchanged(&mut self, unchanged: &Unchanged<'_>) -> VecDeque<usize> {
        let mut files = VecDeque::new();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if node.kind != NodeKind::File {
                self.progress.files += 1;
                continue;
            }
            let bytes = node.status.size.min(node.status.allocated);
            self.progress.total += bytes;
            match unchanged.get(node) {
                Some((data, meta)) => {
                    node.xattrs.clone_from(&meta.xattrs);
                    node.flags = meta.flags;
                    self.contents.insert(index, FileContent::known(data.extents.clone()));
                    self.progress.files += 1;
                    self.progress.bytes += bytes;
                }
                None => files.push_back(index),
            }
        }
        files
    }
}

fn inconsistent(nodes: &[Node], contents: &HashMap<usize, FileContent>) -> Vec<Notice> {
    let unsteady = contents.iter().filter(|(_, content)| content.unsteady);
    let notices = unsteady.map(|(index, content)| Notice {
        path: nodes[*index].path.clone(),
        reason: format!("it changed each of the {} times it was read", content.attempts()),
    });
    sorted(notices.collect())
}

fn sorted(mut notices: Vec<Notice>) -> Vec<Notice> {
    notices.sort();
    notices
}
