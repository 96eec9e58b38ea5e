//! Finds every name of a tree. Regular files are only looked at, not opened: whoever reads them reads their
//! attributes too.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType, Mode, OFlags, major, minor, openat, readlinkat};
use rustix::io::Errno;

use crate::capture::CaptureError;
use crate::entry::{InodeFlags, Xattr, display, join, split};
use crate::exclude::Excludes;
use crate::inode::{Status, XattrReader, is_mount_root, read_flags};
use crate::manifest::Notice;
use crate::tree::Directories;

/// One name found.
#[derive(Debug)]
pub(crate) struct Node {
    pub path: Vec<u8>,
    pub status: Status,
    pub kind: NodeKind,
    pub xattrs: Vec<Xattr>,
    pub flags: InodeFlags,
}

/// What a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Directory,
    File,
    Symlink(Vec<u8>),
    /// Another name of the node with this index.
    HardLink(usize),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
    /// Vanished since it was found.
    Gone,
}

/// All that a walk found. A directory comes before what is in it; names in a directory are sorted.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub nodes: Vec<Node>,
    pub skipped: Vec<Notice>,
}

/// What to walk.
pub(crate) struct Scope<'a> {
    pub root: BorrowedFd<'a>,
    /// Paths (without leading slash) of the mount points to descend into; the root itself need not be among them.
    pub mount_points: HashSet<Vec<u8>>,
    pub excludes: &'a Excludes,
}

/// Walks the tree.
pub(crate) fn walk(scope: &Scope<'_>) -> Result<Walked, CaptureError> {
    let mut walker = Walker {
        scope,
        directories: Directories::new(scope.root),
        xattrs: XattrReader::new(),
        inodes: HashMap::new(),
        found: Walked::default(),
        pending: Vec::new(),
    };
    let status = Status::of(scope.root).map_err(failed("status", b""))?;
    walker.push(Vec::new(), status, NodeKind::Directory);
    walker.pending.push(0);
    while let Some(directory) = walker.pending.pop() {
        walker.directory(directory)?;
    }
    Ok(walker.found)
}

fn failed(what: &'static str, path: &[u8]) -> impl Fn(io::Error) -> CaptureError {
    let path = display(path);
    move |source| CaptureError::Metadata { what, path: path.clone(), source }
}

/// Errors that say that a name is not there any more, or is now of another type.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE | Errno::NXIO)
    )
}

/// Errors of mount points that even root cannot look at: another user's FUSE mount, a server that is gone.
fn is_foreign(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::ACCESS | Errno::NOTCONN | Errno::HOSTDOWN | Errno::HOSTUNREACH | Errno::TIMEDOUT)
    )
}

struct Walker<'a> {
    scope: &'a Scope<'a>,
    directories: Directories<'a>,
    xattrs: XattrReader,
    /// First node of each inode that has several names.
    inodes: HashMap<(u64, u64), usize>,
    found: Walked,
    /// Directories to read, by node; the next is the last.
    pending: Vec<usize>,
}

