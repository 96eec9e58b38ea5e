//! Finds every name of a tree. Regular files are only looked at, not opened: whoever reads them reads their
//! attributes too. Several threads list directories; what they found is put in order afterwards.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

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
    /// Whether it is a directory whose names were listed: nothing else is mounted there.
    pub listed: bool,
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
    /// How many directories are listed at a time.
    pub threads: usize,
}

/// Walks the tree.
pub(crate) fn walk(scope: &Scope<'_>) -> Result<Walked, CaptureError> {
    let status = Status::of(scope.root).map_err(failed("status", b""))?;
    let work = Work::default();
    work.state().add(Vec::new());
    thread::scope(|threads| {
        let lister = || Lister::new(scope).run(&work);
        let running: Vec<_> = (0..scope.threads.max(1)).map(|_| threads.spawn(lister)).collect();
        running.into_iter().try_for_each(|thread| thread.join().map_err(|_| CaptureError::Stopped))
    })?;
    let State { listings, failure, .. } = work.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match failure {
        Some(error) => Err(error),
        None => Ok(put_in_order(status, listings)),
    }
}

/// Looks at these paths only, in their order; those that are not there, or are not to be looked at, are left out.
pub(crate) fn visit(scope: &Scope<'_>, paths: &[&[u8]]) -> Result<Vec<Node>, CaptureError> {
    let (mut lister, mut parents) = (Lister::new(scope), Directories::new(scope.root));
    let mut inodes: HashMap<(u64, u64), usize> = HashMap::new();
    let mut nodes = Vec::new();
    for path in paths {
        let Some(mut node) = lister.alone(path, &mut parents)? else { continue };
        if node.kind != NodeKind::Directory && node.status.links > 1 {
            let first = *inodes.entry((node.status.device, node.status.inode)).or_insert(nodes.len());
            if first != nodes.len() {
                node.kind = NodeKind::HardLink(first);
            }
        }
        nodes.push(node);
    }
    Ok(nodes)
}

/// One name of a directory, as it was seen there.
struct Name {
    path: Vec<u8>,
    status: Status,
    kind: NodeKind,
    xattrs: Vec<Xattr>,
    /// Number of its listing, when it is a directory to be read.
    listing: Option<usize>,
}

/// What is in a directory, and the directory itself as it was then; nothing when it has vanished.
#[derive(Default)]
struct Listing {
    itself: Option<(Status, Vec<Xattr>, InodeFlags)>,
    /// Sorted by their bytes.
    names: Vec<Name>,
    skipped: Vec<Notice>,
}

/// Nodes in the order of the walk: the names of a directory together, then what is in its directories.
fn put_in_order(status: Status, mut listings: Vec<Option<Listing>>) -> Walked {
    let mut found = Walked::default();
    // First node of each inode that has several names.
    let mut inodes: HashMap<(u64, u64), usize> = HashMap::new();
    let node = |path, status, kind, xattrs| Node {
        path,
        status,
        kind,
        xattrs,
        flags: InodeFlags::default(),
        listed: false,
    };
    found.nodes.push(node(Vec::new(), status, NodeKind::Directory, Vec::new()));
    let mut pending = vec![(0, 0)];
    while let Some((directory, number)) = pending.pop() {
        let Listing { itself, names, skipped } = listings[number].take().unwrap_or_default();
        let Some((status, xattrs, flags)) = itself else {
            found.nodes[directory].kind = NodeKind::Gone;
            continue;
        };
        let before = &mut found.nodes[directory];
        (before.status, before.xattrs, before.flags, before.listed) = (status, xattrs, flags, true);
        found.skipped.extend(skipped);
        let first_below = pending.len();
        for Name { path, status, kind, xattrs, listing } in names {
            let index = found.nodes.len();
            if let Some(listing) = listing {
                pending.push((index, listing));
            }
            let linked = kind != NodeKind::Directory && status.links > 1;
            let first =
                *if linked { inodes.entry((status.device, status.inode)).or_insert(index) } else { &index };
            found.nodes.push(if first == index {
                node(path, status, kind, xattrs)
            } else {
                node(path, status, NodeKind::HardLink(first), Vec::new())
            });
        }
        pending[first_below..].reverse();
    }
    found
}

/// Directories to be listed, and what was listed.
#[derive(Default)]
struct Work {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Paths by the number of their listing; the next is the last.
    pending: Vec<(usize, Vec<u8>)>,
    /// Threads that list one, and may find more.
    busy: usize,
    listings: Vec<Option<Listing>>,
    failure: Option<CaptureError>,
}

