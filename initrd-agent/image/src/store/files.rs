//! Files that are whole or not there: written under a random name, synced, renamed without replacing, directory
//! synced.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with, statvfs};

use super::StoreError;
use crate::crypt::random_bytes;
use crate::id::PackId;

/// How much is received at a time; large enough that hashing runs at full speed.
const BUFFER_BYTES: usize = 256 << 10;

/// Makes an error of the store from one of the operating system; a full disk is told apart.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.display().to_string();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::NoSpace { path: path.clone() }
        }
        _ => StoreError::Io { doing, path: path.clone(), source },
    }
}

/// Makes a directory and those above it, each on the disk before the next.
pub(super) fn make_directory(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_directory(parent)?;
    }
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed("creating", path)(error)),
        Ok(()) => parent.map_or(Ok(()), sync_directory),
    }
}

fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("syncing", path))
}

/// Names in a directory that are text; none when it is not there. Ours are all text.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("reading", directory))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed("reading", directory))?.file_name();
        names.extend(name.into_string().ok());
    }
    Ok(names)
}

/// Makes an empty file as a mark, or makes the one that is there as young as a new one.
pub(super) fn make_mark(directory: &Path, name: &str) -> Result<(), StoreError> {
    make_directory(directory)?;
    let path = directory.join(name);
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => touch(&path, SystemTime::now()),
        Err(error) => Err(failed("creating", &path)(error)),
        Ok(_) => sync_directory(directory),
    }
}

/// Bytes that are free on the file system of a file, and all it has.
pub(super) fn room(path: &Path) -> Result<(u64, u64), StoreError> {
    let found = statvfs(path).map_err(|errno| failed("looking for room at", path)(errno.into()))?;
    Ok((found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)))
}

/// Sets when a file was last changed.
pub(super) fn touch(path: &Path, at: SystemTime) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.set_modified(at)).map_err(failed("dating", path))
}

/// The text of a small file; none when it is not there.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, StoreError> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).map_err(failed("reading", path)),
    }
}

/// Moves a file; answers whether there was one to move.
pub(super) fn move_file(from: &Path, to: &Path) -> Result<bool, StoreError> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other.map(|()| true).map_err(failed("moving", from)),
    }
}

/// Removes a mark or a pack, if it is there. It may come back when the machine loses power.
pub(super) fn remove_one(directory: &Path, name: &str) -> Result<(), StoreError> {
    let path = directory.join(name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removing", &path)(error)),
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Removes a file for good: it does not come back when the machine loses power. Answers whether it was there.
pub(super) fn remove_durably(path: &Path) -> Result<bool, StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(failed("removing", path))?,
    }
    sync_directory(path.parent().expect("the store's files are in directories"))?;
    Ok(true)
}

/// Removes a directory unless something is in it.
pub(super) fn remove_empty(directory: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir(directory) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Err(failed("removing", directory)(error))
        }
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Removes files that nobody is writing.
pub(super) fn remove_stray(incoming: &Path) -> Result<(), StoreError> {
    for name in names(incoming)? {
        let path = incoming.join(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(failed("opening", &path))?,
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            tracing::info!(path = %path.display(), "removed what an interrupted reception left");
            std::fs::remove_file(&path).map_err(failed("removing", &path))?;
        }
    }
    Ok(())
}

/// A file that is being written and has no name yet that anybody looks for. Removed when dropped unpublished.
pub(super) struct Incoming {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Incoming {
    pub(super) fn create(directory: &Path) -> Result<Self, StoreError> {
        let random =
            random_bytes().map_err(|error| failed("naming a file in", directory)(io::Error::other(error)))?;
        let path = directory.join(blake3::Hash::from_bytes(random).to_hex().as_str());
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.map_err(failed("creating", &path))?;
        let incoming = Self { file, path, len: 0 };
        flock(&incoming.file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| failed("locking", &incoming.path)(errno.into()))?;
        Ok(incoming)
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(failed("writing", &self.path))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn require_room(&self, bytes: u64) -> Result<(), StoreError> {
        let (free, _) = room(&self.path)?;
        if free < bytes { Err(StoreError::NoSpace { path: self.path.display().to_string() }) } else { Ok(()) }
    }

    /// Takes all bytes of a sender, as long as that leaves `reserve` bytes on the disk; answers the name that they
    /// have.
    pub(super) fn receive(
        &mut self,
        pack: &PackId,
        from: &mut dyn Read,
        reserve: u64,
    ) -> Result<PackId, StoreError> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let n = match from.read(&mut buffer) {
                Ok(0) => return Ok(PackId(*hasher.finalize().as_bytes())),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(StoreError::Receive { pack: *pack, source }),
            };
            hasher.update(&buffer[..n]);
            self.require_room(n as u64 + reserve)?;
            self.write(&buffer[..n])?;
        }
    }

    /// Sets when it was last changed.
    pub(super) fn date(&self, at: SystemTime) -> Result<(), StoreError> {
        self.file.set_modified(at).map_err(failed("dating", &self.path))
    }

    /// Puts what was written on the disk. A failed sync ends the matter: what the disk then holds is unknown.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(failed("syncing", &self.path))
    }

    /// Gives the file its name, also when another has it.
    pub(super) fn replace(self, target: &Path) -> Result<(), StoreError> {
        self.sync()?;
        std::fs::rename(&self.path, target).map_err(failed("naming", target))?;
        sync_directory(target.parent().expect("the store's files are in directories"))
    }

    /// Gives the file its name, unless another has it; answers whether it did.
    pub(super) fn publish(self, target: &Path) -> Result<bool, StoreError> {
        self.sync()?;
        match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(errno) => Err(failed("naming", target)(errno.into())),
            Ok(()) => {
                sync_directory(target.parent().expect("the store's files are in directories"))?;
                Ok(true)
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // After a rename there is nothing under this name any more; what cannot be removed now goes at the next open.
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished file stays until the store is opened");
        }
    }
}
