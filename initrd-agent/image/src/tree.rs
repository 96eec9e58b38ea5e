//! Handles on the directories of one tree. Nothing opened here is ever outside the tree: no symbolic link is followed
//! below its root, and paths may be longer than `PATH_MAX`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat, openat2};
use rustix::io::Errno;

/// Longest path that is given to the kernel at once (`PATH_MAX` is 4096 with the final NUL).
const PIECE_BYTES: usize = 4000;

/// How often `openat2` is repeated when a rename elsewhere made its check uncertain (`EAGAIN`).
const RENAME_RETRIES: usize = 100;

const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Set when the kernel (before 5.6) or a sandbox does not have `openat2`.
static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// Opens the directory that a tree lives in. This one path may contain symbolic links: it is ours.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens directories by path and keeps the last one, because most names come directory by directory.
pub(crate) struct Directories<'a> {
    root: BorrowedFd<'a>,
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl<'a> Directories<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>) -> Self {
        Self { root, last: None }
    }

    /// The handle (`O_PATH`) of the directory with this path below the root; empty for the root itself.
    pub(crate) fn get(&mut self, path: &[u8]) -> io::Result<BorrowedFd<'_>> {
        if path.is_empty() {
            return Ok(self.root);
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let opened = match &self.last {
                Some((last, fd)) if is_below(last, path) => open_below(fd.as_fd(), &path[last.len() + 1..])?,
                _ => open_below(self.root, path)?,
            };
            self.last = Some((path.to_vec(), opened));
        }
        let (_, fd) = self.last.as_ref().expect("it was just set");
        Ok(fd.as_fd())
    }
}

fn is_below(directory: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Opens a directory below `from`, piece by piece.
fn open_below(from: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let (piece, mut rest) = next_piece(path);
    let mut fd = open_piece(from, piece)?;
    while let Some(path) = rest {
        let (piece, after) = next_piece(path);
        fd = open_piece(fd.as_fd(), piece)?;
        rest = after;
    }
    Ok(fd)
}

/// As many whole components as the kernel takes at once, and what is left.
fn next_piece(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    if path.len() <= PIECE_BYTES {
        return (path, None);
    }
    let slash = path[..PIECE_BYTES].iter().rposition(|b| *b == b'/');
    let slash = slash.or_else(|| path.iter().position(|b| *b == b'/'));
    slash.map_or((path, None), |slash| (&path[..slash], Some(&path[slash + 1..])))
}

fn open_piece(from: BorrowedFd<'_>, piece: &[u8]) -> io::Result<OwnedFd> {
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        match open_resolved(from, piece) {
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => NO_OPENAT2.store(true, Ordering::Relaxed),
            other => return Ok(other?),
        }
    }
    open_step_by_step(from, piece)
}

fn open_resolved(from: BorrowedFd<'_>, piece: &[u8]) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RENAME_RETRIES {
        match openat2(from, piece, DIRECTORY, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// The same for kernels without `openat2`: one component at a time, `..` refused, links not followed.
fn open_step_by_step(from: BorrowedFd<'_>, piece: &[u8]) -> io::Result<OwnedFd> {
    let mut fd: Option<OwnedFd> = None;
    for name in piece.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
        if name == b".." {
            return Err(Errno::XDEV.into());
        }
        let at = fd.as_ref().map_or(from, AsFd::as_fd);
        fd = Some(openat(at, name, DIRECTORY, Mode::empty())?);
    }
    fd.ok_or_else(|| Errno::NOENT.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{AtFlags, fstat, mkdirat, symlinkat};

    #[test]
    fn directories_are_opened_but_no_link_and_nothing_outside() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b/c")).unwrap();
        std::os::unix::fs::symlink("a", root.path().join("link")).unwrap();
        let fd = open_root(root.path()).unwrap();
        let mut directories = Directories::new(fd.as_fd());
        for path in ["a", "a/b/c", "a/b", ""] {
            directories.get(path.as_bytes()).unwrap();
        }
        for open in [open_resolved_io as fn(BorrowedFd<'_>, &[u8]) -> io::Result<OwnedFd>, open_step_by_step]
        {
            open(fd.as_fd(), b"a/b").unwrap();
            for path in ["link", "link/b", "..", "a/../../x", "/etc", "missing"] {
                assert!(open(fd.as_fd(), path.as_bytes()).is_err(), "{path}");
            }
        }
    }

    fn open_resolved_io(from: BorrowedFd<'_>, piece: &[u8]) -> io::Result<OwnedFd> {
        Ok(open_resolved(from, piece)?)
    }

    #[test]
    fn paths_may_be_longer_than_the_kernel_takes_at_once() {
        let root = tempfile::tempdir().unwrap();
        let fd = open_root(root.path()).unwrap();
        let name = [b'd'; 255];
        let mut directories = Directories::new(fd.as_fd());
        let mut path = Vec::new();
        for _ in 0..40 {
            mkdirat(directories.get(&path).unwrap(), &name[..], Mode::from_raw_mode(0o755)).unwrap();
            path = crate::entry::join(&path, &name);
        }
        symlinkat("x", directories.get(&path).unwrap(), "l").unwrap();
        let deepest = fstat(Directories::new(fd.as_fd()).get(&path).unwrap()).unwrap();
        assert_eq!(deepest.st_ino, fstat(directories.get(&path).unwrap()).unwrap().st_ino);
        rustix::fs::unlinkat(directories.get(&path).unwrap(), "l", AtFlags::empty()).unwrap();
    }
}
