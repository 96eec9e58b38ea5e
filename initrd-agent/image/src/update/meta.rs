//! Changes the metadata of an inode in its place.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{IFlags, fremovexattr, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;

use crate::apply::{Tally, set_all_of_new};
use crate::entry::Meta;
use crate::inode::{XattrReader, flag_table};

/// Gives an open file or directory exactly this metadata, as far as its file system knows it.
pub(super) fn set_meta(fd: BorrowedFd<'_>, meta: &Meta) -> io::Result<()> {
    let flags = ioctl_getflags(fd).ok();
    if let Some(flags) = flags
        && flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND)
    {
        ioctl_setflags(fd, flags.difference(IFlags::IMMUTABLE | IFlags::APPEND))?;
    }
    for xattr in XattrReader::new().of_file(fd)? {
        if !meta.xattrs.iter().any(|wanted| wanted.name == xattr.name) {
            match fremovexattr(fd, &xattr.name[..]) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    let mut tally = Tally::default();
    set_all_of_new(fd, (meta, b""), &mut tally).map_err(io::Error::other)?;
    for warning in tally.into_report().warnings {
        tracing::warn!("{}", warning.what);
    }
    let Some(now) = flags else { return Ok(()) };
    let mut wanted = now;
    for (set, flag, _) in flag_table(meta.flags) {
        wanted.set(flag, set);
    }
    match ioctl_setflags(fd, wanted) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
