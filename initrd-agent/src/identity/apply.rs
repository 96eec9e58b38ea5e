//! Makes edits below a clone's root. Paths are resolved inside the root: a symbolic link in the image never leads out
//! of it, and the last name is replaced, never followed. The times of the folders stay as they were captured.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, fchmod,
    fchown, fgetxattr, fsetxattr, fstat, fsync, futimens, mkdirat, open, openat, openat2, renameat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::plan::Edit;

/// SELinux's label of a file. Without a policy loaded the kernel gives new files none, and an enforcing clone would
/// refuse to read them.
const SELINUX: &str = "security.selinux";
/// Name of a file that is not finished.
const TEMPORARY: &str = ".sysclone-new";
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Makes the edits in order.
///
/// # Errors
/// The first that could not be made, with its path.
pub fn apply_edits(root: &Path, edits: &[Edit]) -> anyhow::Result<()> {
    let tree = Root::open(root).with_context(|| format!("opening {}", root.display()))?;
    for edit in edits {
        tree.apply(edit).with_context(|| format!("writing {}", edit.path()))?;
    }
    Ok(())
}

/// The root folder of a clone.
pub(super) struct Root(OwnedFd);

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(open(path, DIRECTORY, Mode::empty())?))
    }

    /// Opens a path as the running clone would see it.
    pub(super) fn open_beneath(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let relative = path.trim_start_matches('/');
        let relative = if relative.is_empty() { "." } else { relative };
        openat2(
            &self.0,
            relative,
            flags | OFlags::CLOEXEC,
            mode,
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    pub(super) fn directory(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.open_beneath(path, DIRECTORY, Mode::empty())
    }

    /// The folder, made with its parents where it is not there.
    fn directory_made(&self, path: &str) -> Result<OwnedFd, Errno> {
        match self.directory(path) {
            Err(Errno::NOENT) => {}
            outcome => return outcome,
        }
        let (parent, name) = split(path);
        let parent = Folder::open(self.directory_made(parent)?)?;
        mkdirat(&parent.handle, name, Mode::from_raw_mode(0o755))?;
        let made = openat(&parent.handle, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        fchmod(&made, Mode::from_raw_mode(0o755))?;
        label_like(&parent.handle, &made);
        parent.restore_times()?;
        Ok(made)
    }

    fn apply(&self, edit: &Edit) -> io::Result<()> {
        let (parent, name) = split(edit.path());
        let folder = Folder::open(self.directory_made(parent)?)?;
        match edit {
            Edit::Write { bytes, mode, .. } => folder.replace(name, bytes, Some(*mode))?,
            Edit::Rewrite { bytes, .. } => folder.replace(name, bytes, None)?,
            Edit::Link { target, .. } => folder.link(name, target)?,
        }
        fsync(&folder.handle)?;
        folder.restore_times()?;
        Ok(())
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// An open folder and the times it had.
struct Folder {
    handle: OwnedFd,
    stat: Stat,
}

impl Folder {
    fn open(handle: OwnedFd) -> Result<Self, Errno> {
        let stat = fstat(&handle)?;
        Ok(Self { handle, stat })
    }

    /// Puts a finished file in the place of what has that name. Without a mode, owner and mode of the old file stay.
    fn replace(&self, name: &str, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
        self.remove(TEMPORARY)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = openat(&self.handle, TEMPORARY, flags, Mode::from_raw_mode(0o600))?;
        let old = match openat(
            &self.handle,
            name,
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(old) => Some(old),
            Err(Errno::NOENT | Errno::LOOP) => None,
            Err(error) => return Err(error.into()),
        };
        let (mode, owner) = match (&old, mode) {
            (_, Some(mode)) => (mode, None),
            (Some(old), None) => {
                let stat = fstat(old)?;
                (stat.st_mode & 0o7777, Some((stat.st_uid, stat.st_gid)))
            }
            (None, None) => (0o644, None),
        };
        if let Some((uid, gid)) = owner {
            fchown(&new, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        fchmod(&new, Mode::from_raw_mode(mode))?;
        match &old {
            Some(old) => label_like(old, &new),
            None => label_like(&self.handle, &new),
        }
        let mut file = std::fs::File::from(new);
        file.write_all(bytes)?;
        file.sync_all()?;
        renameat(&self.handle, TEMPORARY, &self.handle, name)?;
        Ok(())
    }

    fn link(&self, name: &str, target: &str) -> io::Result<()> {
        self.remove(TEMPORARY)?;
        symlinkat(target, &self.handle, TEMPORARY)?;
        renameat(&self.handle, TEMPORARY, &self.handle, name)?;
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn restore_times(&self) -> Result<(), Errno> {
        let stat = &self.stat;
        // Nanoseconds below a thousand million, whose type is not the same on every architecture.
        let access = i64::try_from(stat.st_atime_nsec).unwrap_or_default();
        let modification = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
        let times = Timestamps {
            last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: access },
            last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: modification },
        };
        futimens(&self.handle, &times)
    }
}

/// Gives `new` the SELinux label of `model`, where `model` has one.
fn label_like(model: impl AsFd, new: impl AsFd) {
    let mut label = [0; 256];
    if let Ok(length) = fgetxattr(model, SELINUX, &mut label[..])
        && let Err(error) = fsetxattr(new, SELINUX, &label[..length], XattrFlags::empty())
    {
        tracing::warn!(%error, "a new file has no SELinux label; the clone relabels it or not by its policy");
    }
}

/// Sets mode and label of a file that a program of the clone made.
pub(super) fn settle_file(root: &Path, path: &str, mode: u32) -> io::Result<()> {
    let tree = Root::open(root)?;
    let file = tree.open_beneath(path, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty())?;
    fchmod(&file, Mode::from_raw_mode(mode))?;
    label_like(tree.directory(split(path).0)?, &file);
    fsync(&file)?;
    Ok(())
}

/// Runs `work`, which changes what is in the folder, and puts the folder's times back.
pub(super) fn keeping_times<T>(
    root: &Path,
    folder: &str,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let kept = Root::open(root).and_then(|tree| Ok(Folder::open(tree.directory(folder)?)?));
    let kept = kept.with_context(|| format!("opening {folder}"))?;
    let outcome = work()?;
    kept.restore_times().with_context(|| format!("restoring the times of {folder}"))?;
    Ok(outcome)
}

/// Removes a file of the running system; one that is not there is removed already.
pub(crate) fn remove_file(path: &str) -> io::Result<()> {
    match unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::time::{Duration, SystemTime};

    fn write(path: &str, mode: u32) -> Edit {
        Edit::Write { path: path.into(), bytes: b"new".to_vec(), mode }
    }

    #[test]
    fn files_links_and_folders_are_made_with_their_modes() {
        let root = tempfile::tempdir().unwrap();
        let link = Edit::Link { path: "/a/b/l".into(), target: "/a/f".into() };
        apply_edits(root.path(), &[write("/a/f", 0o444), link.clone(), write("/a/f", 0o600), link]).unwrap();
        let file = root.path().join("a/f");
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_link(root.path().join("a/b/l")).unwrap(), Path::new("/a/f"));
        assert_eq!(root.path().join("a/b").metadata().unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(std::fs::read_dir(root.path().join("a")).unwrap().count(), 2);
    }

    #[test]
    fn links_in_the_image_do_not_lead_out_of_it() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(root.path().join("real")).unwrap();
        symlink("/real", root.path().join("inside")).unwrap();
        symlink(outside.path(), root.path().join("out")).unwrap();
        symlink(outside.path().join("victim"), root.path().join("real/name")).unwrap();
        std::fs::write(outside.path().join("victim"), "old").unwrap();
        apply_edits(root.path(), &[write("/inside/name", 0o644)]).unwrap();
        assert_eq!(std::fs::read(root.path().join("real/name")).unwrap(), b"new");
        assert_eq!(std::fs::read(outside.path().join("victim")).unwrap(), b"old");
        // The link is absolute, so inside the clone it points to a folder that is not there.
        apply_edits(root.path(), &[write("/out/x", 0o644)]).unwrap_err();
        assert!(!outside.path().join("x").exists());
    }

    #[test]
    fn a_rewritten_file_keeps_its_mode_and_its_folder_keeps_its_time() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        std::fs::write(etc.join("hosts"), "old").unwrap();
        std::fs::set_permissions(etc.join("hosts"), std::fs::Permissions::from_mode(0o640)).unwrap();
        let then = SystemTime::UNIX_EPOCH + Duration::new(1_000_000, 5);
        std::fs::File::open(&etc).unwrap().set_modified(then).unwrap();
        let edits = [
            Edit::Rewrite { path: "/etc/hosts".into(), bytes: b"new".to_vec() },
            write("/etc/hostname", 0o644),
            write("/etc/sysclone/clone.toml", 0o600),
        ];
        apply_edits(root.path(), &edits).unwrap();
        assert_eq!(etc.join("hosts").metadata().unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(etc.metadata().unwrap().modified().unwrap(), then);
    }
}
