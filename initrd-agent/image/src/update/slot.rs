//! One slot: the version that waits, the version before, and how they change places with what is in use.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{
    AtFlags, FileType, IFlags, Mode, OFlags, RenameFlags, ioctl_getflags, ioctl_setflags, linkat, openat,
    renameat, renameat_with,
};
use rustix::io::Errno;

use crate::entry::InodeFlags;
use crate::inode::Status;
use crate::walk::is_gone;

pub(super) const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

pub(super) fn forbids(flags: InodeFlags) -> bool {
    flags.immutable || flags.append
}

fn bits(flags: InodeFlags) -> IFlags {
    let mut all = IFlags::empty();
    all.set(IFlags::IMMUTABLE, flags.immutable);
    all.set(IFlags::APPEND, flags.append);
    all
}

/// Takes the flags that forbid changes off what has this name. Only files and directories have any; a device is not
/// even opened.
pub(super) fn unlock(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    if !matches!(file_type(parent, name)?, Some(FileType::RegularFile | FileType::Directory)) {
        return Ok(());
    }
    let fd = match openat(parent, name, READ, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let flags = ioctl_getflags(&fd).unwrap_or(IFlags::empty());
    let free = flags.difference(IFlags::IMMUTABLE | IFlags::APPEND);
    if free != flags {
        ioctl_setflags(&fd, free)?;
    }
    Ok(())
}

pub(super) fn lock(parent: BorrowedFd<'_>, name: &[u8], flags: InodeFlags) -> io::Result<()> {
    if forbids(flags) {
        let fd = openat(parent, name, READ, Mode::empty())?;
        let now = ioctl_getflags(&fd)?;
        ioctl_setflags(&fd, now | bits(flags))?;
    }
    Ok(())
}

pub(super) fn file_type(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<FileType>> {
    match Status::at(parent, name) {
        Ok(status) => Ok(Some(status.file_type())),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
/// The names of a slot: the version that waits, and the version before.
pub(super) struct Slot<'a> {
    pub(super) directory: BorrowedFd<'a>,
    pub(super) new: String,
    pub(super) old: String,
}

impl Slot<'_> {
    pub(super) fn has_new(&self) -> io::Result<bool> {
        Ok(file_type(self.directory, self.new.as_bytes())?.is_some())
    }

    pub(super) fn has_old(&self) -> io::Result<bool> {
        Ok(file_type(self.directory, self.old.as_bytes())?.is_some())
    }

    /// Of two names that are exchanged, one being a directory, the second step may be missing: the old version waits
    /// under the new one's name, and is of the other type.
    pub(super) fn finish_exchange(&self, directory: bool) -> io::Result<()> {
        let waiting = file_type(self.directory, self.new.as_bytes())?;
        if waiting.is_some_and(|kind| (kind == FileType::Directory) != directory) && !self.has_old()? {
            renameat(self.directory, &self.new, self.directory, &self.old)?;
        }
        Ok(())
    }
}
pub(super) fn unless_gone(done: rustix::io::Result<()>) -> io::Result<()> {
    match done {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Puts the slot's new version into its place; the old one is in the slot then.
pub(super) fn put(
    (parent, name): (BorrowedFd<'_>, &[u8]),
    slot: &Slot<'_>,
    (directory, old_flags): (bool, InodeFlags),
) -> io::Result<()> {
    let there = file_type(parent, name)?;
    if there.is_some() && forbids(old_flags) {
        unlock(parent, name)?;
    }
    let old_is_directory = there == Some(FileType::Directory);
    if there.is_some() && !slot.has_old()? {
        if directory && old_is_directory {
            // It came into being meanwhile, which is what was wanted; or this swap was made already.
            return Ok(());
        }
        if directory || old_is_directory {
            return exchange((parent, name), slot);
        }
        keep_old((parent, name), slot)?;
    }
    Ok(renameat(slot.directory, &slot.new, parent, name)?)
}

/// Links the old version into the slot; without links it is renamed there.
fn keep_old((parent, name): (BorrowedFd<'_>, &[u8]), slot: &Slot<'_>) -> io::Result<()> {
    match linkat(parent, name, slot.directory, &slot.old, AtFlags::empty()) {
        Ok(()) | Err(Errno::EXIST | Errno::NOENT) => Ok(()),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => {
            unless_gone(renameat(parent, name, slot.directory, &slot.old))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Swaps a directory with something else in one call, where the kernel can.
fn exchange((parent, name): (BorrowedFd<'_>, &[u8]), slot: &Slot<'_>) -> io::Result<()> {
    match renameat_with(slot.directory, &slot.new, parent, name, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(renameat(slot.directory, &slot.new, slot.directory, &slot.old)?),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            renameat(parent, name, slot.directory, &slot.old)?;
            Ok(renameat(slot.directory, &slot.new, parent, name)?)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Puts the version before back into its place, if there was one; the new one is in the slot then.
pub(super) fn take_back(
    (parent, name): (BorrowedFd<'_>, &[u8]),
    slot: &Slot<'_>,
    directory: bool,
) -> io::Result<()> {
    let there = file_type(parent, name)?;
    let there_is_directory = there == Some(FileType::Directory);
    if !slot.has_old()? {
        if there.is_some() && !slot.has_new()? {
            renameat(parent, name, slot.directory, &slot.new)?;
        }
        return Ok(());
    }
    let old = file_type(slot.directory, slot.old.as_bytes())?;
    let swaps_directory = there_is_directory || directory || old == Some(FileType::Directory);
    if there.is_some() && !slot.has_new()? {
        if swaps_directory {
            renameat(parent, name, slot.directory, &slot.new)?;
        } else {
            match linkat(parent, name, slot.directory, &slot.new, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => {
                    renameat(parent, name, slot.directory, &slot.new)?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(renameat(slot.directory, &slot.old, parent, name)?)
}
