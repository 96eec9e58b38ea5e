//! Gives an inode its metadata, in the order that the kernel's side effects demand: owner (clears set-id bits and
//! capabilities), mode, extended attributes, times. Flags that forbid changes come last of all, by
//! [`super::names`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    Gid, IFlags, Mode, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, fsetxattr, fstat, fstatfs,
    futimens, ioctl_getflags, ioctl_setflags,
};
use rustix::io::Errno;

use super::job::ApplyError;
use super::report::Tally;
use crate::entry::{InodeFlags, Meta, Time, Xattr, display};
use crate::inode::flag_table;

/// Attributes without which a clone is not the golden client: privileges and permissions.
const ESSENTIAL: [&[u8]; 3] =
    [b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"];

/// File system magic of FAT (`MSDOS_SUPER_MAGIC`), which has neither owners nor modes of its own.
const FAT_MAGIC: u64 = 0x4d44;

/// Makes an error of one from the operating system.
pub(super) fn failed(doing: &'static str, path: &[u8]) -> impl Fn(io::Error) -> ApplyError {
    let path = display(path);
    move |source| ApplyError::Write { doing, path: path.clone(), source }
}

/// The same for rustix' errors.
pub(super) fn refused(doing: &'static str, path: &[u8]) -> impl Fn(Errno) -> ApplyError {
    let failed = failed(doing, path);
    move |errno| failed(errno.into())
}

/// A time as the kernel takes it; last access is set to the same, for want of a better one.
pub(crate) fn timestamps(time: Time) -> Timestamps {
    // The type of nanoseconds differs between architectures.
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Sets everything but flags on an open file or directory.
pub(super) fn set_all(
    fd: BorrowedFd<'_>,
    (meta, path): (&Meta, &[u8]),
    tally: &mut Tally,
) -> Result<(), ApplyError> {
    let owner = fchown(fd, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
    unless_fat(fd, owner, ("owner", path), tally)?;
    set_all_but_owner(fd, (meta, path), tally)
}

/// The same for a file that was just made. It has the right owner most of the time, and looking costs a tenth of a
/// change that is journaled.
pub(crate) fn set_all_of_new(
    fd: BorrowedFd<'_>,
    (meta, path): (&Meta, &[u8]),
    tally: &mut Tally,
) -> Result<(), ApplyError> {
    if fstat(fd).is_ok_and(|stat| (stat.st_uid, stat.st_gid) == (meta.uid, meta.gid)) {
        return set_all_but_owner(fd, (meta, path), tally);
    }
    set_all(fd, (meta, path), tally)
}

fn set_all_but_owner(
    fd: BorrowedFd<'_>,
    (meta, path): (&Meta, &[u8]),
    tally: &mut Tally,
) -> Result<(), ApplyError> {
    let mode = fchmod(fd, Mode::from_raw_mode(meta.mode.into()));
    unless_fat(fd, mode, ("mode", path), tally)?;
    for xattr in &meta.xattrs {
        let set = fsetxattr(fd, &xattr.name[..], &xattr.value, XattrFlags::empty());
        check_xattr(set, (xattr, path), tally)?;
    }
    futimens(fd, &timestamps(meta.mtime)).map_err(refused("setting the time of", path))
}

/// A refusal on FAT is a warning: it cannot be otherwise there.
fn unless_fat(
    fd: BorrowedFd<'_>,
    answer: rustix::io::Result<()>,
    (what, path): (&'static str, &[u8]),
    tally: &mut Tally,
) -> Result<(), ApplyError> {
    match answer {
        Ok(()) => Ok(()),
        Err(Errno::PERM) if is_on_fat(fd) => {
            tally.warn(format!("FAT has no {what} of its own for a file"), path);
            Ok(())
        }
        Err(errno) => Err(refused("setting owner and mode of", path)(errno)),
    }
}

fn is_on_fat(fd: BorrowedFd<'_>) -> bool {
    fstatfs(fd).is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|magic| magic == FAT_MAGIC))
}

/// Turns a refused attribute into a warning or, when the clone cannot do without it, an error.
pub(super) fn check_xattr(
    answer: rustix::io::Result<()>,
    (xattr, path): (&Xattr, &[u8]),
    tally: &mut Tally,
) -> Result<(), ApplyError> {
    let Err(errno) = answer else { return Ok(()) };
    let refusal = matches!(
        errno,
        Errno::OPNOTSUPP
            | Errno::PERM
            | Errno::ACCESS
            | Errno::INVAL
            | Errno::TOOBIG
            | Errno::RANGE
            | Errno::NOSPC
    );
    if !refusal || ESSENTIAL.contains(&&xattr.name[..]) {
        let name = String::from_utf8_lossy(&xattr.name);
        let source = io::Error::from(errno);
        let source = io::Error::new(source.kind(), format!("{name}: {source}"));
        return Err(failed("setting an attribute of", path)(source));
    }
    let name = String::from_utf8_lossy(&xattr.name);
    tally.warn(format!("attribute {name} was refused: {}", io::Error::from(errno)), path);
    Ok(())
}

/// Adds flags to an open file or directory. A file system that has none gives a warning.
pub(super) fn add_flags(
    fd: impl AsFd,
    (flags, path): (InodeFlags, &[u8]),
    tally: &mut Tally,
) -> Result<(), ApplyError> {
    let table = flag_table(flags);
    let set = || table.iter().filter(|(set, _, _)| *set);
    let wanted = set().fold(IFlags::empty(), |all, (_, flag, _)| all | *flag);
    if wanted.is_empty() {
        return Ok(());
    }
    let done = ioctl_getflags(&fd).and_then(|now| {
        ioctl_setflags(&fd, now | wanted)?;
        // A file system may accept a flag and not keep it.
        let kept = ioctl_getflags(&fd)?.contains(wanted);
        if kept { Ok(()) } else { Err(Errno::OPNOTSUPP) }
    });
    match done {
        Ok(()) => Ok(()),
        Err(errno @ (Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::PERM | Errno::NOSYS)) => {
            let names: Vec<_> = set().map(|(_, _, name)| *name).collect();
            let reason = io::Error::from(errno);
            tally.warn(format!("flag {} was refused: {reason}", names.join("+")), path);
            Ok(())
        }
        Err(errno) => Err(refused("setting flags of", path)(errno)),
    }
}
