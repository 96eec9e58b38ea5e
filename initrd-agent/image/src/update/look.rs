//! What the machine has: every name that follows the image, and for regular files whether they hold what a generation
//! says.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::{DefaultHashBuilder, HashTable};
use rustix::fs::{FileType, Mode, OFlags, fstatfs, openat};

use super::cache::{Cache, Known};
use super::error::{UpdateError, call};
use super::ids::{AttributesId, ContentId, attributes_id};
use super::side::Side;
use crate::capture::CaptureError;
use crate::entry::{InodeFlags, Xattr, display, split};
use crate::exclude::Excludes;
use crate::inode::{Status, XattrReader, read_flags};
use crate::readback::holds;
use crate::tree::Directories;
use crate::walk::{Node, NodeKind, Scope, is_gone, visit, walk};

const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
/// File system magic of FAT (`MSDOS_SUPER_MAGIC`).
const FAT_MAGIC: u64 = 0x4d44;

/// A regular file that a generation has, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// What it holds, when that is what a generation has.
    pub(super) content: Option<ContentId>,
    pub(super) attributes: AttributesId,
}

/// The machine's files.
pub(super) struct Look {
    pub(super) nodes: Vec<Node>,
    /// Nodes by path.
    table: HashTable<usize>,
    hasher: DefaultHashBuilder,
    /// By node; only regular files that a generation has.
    read: Vec<Option<Read>>,
    /// Devices of file systems without owners and modes.
    fat: HashSet<u64>,
    /// Bytes of files that were read.
    pub(super) read_bytes: u64,
}

/// Where to look, and what to compare with.
pub(super) struct View<'a> {
    pub(super) root: BorrowedFd<'a>,
    pub(super) mount_points: HashSet<Vec<u8>>,
    pub(super) excludes: &'a Excludes,
    pub(super) wanted: &'a Side<'a>,
    pub(super) base: Option<&'a Side<'a>>,
    pub(super) cache: &'a Cache,
    pub(super) threads: usize,
}

impl View<'_> {
    fn scope(&self) -> Scope<'_> {
        let (root, excludes, threads) = (self.root, self.excludes, self.threads);
        Scope { root, mount_points: self.mount_points.clone(), excludes, threads }
    }
}

impl Look {
    /// Walks the tree and reads every file that is not known to be as it was.
    pub(super) fn take(view: &View<'_>) -> Result<Self, UpdateError> {
        let mut nodes = walk(&view.scope())?.nodes;
        nodes.retain(|node| node.kind != NodeKind::Gone);
        Self::of(nodes, view)
    }

    /// Looks at these paths only, and reads those that are regular files.
    pub(super) fn at_paths(view: &View<'_>, paths: &[&[u8]]) -> Result<Self, UpdateError> {
        Self::of(visit(&view.scope(), paths)?, view)
    }

    fn of(nodes: Vec<Node>, view: &View<'_>) -> Result<Self, UpdateError> {
        let fat = fat_devices(view)?;
        let hasher = DefaultHashBuilder::default();
        let hash = |index: &usize| hasher.hash_one(&nodes[*index].path[..]);
        let mut table = HashTable::with_capacity(nodes.len());
        for index in 0..nodes.len() {
            table.insert_unique(hash(&index), index, hash);
        }
        let read = vec![None; nodes.len()];
        let mut look = Self { nodes, table, hasher, read, fat, read_bytes: 0 };
        look.read_files(view)?;
        Ok(look)
    }

    pub(super) fn at(&self, path: &[u8]) -> Option<(usize, &Node)> {
        let is = |index: &usize| self.nodes[*index].path == path;
        self.table.find(self.hasher.hash_one(path), is).map(|index| (*index, &self.nodes[*index]))
    }

    pub(super) fn has(&self, path: &[u8]) -> bool {
        self.at(path).is_some()
    }

    /// What is known of a regular file that a generation has.
    pub(super) fn read(&self, index: usize) -> Option<&Read> {
        self.read[index].as_ref()
    }

    pub(super) fn is_fat(&self, node: &Node) -> bool {
        self.fat.contains(&node.status.device)
    }

    /// Regular files that a generation has, with what is known of them.
    pub(super) fn all_read(&self) -> impl Iterator<Item = (usize, &[u8], &Read)> {
        let nodes = self.nodes.iter().zip(&self.read).enumerate();
        nodes.filter_map(|(index, (node, read))| Some((index, &node.path[..], read.as_ref()?)))
    }

