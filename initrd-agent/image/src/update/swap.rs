//! Carries out a journal, forward or back. Every swap can be repeated: what the slots hold says whether it is done.
//! A regular file is never missing meanwhile: the old one is linked into the slot, then the new one renamed over it.
//! Where a file system has no links (FAT), the old one is renamed away first.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, open, openat, renameat, statvfs, syncfs, utimensat};
use rustix::io::Errno;

use super::clear::{blocks_below, remove_slots};
use super::error::{UpdateError, call};
use super::journal::{Journal, Op, OpKind, Progress, Touched};
use super::keep::STAGING;
use super::meta::set_meta;
use super::slot::{READ, Slot, file_type, forbids, lock, put, take_back, unless_gone, unlock};
use crate::apply::timestamps;
use crate::entry::{InodeFlags, Meta, Time, display, split};
use crate::tree::{Directories, open_root};
use crate::walk::is_gone;

/// Name of the slots' directory in [`STAGING`].
pub(super) const SLOTS: &str = "slots";

/// What happens while swaps are made.
pub trait Watch {
    /// Before each swap: how many are done, of how many. An error stops there; the journal goes on from there.
    ///
    /// # Errors
    /// Whatever the caller wants to stop for.
    fn swap(&mut self, done: usize, total: usize) -> io::Result<()>;

    /// When all files are in place but those that name others (boot configurations), and nothing is removed yet.
    ///
    /// # Errors
    /// What keeps the machine from starting with the new files.
    fn files_are_there(&mut self) -> io::Result<()>;
}

/// Watches nothing.
pub struct Unwatched;

