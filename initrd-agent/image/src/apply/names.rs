//! Everything but regular files: directories before the data; links, devices and pipes; hard links and directories'
//! metadata after the data; flags that forbid changes at the very end; and the final sync.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags, chmodat, chownat, linkat, makedev, mkdirat,
    mknodat, openat, setxattr, symlinkat, syncfs, utimensat,
};
use rustix::io::Errno;

use super::attributes::{add_flags, check_xattr, failed, refused, set_all, timestamps};
use super::job::ApplyError;
use super::report::Tally;
use crate::entry::{Entry, EntryKind, InodeFlags};
use crate::inode::{Status, handle_path};
use crate::manifest::Manifest;
use crate::tree::Directories;

const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Makes all directories, closed to everybody else until their metadata is set. Those that exist (mount points,
/// `lost+found`) are used.
pub(super) fn make_directories(
    manifest: &Manifest,
    root: BorrowedFd<'_>,
    tally: &mut Tally,
) -> Result<(), ApplyError> {
    let mut directories = Directories::new(root);
    for entry in manifest.entries.iter().filter(|entry| entry.kind == EntryKind::Directory) {
        tally.report.directories += 1;
        let Some((parent, name)) = entry.split() else { continue };
        let parent = directories.get(parent).map_err(failed("opening the directory of", &entry.path))?;
        match mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let is_directory =
                    Status::at(parent, name).is_ok_and(|status| status.file_type() == FileType::Directory);
                if !is_directory {
                    return Err(refused("creating directory", &entry.path)(Errno::EXIST));
                }
            }
            Err(errno) => return Err(refused("creating directory", &entry.path)(errno)),
        }
    }
    Ok(())
}

/// Makes a symbolic link, device or pipe with its metadata; does nothing for other types.
pub(super) fn make_special(
    entry: &Entry,
    directories: &mut Directories<'_>,
    tally: &mut Tally,
) -> Result<(), ApplyError> {
    let path = &entry.path[..];
    let Some((parent, name)) = entry.split() else { return Ok(()) };
    let parent = directories.get(parent).map_err(failed("opening the directory of", path))?;
    let node = |file_type, device| mknodat(parent, name, file_type, Mode::RUSR | Mode::WUSR, device);
    let made = match &entry.kind {
        EntryKind::Directory | EntryKind::File(_) | EntryKind::HardLink { .. } => return Ok(()),
        EntryKind::Symlink { target } => symlinkat(&target[..], parent, name),
        EntryKind::CharDevice { major, minor } => node(FileType::CharacterDevice, makedev(*major, *minor)),
        EntryKind::BlockDevice { major, minor } => node(FileType::BlockDevice, makedev(*major, *minor)),
        EntryKind::Fifo => node(FileType::Fifo, 0),
    };
    made.map_err(refused("creating", path))?;
    let symlink = matches!(entry.kind, EntryKind::Symlink { .. });
    *(if symlink { &mut tally.report.symlinks } else { &mut tally.report.specials }) += 1;
    let meta = &entry.meta;
    let (owner, group) = (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
    chownat(parent, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(refused("setting the owner of", path))?;
    if !symlink {
        // It was made just now by this process and is no link, so nothing is followed.
        chmodat(parent, name, Mode::from_raw_mode(meta.mode.into()), AtFlags::empty())
            .map_err(refused("setting the mode of", path))?;
    }
    if !meta.xattrs.is_empty() {
        let handle = openat(parent, name, HANDLE, Mode::empty()).map_err(refused("opening", path))?;
        let handle_path = handle_path(handle.as_fd());
        for xattr in &meta.xattrs {
            let set = setxattr(&handle_path, &xattr.name[..], &xattr.value, XattrFlags::empty());
            check_xattr(set, (xattr, path), tally)?;
        }
    }
    utimensat(parent, name, &timestamps(meta.mtime), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(refused("setting the time of", path))
}

/// Makes the further names of files.
pub(super) fn make_hard_links(
    manifest: &Manifest,
    root: BorrowedFd<'_>,
    tally: &mut Tally,
) -> Result<(), ApplyError> {
    let (mut from, mut to) = (Directories::new(root), Directories::new(root));
    for entry in &manifest.entries {
        let EntryKind::HardLink { first } = &entry.kind else { continue };
        let first = &manifest.entries[*first as usize];
        let (Some((parent, name)), Some((first_parent, first_name))) = (entry.split(), first.split()) else {
            continue;
        };
        let opening = failed("opening the directory of", &entry.path);
        let old = from.get(first_parent).map_err(&opening)?;
        let new = to.get(parent).map_err(&opening)?;
        linkat(old, first_name, new, name, AtFlags::empty())
            .map_err(refused("making the hard link", &entry.path))?;
        tally.report.hard_links += 1;
    }
    Ok(())
}

/// One handle for each file system that the tree is on.
pub(super) type FileSystems = HashMap<u64, OwnedFd>;

/// Sets the metadata of all directories, those deepest first, so that no later change touches their times.
pub(super) fn finish_directories(
    manifest: &Manifest,
    root: BorrowedFd<'_>,
    tally: &mut Tally,
) -> Result<FileSystems, ApplyError> {
    let mut directories = Directories::new(root);
    let mut file_systems = FileSystems::new();
    for entry in manifest.entries.iter().rev().filter(|entry| entry.kind == EntryKind::Directory) {
        let path = &entry.path[..];
        let fd = open_to_read(&mut directories, entry)?;
        let nocow = InodeFlags { nocow: entry.meta.flags.nocow, ..InodeFlags::default() };
        add_flags(&fd, (nocow, path), tally)?;
        set_all(fd.as_fd(), (&entry.meta, path), tally)?;
        let device = Status::of(fd.as_fd()).map_err(failed("reading the status of", path))?.device;
        file_systems.entry(device).or_insert(fd);
    }
    Ok(file_systems)
}

/// Sets the flags after which an inode cannot be changed any more.
pub(super) fn forbid_changes(
    manifest: &Manifest,
    root: BorrowedFd<'_>,
    tally: &mut Tally,
) -> Result<(), ApplyError> {
    let mut directories = Directories::new(root);
    for entry in manifest.entries.iter().rev() {
        let flags = InodeFlags { nocow: false, ..entry.meta.flags };
        if flags != InodeFlags::default() {
            let fd = open_to_read(&mut directories, entry)?;
            add_flags(&fd, (flags, &entry.path), tally)?;
        }
    }
    Ok(())
}

/// Brings everything onto the disks.
pub(super) fn sync(file_systems: &FileSystems) -> Result<(), ApplyError> {
    for fd in file_systems.values() {
        syncfs(fd).map_err(refused("writing to disk the file system of", b""))?;
    }
    Ok(())
}

fn open_to_read(directories: &mut Directories<'_>, entry: &Entry) -> Result<OwnedFd, ApplyError> {
    let (parent, name) = entry.split().unwrap_or((b"", b"."));
    let parent = directories.get(parent).map_err(failed("opening the directory of", &entry.path))?;
    openat(parent, name, READ, Mode::empty()).map_err(refused("opening", &entry.path))
}
