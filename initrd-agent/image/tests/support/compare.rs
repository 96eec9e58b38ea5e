//! Judges whether two trees are the same: rsync in both directions, and own eyes for what rsync does not compare.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Dir, FileType, IFlags, Mode, OFlags, SeekFrom, fstat, ioctl_getflags, openat, seek};

use super::{run, text};

/// Everything of one name that rsync does not look at, or not exactly.
#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    pub mtime: (i64, i128),
    pub mode: u32,
    pub links: u64,
    pub flags: u32,
    /// Ranges with data, for files where they are comparable.
    pub data: Vec<(u64, u64)>,
}

/// Lines of rsync's list of differences, both ways, sorted.
pub fn rsync(a: &Path, b: &Path) -> Vec<String> {
    let list = |from: &Path, to: &Path| {
        let (from, to) = (format!("{}/", text(from)), format!("{}/", text(to)));
        // XFS shows ACLs, which are compared by -A, once more as attributes of its own.
        let filters = ["--filter=-x trusted.SGI_ACL_*", "--filter=-x system.*"];
        let options = ["-aHAXn", "--checksum", "--itemize-changes", "--delete", "--numeric-ids"];
        run("rsync", &[&options[..], &filters, &[&from, &to]].concat())
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut lines: Vec<String> = list(a, b).into_iter().map(|line| format!("> {line}")).collect();
    lines.extend(list(b, a).into_iter().map(|line| format!("< {line}")));
    lines.sort();
    lines
}

/// Facts of every name, by path. `allocated` names files (by path) whose zeros may be stored in another way: only
/// that they occupy their room is compared.
pub fn facts(root: &Path) -> BTreeMap<Vec<u8>, Facts> {
    let mut facts = BTreeMap::new();
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let root = openat(rustix::fs::CWD, root, flags, Mode::empty()).unwrap();
    let mut pending = vec![(Vec::new(), root)];
    while let Some((path, directory)) = pending.pop() {
        for entry in Dir::read_from(&directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let child = [&path[..], b"/", name].concat();
            let file_type = entry.file_type();
            let mode = match file_type {
                FileType::Directory | FileType::RegularFile => OFlags::RDONLY,
                _ => OFlags::PATH,
            };
            let fd =
                openat(&directory, name, mode | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).unwrap();
            facts.insert(child.clone(), one(fd.as_fd(), file_type));
            if file_type == FileType::Directory {
                pending.push((child, fd));
            }
        }
    }
    facts
}

fn one(fd: std::os::fd::BorrowedFd<'_>, file_type: FileType) -> Facts {
    let stat = fstat(fd).unwrap();
    let readable = matches!(file_type, FileType::Directory | FileType::RegularFile);
    let kept = IFlags::IMMUTABLE | IFlags::APPEND | IFlags::NOCOW;
    let flags = if readable { ioctl_getflags(fd).map_or(0, |flags| (flags & kept).bits()) } else { 0 };
    let regular = file_type == FileType::RegularFile;
    Facts {
        // Its type is not the same on every architecture.
        mtime: (stat.st_mtime, i128::from(stat.st_mtime_nsec)),
        mode: stat.st_mode,
        links: if file_type == FileType::Directory { 0 } else { stat.st_nlink },
        flags,
        data: if regular { data(fd, u64::try_from(stat.st_size).unwrap()) } else { Vec::new() },
    }
}

fn data(fd: std::os::fd::BorrowedFd<'_>, size: u64) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < size {
        let Ok(start) = seek(fd, SeekFrom::Data(at)) else { break };
        let end = seek(fd, SeekFrom::Hole(start)).unwrap();
        ranges.push((start, end));
        at = end;
    }
    ranges
}