impl Watch for Unwatched {
    fn swap(&mut self, _: usize, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn files_are_there(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The file systems of a journal.
struct Places {
    root: OwnedFd,
    slots: Vec<OwnedFd>,
    /// Directories whose flags come in the end, when all names in them are there.
    touched: HashSet<Vec<u8>>,
}

impl Journal {
    /// Makes every swap that is not made yet; then the update is applied.
    ///
    /// # Errors
    /// A swap that the file system refused. The journal stays, and calling this again goes on.
    pub fn forward(
        &mut self,
        (root, state): (&Path, &Path),
        watch: &mut dyn Watch,
    ) -> Result<(), UpdateError> {
        let places = self.places(root)?;
        let directories: Vec<&Touched> = self.touched.iter().collect();
        allow(&places, &directories)?;
        let total = self.ops.len();
        let mut told = false;
        for (done, op) in self.ops.iter().enumerate() {
            let last = op.late || matches!(op.kind, OpKind::Remove { .. } | OpKind::Meta { .. });
            if last && !std::mem::replace(&mut told, true) {
                places.sync()?;
                watch.files_are_there().map_err(call("preparing the machine's start", self.to.clone()))?;
            }
            watch.swap(done, total).map_err(call("before changing", display(&op.path)))?;
            places.go(op).map_err(call("changing", display(&op.path)))?;
        }
        if !told {
            places.sync()?;
            watch.files_are_there().map_err(call("preparing the machine's start", self.to.clone()))?;
        }
        for op in &self.ops {
            places.lock_after(op).map_err(call("protecting", display(&op.path)))?;
        }
        for touched in &self.touched {
            places.settle(touched, (Some(touched.new), touched.new_flags));
        }
        places.sync()?;
        self.progress = Progress::Applied;
        self.save(state)
    }

    /// Undoes every swap; then the journal and the slots go.
    ///
    /// # Errors
    /// A swap that the file system refused. The journal stays, and calling this again goes on.
    pub fn back(mut self, (root, state): (&Path, &Path), watch: &mut dyn Watch) -> Result<(), UpdateError> {
        let places = self.places(root)?;
        if self.progress != Progress::RollingBack {
            self.progress = Progress::RollingBack;
            self.save(state)?;
        }
        let directories: Vec<&Touched> = self.touched.iter().collect();
        allow(&places, &directories)?;
        let total = self.ops.len();
        for (done, op) in self.ops.iter().rev().enumerate() {
            watch.swap(done, total).map_err(call("before changing back", display(&op.path)))?;
            places.undo(op).map_err(call("changing back", display(&op.path)))?;
        }
        places.sync()?;
        watch.files_are_there().map_err(call("preparing the machine's start", self.to.clone()))?;
        for op in &self.ops {
            places.lock_before(op).map_err(call("protecting", display(&op.path)))?;
        }
        for touched in &self.touched {
            places.settle(touched, (touched.old, touched.old_flags));
        }
        places.sync()?;
        Self::remove(state)?;
        for mount in self.mount_paths(root) {
            remove_slots(&mount)?;
        }
        // The slots were names in these.
        let slots_in = |touched: &&Touched| self.mounts.iter().any(|mount| mount.0 == touched.path);
        for touched in self.touched.iter().filter(slots_in) {
            places.settle(touched, (touched.old, touched.old_flags));
        }
        Ok(())
    }

    /// Forgets the version before: journal first, so that nothing half-removed is ever gone back to.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn discard(self, (root, state): (&Path, &Path)) -> Result<(), UpdateError> {
        Self::remove(state)?;
        for mount in self.mount_paths(root) {
            remove_slots(&mount)?;
        }
        Ok(())
    }

    /// The file systems on which the version before takes more room than is left: their mount points, with what it
    /// takes and what is left, in bytes.
    ///
    /// # Errors
    /// A file system does not answer.
    pub fn crowded(&self, root: &Path) -> Result<Vec<(String, u64, u64)>, UpdateError> {
        let mut found = Vec::new();
        for mount in self.mount_paths(root) {
            let shown = mount.display().to_string();
            let slots = mount.join(STAGING).join(SLOTS);
            let kept: u64 = blocks_below(&slots).map_err(call("measuring", slots.display().to_string()))?;
            let stat = statvfs(&mount).map_err(call("asking for the room on", shown.clone()))?;
            let left = stat.f_bavail.saturating_mul(stat.f_frsize);
            if kept > left {
                found.push((shown, kept, left));
            }
        }
        Ok(found)
    }

    fn places(&self, root: &Path) -> Result<Places, UpdateError> {
        let opened = open_root(root).map_err(call("opening", root.display().to_string()))?;
        let slots = self.mount_paths(root).into_iter().map(|mount| {
            let path = mount.join(STAGING).join(SLOTS);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            open(&path, flags, Mode::empty()).map_err(call("opening", path.display().to_string()))
        });
        let touched = self.touched.iter().map(|touched| touched.path.clone()).collect();
        Ok(Places { root: opened, slots: slots.collect::<Result<_, _>>()?, touched })
    }
}

/// Takes flags off directories that forbid changing their names.
fn allow(places: &Places, directories: &[&Touched]) -> Result<(), UpdateError> {
    for touched in directories {
        if forbids(touched.old_flags) || forbids(touched.new_flags) {
            match places.with(&touched.path, unlock) {
                // It comes with the swaps, or has gone with them.
                Err(error) if is_gone(&error) => {}
                other => other.map_err(call("allowing changes in", display(&touched.path)))?,
            }
        }
    }
    Ok(())
}

impl Places {
    fn slot(&self, op: &Op) -> Slot<'_> {
        let directory = self.slots[op.mount as usize].as_fd();
        Slot { directory, new: op.slot.to_string(), old: format!("{}.old", op.slot) }
    }

    /// Calls with the handle of the directory that holds a path, and the name there.
    fn with<T>(
        &self,
        path: &[u8],
        work: impl FnOnce(BorrowedFd<'_>, &[u8]) -> io::Result<T>,
    ) -> io::Result<T> {
        // Opened anew each time: directories are swapped, too.
        let mut directories = Directories::new(self.root.as_fd());
        let (parent, name) = split(path).unwrap_or((b"", b"."));
        work(directories.get(parent)?, name)
    }

    fn sync(&self) -> Result<(), UpdateError> {
        for slots in &self.slots {
            syncfs(slots).map_err(call("writing to disk", "the file systems of the update"))?;
        }
        Ok(())
    }

    fn go(&self, op: &Op) -> io::Result<()> {
        let slot = self.slot(op);
        match &op.kind {
            OpKind::Put { directory, old_flags, .. } => {
                slot.finish_exchange(*directory)?;
                if !slot.has_new()? {
                    return Ok(());
                }
                self.with(&op.path, |parent, name| put((parent, name), &slot, (*directory, *old_flags)))
            }
            OpKind::Remove { old_flags } => {
                if slot.has_old()? {
                    return Ok(());
                }
                self.with(&op.path, |parent, name| {
                    if forbids(*old_flags) {
                        unlock(parent, name)?;
                    }
                    unless_gone(renameat(parent, name, slot.directory, &slot.old))
                })
            }
            OpKind::Meta { new, .. } => self.set_meta(&op.path, new),
        }
    }

    fn undo(&self, op: &Op) -> io::Result<()> {
        let slot = self.slot(op);
        match &op.kind {
            OpKind::Put { directory, .. } => {
                slot.finish_exchange(*directory)?;
                if slot.has_new()? && !slot.has_old()? {
                    return Ok(());
                }
                unlock(slot.directory, slot.old.as_bytes())?;
                self.with(&op.path, |parent, name| {
                    unlock(parent, name)?;
                    take_back((parent, name), &slot, *directory)
                })
            }
            OpKind::Remove { .. } => {
                if !slot.has_old()? {
                    return Ok(());
                }
                unlock(slot.directory, slot.old.as_bytes())?;
                self.with(&op.path, |parent, name| {
                    if file_type(parent, name)?.is_some() {
                        // Made again since then.
                        unlock(parent, name)?;
                        renameat(parent, name, slot.directory, &slot.new)?;
                    }
                    Ok(renameat(slot.directory, &slot.old, parent, name)?)
                })
            }
            OpKind::Meta { old, .. } => self.set_meta(&op.path, old),
        }
    }

    /// Sets the flags that forbid changes, when no name of any inode is swapped any more.
    fn lock_after(&self, op: &Op) -> io::Result<()> {
        let slot = self.slot(op);
        let (path_flags, slot_flags) = match &op.kind {
            OpKind::Put { directory: false, old_flags, new_flags } => (*new_flags, *old_flags),
            OpKind::Put { directory: true, old_flags, .. } | OpKind::Remove { old_flags } => {
                (InodeFlags::default(), *old_flags)
            }
            OpKind::Meta { .. } => return Ok(()),
        };
        if forbids(path_flags) {
            self.with(&op.path, |parent, name| lock(parent, name, path_flags))?;
        }
        // Other names of the old version's inode may be none of the update's business.
        if forbids(slot_flags) && slot.has_old()? {
            lock(slot.directory, slot.old.as_bytes(), slot_flags)?;
        }
        Ok(())
    }

    /// The same after going back.
    fn lock_before(&self, op: &Op) -> io::Result<()> {
        let flags = match &op.kind {
            OpKind::Put { old_flags, .. } | OpKind::Remove { old_flags } => *old_flags,
            OpKind::Meta { .. } => return Ok(()),
        };
        if !forbids(flags) {
            return Ok(());
        }
        self.with(&op.path, |parent, name| match file_type(parent, name)? {
            Some(_) => lock(parent, name, flags),
            None => Ok(()),
        })
    }

    fn set_meta(&self, path: &[u8], meta: &Meta) -> io::Result<()> {
        let mut meta = meta.clone();
        if self.touched.contains(path) {
            meta.flags = InodeFlags { immutable: false, append: false, ..meta.flags };
        }
        self.with(path, |parent, name| match openat(parent, name, READ, Mode::empty()) {
            Ok(fd) => set_meta(fd.as_fd(), &meta),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        })
    }

    /// Gives a directory its time and flags; one that has gone, or is on a read-only place, has none.
    fn settle(&self, touched: &Touched, (time, flags): (Option<Time>, InodeFlags)) {
        let done = self.with(&touched.path, |parent, name| {
            unlock(parent, name)?;
            if let Some(time) = time {
                utimensat(parent, name, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            lock(parent, name, flags)
        });
        if let Err(error) = done
            && !is_gone(&error)
        {
            let path = display(&touched.path);
            tracing::warn!(path, %error, "the time of a directory is not as it should be");
        }
    }
}
