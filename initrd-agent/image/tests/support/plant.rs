//! Makes a random tree real, changes it, and removes it again.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, Timespec, Timestamps, XattrFlags, fallocate, linkat,
    lsetxattr, makedev, mknodat, utimensat,
};

use super::random::{Change, Edit, Filling, Item, Kind, Meta, Piece, Tree};
use super::tree::noise;

/// Longer paths are not made: the judges cannot read them.
const LONGEST_PATH: usize = 3000;

/// A tree that was made; its items by their paths, as far as there was a name for them.
pub struct Planted<'a> {
    root: PathBuf,
    items: Vec<(PathBuf, &'a Item)>,
}

impl<'a> Planted<'a> {
    /// Makes a tree in a new directory.
    pub fn new(root: &Path, tree: &'a Tree) -> Self {
        fs::create_dir(root).unwrap();
        let mut planted = Self { root: root.to_owned(), items: Vec::new() };
        let mut directories = vec![root.join("top")];
        fs::create_dir(&directories[0]).unwrap();
        for item in &tree.items {
            let path = item.parent.get(&directories).join(OsStr::from_bytes(&item.name));
            if path.as_os_str().len() > LONGEST_PATH || path.symlink_metadata().is_ok() {
                continue;
            }
            if planted.make(&path, &item.kind) {
                set_meta(&path, &item.kind, &item.meta);
                if matches!(item.kind, Kind::Directory) {
                    directories.push(path.clone());
                }
                planted.items.push((path, item));
            }
        }
        set_meta(root, &Kind::Directory, &tree.root);
        planted.finish(&tree.root);
        planted
    }

    /// Times, deepest first, then flags.
    fn finish(&self, root: &Meta) {
        for (path, item) in self.items.iter().rev() {
            set_time(path, item.meta.time);
        }
        set_time(&self.root, root.time);
        for (path, item) in &self.items {
            if let (Some(flag), Kind::Directory | Kind::File { .. }) = (item.meta.flag, &item.kind) {
                tool("chattr", &[flag.as_ref(), path.as_os_str()]);
            }
        }
    }

    fn make(&self, path: &Path, kind: &Kind) -> bool {
        let node = |kind, device| mknodat(CWD, path, kind, Mode::RUSR, device).unwrap();
        match kind {
            Kind::Directory => fs::create_dir(path).unwrap(),
            Kind::File { pieces, tail } => fill(&File::create_new(path).unwrap(), pieces, *tail),
            Kind::Symlink(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), path).unwrap(),
            Kind::Fifo => node(FileType::Fifo, 0),
            Kind::Device { block: true, major, minor } => {
                node(FileType::BlockDevice, makedev(*major, *minor))
            }
            Kind::Device { block: false, major, minor } => {
                node(FileType::CharacterDevice, makedev(*major, *minor));
            }
            Kind::Link(index) => {
                let others: Vec<_> =
                    self.items.iter().filter(|(_, item)| !matches!(item.kind, Kind::Directory)).collect();
                if others.is_empty() {
                    return false;
                }
                linkat(CWD, &index.get(&others).0, CWD, path, AtFlags::empty()).unwrap();
            }
        }
        true
    }

    /// Changes what can be changed; each name at most once.
    pub fn change(&self, edits: &[Edit]) {
        let mut left: Vec<_> = self.items.iter().collect();
        for edit in edits {
            if left.is_empty() {
                return;
            }
            let (path, item) = left.swap_remove(edit.item.index(left.len()));
            // Something above may have another name by now, or forbid it.
            if path.symlink_metadata().is_ok() && item.meta.flag.is_none() {
                change_one(path, &edit.change);
            }
        }
    }
}