    /// What is worth knowing the next time.
    pub(super) fn known(&self) -> impl Iterator<Item = (&[u8], Known)> {
        self.all_read().filter_map(|(index, path, read)| {
            Some((path, Known::new(&self.nodes[index].status, read.content?, read.attributes)))
        })
    }

    fn read_files(&mut self, view: &View<'_>) -> Result<(), UpdateError> {
        let mut unknown = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if node.status.file_type() != FileType::RegularFile {
                continue;
            }
            let concerned = view.wanted.file(&node.path).is_some()
                || view.base.is_some_and(|base| base.file(&node.path).is_some());
            if !concerned {
                continue;
            }
            match view.cache.get(&node.path, &node.status) {
                Some(known) => {
                    let read = Read { content: Some(known.content), attributes: known.attributes };
                    self.read[index] = Some(read);
                }
                None => unknown.push(index),
            }
        }
        let nodes = &self.nodes;
        self.read_bytes = unknown.iter().map(|index| nodes[*index].status.size).sum();
        let next = AtomicUsize::new(0);
        let reader = || {
            let mut reader = Reader::new(view);
            let mut found = Vec::new();
            while let Some(index) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
                found.extend(reader.read(&nodes[*index])?.map(|read| (*index, read)));
            }
            Ok::<_, UpdateError>(found)
        };
        let found = std::thread::scope(|scope| {
            let running: Vec<_> = (0..view.threads.max(1)).map(|_| scope.spawn(reader)).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Result<_, UpdateError>>| {
                thread.join().unwrap_or(Err(UpdateError::Look(CaptureError::Stopped)))
            };
            running.into_iter().map(join).collect::<Result<Vec<Vec<_>>, _>>()
        })?;
        for (index, read) in found.into_iter().flatten() {
            self.read[index] = Some(read);
        }
        Ok(())
    }
}

fn fat_devices(view: &View<'_>) -> Result<HashSet<u64>, UpdateError> {
    let mut directories = Directories::new(view.root);
    let mut fat = HashSet::new();
    for path in &view.mount_points {
        let fd = directories.get(path).map_err(call("opening", display(path)))?;
        let kind = fstatfs(fd).map_err(call("looking at the file system of", display(path)))?.f_type;
        if u64::try_from(kind).is_ok_and(|magic| magic == FAT_MAGIC) {
            fat.insert(Status::of(fd).map_err(call("looking at", display(path)))?.device);
        }
    }
    Ok(fat)
}

/// Reads files, one after the other.
struct Reader<'a> {
    view: &'a View<'a>,
    directories: Directories<'a>,
    xattrs: XattrReader,
    buffer: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(view: &'a View<'a>) -> Self {
        let directories = Directories::new(view.root);
        Self { view, directories, xattrs: XattrReader::new(), buffer: Vec::new() }
    }

    /// None for a file that has vanished.
    fn read(&mut self, node: &Node) -> Result<Option<Read>, UpdateError> {
        match self.try_read(node) {
            Err(error) if is_gone(&error) => Ok(None),
            other => other.map(Some).map_err(call("reading", display(&node.path))),
        }
    }

    fn try_read(&mut self, node: &Node) -> std::io::Result<Read> {
        let (parent, name) = split(&node.path).unwrap_or((b"", b"."));
        let fd = openat(self.directories.get(parent)?, name, READ, Mode::empty())?;
        let fd = fd.as_fd();
        let attributes = attributes_id(&self.xattrs.of_file(fd)?, read_flags(fd)?);
        let mut content = None;
        let wanted = Some(self.view.wanted);
        for side in [wanted, self.view.base].into_iter().flatten() {
            if let Some(data) = side.file(&node.path)
                && holds(fd, node.status.size, (data, &side.manifest.chunks), &mut self.buffer)
            {
                content = Some(side.content(data));
                break;
            }
        }
        Ok(Read { content, attributes })
    }
}

/// Mount points as paths of the tree.
pub(super) fn tree_paths(mount_points: &[PathBuf]) -> HashSet<Vec<u8>> {
    mount_points.iter().map(|path| crate::capture::tree_path(path)).collect()
}

/// Attributes and flags of one inode, for the journal.
pub(super) fn attributes_of(
    directories: &mut Directories<'_>,
    node: &Node,
) -> std::io::Result<(Vec<Xattr>, InodeFlags)> {
    if node.status.file_type() != FileType::RegularFile {
        return Ok((node.xattrs.clone(), node.flags));
    }
    let (parent, name) = split(&node.path).unwrap_or((b"", b"."));
    let fd = openat(directories.get(parent)?, name, READ, Mode::empty())?;
    Ok((XattrReader::new().of_file(fd.as_fd())?, read_flags(fd.as_fd())?))
}
