//! Measures and removes slots.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::error::{UpdateError, call};
use super::keep::STAGING;
use super::slot::{READ, unlock};

/// Removes the slots of a file system with all in them.
pub(super) fn remove_slots(mount: &Path) -> Result<(), UpdateError> {
    let path = mount.join(STAGING);
    let shown = path.display().to_string();
    match remove_tree(&path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(call("removing", shown)(error)),
    }
}

/// Bytes on the disk of everything in a directory that has no other name.
pub(super) fn blocks_below(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            bytes += blocks_below(&entry.path())?;
        } else if meta.nlink() == 1 {
            bytes += meta.blocks() * 512;
        }
    }
    Ok(bytes)
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => {
            allow_all(path)?;
            std::fs::remove_dir_all(path)
        }
        other => other,
    }
}

/// Takes flags that forbid changes off everything below.
fn allow_all(path: &Path) -> io::Result<()> {
    let fd = open(path, READ | OFlags::DIRECTORY, Mode::empty())?;
    unlock(fd.as_fd(), b".")?;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            allow_all(&entry.path())?;
        } else if kind.is_file() {
            unlock(fd.as_fd(), entry.file_name().as_bytes())?;
        }
    }
    Ok(())
}
