//! What an interrupted deployment left in the tree beside directories and files with content: all of it is removed
//! and made anew, because it is nothing to fetch. Also lets go of flags that forbid changes.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, openat, unlinkat,
};
use rustix::io::Errno;

use super::attributes::{failed, refused};
use super::job::ApplyError;
use super::plan::{chunks_of, file_data};
use crate::entry::{Entry, EntryKind, join};
use crate::inode::Status;
use crate::manifest::Manifest;
use crate::tree::Directories;

/// Made by the file system itself.
const LOST_AND_FOUND: &[u8] = b"lost+found";

const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const LOOK: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Takes the flags off again that the end of a deployment sets. What is not there has none.
pub(super) fn allow_changes(manifest: &Manifest, root: BorrowedFd<'_>) -> Result<(), ApplyError> {
    let mut directories = Directories::new(root);
    for entry in manifest.entries.iter().filter(|e| e.meta.flags.immutable || e.meta.flags.append) {
        let (parent, name) = entry.split().unwrap_or((b"", b"."));
        // A directory that is not there yet holds nothing with flags.
        let Ok(parent) = directories.get(parent) else { continue };
        let Ok(fd) = openat(parent, name, LOOK, Mode::empty()) else { continue };
        let flags = ioctl_getflags(&fd).unwrap_or(IFlags::empty());
        let free = flags.difference(IFlags::IMMUTABLE | IFlags::APPEND);
        if free != flags {
            ioctl_setflags(&fd, free).map_err(refused("taking the flags off", &entry.path))?;
        }
    }
    Ok(())
}

/// Removes everything that is neither a directory of the image nor a file with content of it, but for the names in
/// `spare` below the root.
pub(super) fn remove_others(
    manifest: &Manifest,
    root: BorrowedFd<'_>,
    spare: &[&[u8]],
) -> Result<(), ApplyError> {
    let is_directory = |entry: &&Entry| entry.kind == EntryKind::Directory;
    let has_content = |e: &&Entry| file_data(&e.kind).is_some_and(|data| chunks_of(data).next().is_some());
    let paths = |entry: &'_ Entry| -> Vec<u8> { entry.path.clone() };
    let folders: HashSet<Vec<u8>> = manifest.entries.iter().filter(is_directory).map(paths).collect();
    let files: HashSet<Vec<u8>> = manifest.entries.iter().filter(has_content).map(paths).collect();
    let stays = |path: &[u8], file_type| match file_type {
        FileType::Directory => folders.contains(path),
        FileType::RegularFile => files.contains(path),
        _ => false,
    };
    let mut directories = Directories::new(root);
    for entry in manifest.entries.iter().filter(is_directory) {
        let path = &entry.path[..];
        let handle = match directories.get(path) {
            Ok(handle) => handle,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            // Something else has its name; it goes with its parent's other names, which came before.
            Err(error) => return Err(failed("opening directory", path)(error)),
        };
        let list = openat(handle, ".", LIST, Mode::empty()).map_err(refused("listing", path))?;
        let device = Status::of(list.as_fd()).map_err(failed("reading the status of", path))?.device;
        for (name, status) in names(&list, path)? {
            let inside = join(path, &name);
            let mounted = status.device != device;
            let kept = mounted || name == LOST_AND_FOUND || path.is_empty() && spare.contains(&&name[..]);
            if !kept && !stays(&inside, status.file_type()) {
                remove(list.as_fd(), (&name, status), &inside)?;
            }
        }
    }
    Ok(())
}

fn names(directory: &OwnedFd, path: &[u8]) -> Result<Vec<(Vec<u8>, Status)>, ApplyError> {
    let mut found = Vec::new();
    for entry in Dir::read_from(directory).map_err(refused("listing", path))? {
        let name = entry.map_err(refused("listing", path))?.file_name().to_bytes().to_vec();
        if name == b"." || name == b".." {
            continue;
        }
        let status =
            Status::at(directory.as_fd(), &name).map_err(failed("looking at", &join(path, &name)))?;
        found.push((name, status));
    }
    Ok(found)
}

/// Removes one name with all below it.
fn remove(parent: BorrowedFd<'_>, (name, status): (&[u8], Status), path: &[u8]) -> Result<(), ApplyError> {
    let refused = refused("removing", path);
    if status.file_type() != FileType::Directory {
        return unlinkat(parent, name, AtFlags::empty()).map_err(refused);
    }
    let list = openat(parent, name, LIST, Mode::empty()).map_err(&refused)?;
    for (inner, status) in names(&list, path)? {
        remove(list.as_fd(), (&inner, status), &join(path, &inner))?;
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        // Something is mounted on it.
        Err(Errno::BUSY) => Ok(()),
        other => other.map_err(refused),
    }
}