fn change_one(path: &Path, change: &Change) {
    let before = path.symlink_metadata().unwrap();
    let file = before.is_file().then(|| OpenOptions::new().write(true).open(path).ok()).flatten();
    match (change, file) {
        (Change::Hidden { at, seed }, Some(file)) if before.len() > 0 => {
            let at = at.index(usize::try_from(before.len()).unwrap()) as u64;
            let len = (before.len() - at).min(5000);
            file.write_all_at(&noise(*seed, usize::try_from(len).unwrap()), at).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
        }
        (Change::Append(len), Some(file)) => {
            file.write_all_at(&noise(7, usize::try_from(*len).unwrap()), before.len()).unwrap();
        }
        (Change::Truncate(to), Some(file)) if before.len() > 0 => {
            file.set_len(to.index(usize::try_from(before.len()).unwrap()) as u64).unwrap();
        }
        (Change::Rename(name), _) => {
            let to = path.with_file_name(OsStr::from_bytes(name));
            if to.symlink_metadata().is_err() && to.as_os_str().len() <= LONGEST_PATH {
                // A directory that may only be added to refuses.
                drop(fs::rename(path, to));
            }
        }
        (Change::Remove, _) if !before.is_dir() => drop(fs::remove_file(path)),
        (Change::Mode(mode), _) if !before.is_symlink() => {
            drop(fs::set_permissions(path, fs::Permissions::from_mode(*mode)));
        }
        (Change::Time(time), _) => drop(try_time(path, *time)),
        (_, _) => {}
    }
}

/// Makes all changeable and removes it.
pub fn remove(root: &Path) {
    // It cannot follow into what is not a directory or a file, and says so.
    drop(std::process::Command::new("chattr").args(["-R", "-f", "-i", "-a"]).arg(root).output());
    fs::remove_dir_all(root).unwrap();
}

fn fill(file: &File, pieces: &[Piece], tail: u64) {
    let mut at = 0;
    for Piece { gap, len, filling } in pieces {
        at += gap;
        let n = usize::try_from(*len).unwrap();
        match filling {
            Filling::Noise(seed) => file.write_all_at(&noise(*seed, n), at).unwrap(),
            Filling::Zeros => file.write_all_at(&vec![0; n], at).unwrap(),
            Filling::Reserved => fallocate(file, FallocateFlags::empty(), at, *len).unwrap(),
            Filling::Punched => {
                file.write_all_at(&noise(1, n), at).unwrap();
                let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                fallocate(file, punch, at, *len).unwrap();
            }
        }
        at += len;
    }
    file.set_len(at + tail).unwrap();
}

fn set_meta(path: &Path, kind: &Kind, meta: &Meta) {
    if matches!(kind, Kind::Link(_)) {
        return;
    }
    lchown(path, Some(meta.owner.0), Some(meta.owner.1)).unwrap();
    let symlink = matches!(kind, Kind::Symlink(_));
    if !symlink {
        // mknod's modes pass the mask; these do not.
        fs::set_permissions(path, fs::Permissions::from_mode(meta.mode)).unwrap();
    }
    let ordinary = matches!(kind, Kind::Directory | Kind::File { .. });
    for (name, value) in meta.attributes.iter().filter(|(name, _)| ordinary || !name.starts_with("user.")) {
        lsetxattr(path, name.as_str(), value, XattrFlags::empty()).unwrap();
    }
    if let Some(acl) = meta.acl.as_ref().filter(|_| !symlink) {
        tool("setfacl", &["-n".as_ref(), "-m".as_ref(), acl.as_ref(), path.as_os_str()]);
        if matches!(kind, Kind::Directory) {
            tool("setfacl", &["-d".as_ref(), "-m".as_ref(), acl.as_ref(), path.as_os_str()]);
        }
    }
    if let (Some(value), Kind::File { .. }) = (&meta.capability, kind) {
        lsetxattr(path, "security.capability", value, XattrFlags::empty()).unwrap();
    }
}

fn set_time(path: &Path, time: (i64, u32)) {
    try_time(path, time).unwrap();
}

fn try_time(path: &Path, (seconds, nanos): (i64, u32)) -> rustix::io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
}

fn tool(program: &str, args: &[&OsStr]) {
    let (last, options) = args.split_last().unwrap();
    let out = std::process::Command::new(program).args(options).arg("--").arg(last).output().unwrap();
    let options: Vec<_> = options.iter().map(|o| (*o).to_owned().into_vec()).collect();
    assert!(
        out.status.success(),
        "{program} {:?} {}: {}",
        options.iter().map(|o| String::from_utf8_lossy(o)).collect::<Vec<_>>(),
        Path::new(last).display(),
        String::from_utf8_lossy(&out.stderr)
    );
}