impl Walker<'_> {
    fn push(&mut self, path: Vec<u8>, status: Status, kind: NodeKind) -> usize {
        let node = Node { path, status, kind, xattrs: Vec::new(), flags: InodeFlags::default() };
        self.found.nodes.push(node);
        self.found.nodes.len() - 1
    }

    fn skip(&mut self, path: Vec<u8>, reason: &str) {
        self.found.skipped.push(Notice { path, reason: reason.to_owned() });
    }

    fn directory(&mut self, index: usize) -> Result<(), CaptureError> {
        let path = self.found.nodes[index].path.clone();
        let fd = match self.open_directory(&path) {
            Err(error) if is_gone(&error) && index != 0 => {
                self.found.nodes[index].kind = NodeKind::Gone;
                return Ok(());
            }
            other => other.map_err(failed("names", &path))?,
        };
        let node = &mut self.found.nodes[index];
        node.status = Status::of(fd.as_fd()).map_err(failed("status", &path))?;
        node.xattrs = self.xattrs.of_file(fd.as_fd()).map_err(failed("attributes", &path))?;
        node.flags = read_flags(fd.as_fd()).map_err(failed("flags", &path))?;
        let device = node.status.device;
        let mut found_directories = Vec::new();
        for name in names(&fd).map_err(failed("names", &path))? {
            let child = join(&path, &name);
            if let Some(directory) = self.name((fd.as_fd(), device), &name, child)? {
                found_directories.push(directory);
            }
        }
        self.pending.extend(found_directories.into_iter().rev());
        Ok(())
    }

    fn open_directory(&mut self, path: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match split(path) {
            None => Ok(openat(self.scope.root, ".", flags, Mode::empty())?),
            Some((parent, name)) => Ok(openat(self.directories.get(parent)?, name, flags, Mode::empty())?),
        }
    }

    /// Notes one name; answers its node when it is a directory to be read.
    fn name(
        &mut self,
        (parent, device): (BorrowedFd<'_>, u64),
        name: &[u8],
        path: Vec<u8>,
    ) -> Result<Option<usize>, CaptureError> {
        let status = match Status::at(parent, name) {
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) if is_foreign(&error) => {
                self.skip(path, &format!("it cannot be looked at ({error}): a user's or a dead mount"));
                return Ok(None);
            }
            other => other.map_err(failed("status", &path))?,
        };
        let file_type = status.file_type();
        if self.scope.excludes.matches(&path, file_type == FileType::Directory) {
            return Ok(None);
        }
        if file_type == FileType::Directory {
            let descend = self.is_in_scope((parent, device), name, (&path, &status));
            let index = self.push(path, status, NodeKind::Directory);
            return Ok(descend.then_some(index));
        }
        let links = status.links > 1;
        if links && let Some(first) = self.inodes.get(&(status.device, status.inode)) {
            let kind = NodeKind::HardLink(*first);
            self.push(path, status, kind);
            return Ok(None);
        }
        match self.kind(parent, name, (&path, &status)) {
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(failed("attributes", &path)(error)),
            Ok(None) => Ok(None),
            Ok(Some((kind, xattrs))) => {
                let index = self.push(path, status, kind);
                self.found.nodes[index].xattrs = xattrs;
                if links {
                    self.inodes.insert((status.device, status.inode), index);
                }
                Ok(None)
            }
        }
    }

    fn is_in_scope(
        &mut self,
        (parent, device): (BorrowedFd<'_>, u64),
        name: &[u8],
        (path, status): (&[u8], &Status),
    ) -> bool {
        if self.scope.mount_points.contains(path) {
            return true;
        }
        match is_mount_root(parent, name) {
            Some(true) => false,
            Some(false) if status.device != device => {
                self.skip(path.to_vec(), "a subvolume inside a file system: its content is not captured");
                false
            }
            Some(false) | None => status.device == device,
        }
    }

    /// Type and attributes of a name that is no directory; none for a socket. Regular files are read later.
    fn kind(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        (path, status): (&[u8], &Status),
    ) -> io::Result<Option<(NodeKind, Vec<Xattr>)>> {
        let (major, minor) = (major(status.special), minor(status.special));
        let kind = match status.file_type() {
            FileType::RegularFile => return Ok(Some((NodeKind::File, Vec::new()))),
            FileType::Symlink => NodeKind::Symlink(readlinkat(parent, name, Vec::new())?.into_bytes()),
            FileType::CharacterDevice => NodeKind::CharDevice { major, minor },
            FileType::BlockDevice => NodeKind::BlockDevice { major, minor },
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket => {
                self.skip(path.to_vec(), "a socket: whoever listens on it makes it again");
                return Ok(None);
            }
            FileType::Directory | FileType::Unknown => {
                self.skip(path.to_vec(), "of a type that is not known");
                return Ok(None);
            }
        };
        let handle = openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Some((kind, self.xattrs.of_handle(handle.as_fd())?)))
    }
}

/// The names in a directory, sorted by their bytes.
fn names(fd: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}