impl Work {
    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked ends the walk when it is joined.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next directory; none when all is done.
    fn next(&self) -> Option<(usize, Vec<u8>)> {
        let mut state = self.state();
        loop {
            if state.failure.is_some() {
                return None;
            }
            if let Some(next) = state.pending.pop() {
                state.busy += 1;
                return Some(next);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, number: usize, listed: Result<Listing, CaptureError>) {
        let mut state = self.state();
        state.busy -= 1;
        match listed {
            Ok(mut listing) => {
                for name in listing.names.iter_mut().rev().filter(|name| name.listing.is_some()) {
                    name.listing = Some(state.add(name.path.clone()));
                }
                state.listings[number] = Some(listing);
            }
            Err(error) => state.failure = Some(error),
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    /// Notes a directory to be listed; answers its number.
    fn add(&mut self, path: Vec<u8>) -> usize {
        self.listings.push(None);
        self.pending.push((self.listings.len() - 1, path));
        self.listings.len() - 1
    }
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

/// Lists directories, one after the other.
struct Lister<'a> {
    scope: &'a Scope<'a>,
    directories: Directories<'a>,
    xattrs: XattrReader,
    skipped: Vec<Notice>,
}

impl<'a> Lister<'a> {
    fn new(scope: &'a Scope<'a>) -> Self {
        let directories = Directories::new(scope.root);
        Self { scope, directories, xattrs: XattrReader::new(), skipped: Vec::new() }
    }

    fn run(mut self, work: &Work) {
        /// Lets the others end when this thread panics; they would wait for what it finds.
        struct Guard<'w>(&'w Work);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                if thread::panicking() {
                    self.0.state().failure.get_or_insert(CaptureError::Stopped);
                    self.0.changed.notify_all();
                }
            }
        }
        let _guard = Guard(work);
        while let Some((number, path)) = work.next() {
            work.done(number, self.directory(&path));
        }
    }

    fn skip(&mut self, path: Vec<u8>, reason: &str) {
        self.skipped.push(Notice { path, reason: reason.to_owned() });
    }

    fn directory(&mut self, path: &[u8]) -> Result<Listing, CaptureError> {
        let fd = match self.open_directory(path) {
            Err(error) if is_gone(&error) && !path.is_empty() => return Ok(Listing::default()),
            other => other.map_err(failed("names", path))?,
        };
        let (status, xattrs, flags) = self.itself(&fd, path)?;
        let device = status.device;
        let mut found = Vec::new();
        for name in names(&fd).map_err(failed("names", path))? {
            let child = join(path, &name);
            found.extend(self.name((fd.as_fd(), device), &name, child)?);
        }
        let skipped = std::mem::take(&mut self.skipped);
        Ok(Listing { itself: Some((status, xattrs, flags)), names: found, skipped })
    }

    /// One path, whose directory is found by `parents`.
    fn alone(&mut self, path: &[u8], parents: &mut Directories<'_>) -> Result<Option<Node>, CaptureError> {
        let gone =
            |error: io::Error| if is_gone(&error) { Ok(None) } else { Err(failed("status", path)(error)) };
        let found = match split(path) {
            None => None,
            Some((parent, name)) => {
                let parent = match parents.get(parent) {
                    Ok(parent) => parent,
                    Err(error) => return gone(error),
                };
                let device = Status::of(parent).map_err(failed("status", path))?.device;
                let Some(found) = self.name((parent, device), name, path.to_vec())? else { return Ok(None) };
                Some(found)
            }
        };
        let is_listed = found.as_ref().is_none_or(|found| found.listing.is_some());
        match found {
            Some(Name { path, status, kind, xattrs, .. }) if !is_listed => {
                Ok(Some(Node { path, status, kind, xattrs, flags: InodeFlags::default(), listed: false }))
            }
            // A directory that is no other file system's.
            _ => match self.open_directory(path) {
                Err(error) => gone(error),
                Ok(fd) => self.itself(&fd, path).map(|(status, xattrs, flags)| {
                    let (path, kind) = (path.to_vec(), NodeKind::Directory);
                    Some(Node { path, status, kind, xattrs, flags, listed: true })
                }),
            },
        }
    }

    fn itself(
        &mut self,
        fd: &OwnedFd,
        path: &[u8],
    ) -> Result<(Status, Vec<Xattr>, InodeFlags), CaptureError> {
        let status = Status::of(fd.as_fd()).map_err(failed("status", path))?;
        let xattrs = self.xattrs.of_file(fd.as_fd()).map_err(failed("attributes", path))?;
        let flags = read_flags(fd.as_fd()).map_err(failed("flags", path))?;
        Ok((status, xattrs, flags))
    }

    fn open_directory(&mut self, path: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match split(path) {
            None => Ok(openat(self.scope.root, ".", flags, Mode::empty())?),
            Some((parent, name)) => Ok(openat(self.directories.get(parent)?, name, flags, Mode::empty())?),
        }
    }

    /// Looks at one name; none when it is not to be captured.
    fn name(
        &mut self,
        (parent, device): (BorrowedFd<'_>, u64),
        name: &[u8],
        path: Vec<u8>,
    ) -> Result<Option<Name>, CaptureError> {
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
            // Its number comes when it is noted.
            let listing = self.is_in_scope((parent, device), name, (&path, &status)).then_some(0);
            return Ok(Some(Name { path, status, kind: NodeKind::Directory, xattrs: Vec::new(), listing }));
        }
        match self.kind(parent, name, (&path, &status)) {
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(failed("attributes", &path)(error)),
            Ok(kind) => Ok(kind.map(|(kind, xattrs)| Name { path, status, kind, xattrs, listing: None })),
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

/// The names in a directory of which there is only a handle (`O_PATH`).
pub(crate) fn names_in(handle: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    names(&openat(handle, ".", flags, Mode::empty())?)
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
