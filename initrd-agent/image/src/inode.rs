//! What an inode says about itself: status, extended attributes, flags.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{
    AtFlags, FileType, IFlags, Stat, StatxAttributes, StatxFlags, fgetxattr, flistxattr, fstat, getxattr,
    ioctl_getflags, listxattr, statat, statx,
};
use rustix::io::Errno;

use crate::entry::{InodeFlags, Time, Xattr};

/// Largest list and value that the kernel gives (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTR_MAX: usize = 65_536;

/// XFS shows an ACL a second time under these names of its own; only `system.posix_acl_*` is portable.
const ALIASES: [&[u8]; 2] = [b"trusted.SGI_ACL_FILE", b"trusted.SGI_ACL_DEFAULT"];

/// An inode's status at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    pub device: u64,
    pub inode: u64,
    pub links: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub special: u64,
    pub size: u64,
    pub allocated: u64,
    pub modified: Time,
    pub changed: Time,
}

impl Status {
    pub(crate) fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self::from(&fstat(fd)?))
    }

    /// Of a name in a directory; links are not followed, automounts not triggered.
    pub(crate) fn at(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Self> {
        Ok(Self::from(&statat(directory, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)?))
    }

    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Whether nothing that concerns content or metadata happened between two moments.
    pub(crate) fn is_unchanged(&self, later: &Self) -> bool {
        (self.device, self.inode, self.size, self.modified, self.changed)
            == (later.device, later.inode, later.size, later.modified, later.changed)
    }
}

impl From<&Stat> for Status {
    // The field types differ between architectures.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "needed on some architectures")]
    fn from(stat: &Stat) -> Self {
        let time = |seconds, nanos| Time { seconds, nanos };
        Self {
            device: u64::from(stat.st_dev),
            inode: u64::from(stat.st_ino),
            links: stat.st_nlink as u64,
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            special: u64::from(stat.st_rdev),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            allocated: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
            modified: time(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            changed: time(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        }
    }
}

/// Whether a name is the root of a mount, when the kernel (since 5.8) can tell.
pub(crate) fn is_mount_root(directory: BorrowedFd<'_>, name: &[u8]) -> Option<bool> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let stat = statx(directory, name, flags, StatxFlags::TYPE).ok()?;
    let known = stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
    known.then(|| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// The path under which the kernel reaches exactly the inode of a handle, whatever its type.
pub(crate) fn handle_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Reads extended attributes; keeps its buffer.
pub(crate) struct XattrReader {
    buffer: Vec<u8>,
}

impl XattrReader {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; XATTR_MAX] }
    }

    /// Of an open file or directory.
    pub(crate) fn of_file(&mut self, fd: BorrowedFd<'_>) -> io::Result<Vec<Xattr>> {
        let names = flistxattr(fd, &mut self.buffer[..]);
        self.collect(names, |name, buffer| fgetxattr(fd, name, buffer))
    }

    /// Of an `O_PATH` handle, whatever its type.
    pub(crate) fn of_handle(&mut self, fd: BorrowedFd<'_>) -> io::Result<Vec<Xattr>> {
        let path = handle_path(fd);
        let names = listxattr(&path, &mut self.buffer[..]);
        self.collect(names, |name, buffer| getxattr(&path, name, buffer))
    }

    fn collect(
        &mut self,
        names: rustix::io::Result<usize>,
        get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
    ) -> io::Result<Vec<Xattr>> {
        let len = match names {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            other => other?,
        };
        let names: Vec<Vec<u8>> = self.buffer[..len]
            .split(|b| *b == 0)
            .filter(|name| !name.is_empty() && !ALIASES.contains(name))
            .map(<[u8]>::to_vec)
            .collect();
        let mut xattrs = Vec::with_capacity(names.len());
        for name in names {
            match get(&name, &mut self.buffer) {
                Ok(len) => xattrs.push(Xattr { name, value: self.buffer[..len].to_vec() }),
                // Removed since it was listed, or listed by a file system that does not let it be read.
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        xattrs.sort();
        xattrs.dedup_by(|a, b| a.name == b.name);
        Ok(xattrs)
    }
}

/// Every flag that is kept: whether it is set, the kernel's bit, its name.
pub(crate) fn flag_table(flags: InodeFlags) -> [(bool, IFlags, &'static str); 7] {
    let InodeFlags { immutable, append, nocow, nodump, noatime, sync, dirsync } = flags;
    [
        (immutable, IFlags::IMMUTABLE, "immutable"),
        (append, IFlags::APPEND, "append"),
        (nocow, IFlags::NOCOW, "nocow"),
        (nodump, IFlags::NODUMP, "nodump"),
        (noatime, IFlags::NOATIME, "noatime"),
        (sync, IFlags::SYNC, "sync"),
        (dirsync, IFlags::DIRSYNC, "dirsync"),
    ]
}

/// Flags of an open file or directory; none where the file system has none.
pub(crate) fn read_flags(fd: BorrowedFd<'_>) -> io::Result<InodeFlags> {
    match ioctl_getflags(fd) {
        Ok(flags) => Ok(InodeFlags {
            immutable: flags.contains(IFlags::IMMUTABLE),
            append: flags.contains(IFlags::APPEND),
            nocow: flags.contains(IFlags::NOCOW),
            nodump: flags.contains(IFlags::NODUMP),
            noatime: flags.contains(IFlags::NOATIME),
            sync: flags.contains(IFlags::SYNC),
            dirsync: flags.contains(IFlags::DIRSYNC),
        }),
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(InodeFlags::default()),
        Err(errno) => Err(errno.into()),
    }
}
