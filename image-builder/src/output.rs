//! The directory that the boot server serves. A build makes a whole new directory beside it and swaps the two in one
//! step, so readers see the old files or the new ones and a failed build changes nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::apt::Package;
use crate::tree::read;

/// Name of the list of files in the directory.
pub const INDEX: &str = "boot.json";

/// What a boot directory holds, as `boot.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Version of this file's format, 1.
    pub format: u32,
    /// Facts per architecture.
    pub architectures: BTreeMap<String, ArchFacts>,
    /// Every file but this one.
    pub files: Vec<FileFacts>,
}

/// What one architecture's files were made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchFacts {
    /// Kernel release.
    pub kernel_release: String,
    /// Packages that files were taken from; empty for trees that were given.
    pub packages: Vec<Package>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Path below the boot directory.
    pub file: String,
    /// Size in bytes.
    pub size: u64,
    /// BLAKE3 of the content, hexadecimal.
    pub blake3: String,
}

/// A new boot directory in the making. Dropped without [`Stage::publish`], it vanishes.
pub struct Stage {
    target: PathBuf,
    dir: TempDir,
    files: Vec<FileFacts>,
    /// Keeps other builds out while it is held.
    _lock: File,
}

impl Stage {
    /// Starts a successor of `target`.
    ///
    /// # Errors
    /// Another build is at work there, or its parent directory cannot be written.
    pub fn new(target: &Path) -> Result<Self> {
        let target = std::path::absolute(target).context("finding the output directory")?;
        let parent = target.parent().context("the output directory cannot be '/'")?;
        let name = target.file_name().context("the output directory has no name")?.to_string_lossy();
        std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        let lock = File::open(parent).with_context(|| format!("opening {}", parent.display()))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("another build is at work in {}", parent.display()))?;
        let prefix = format!(".{name}.new-");
        remove_leftovers(parent, &prefix)?;
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
        let dir = dir.with_context(|| format!("creating a directory in {}", parent.display()))?;
        Ok(Self { target, dir, files: Vec::new(), _lock: lock })
    }

    /// Writes one file and flushes it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&mut self, name: &str, data: &[u8], mode: u32) -> Result<()> {
        write(&self.dir.path().join(name), data, mode)?;
        let blake3 = blake3::hash(data).to_hex().to_string();
        self.files.push(FileFacts { file: name.to_owned(), size: data.len() as u64, blake3 });
        Ok(())
    }

    /// Takes over what the present directory has and this build does not make (other architectures), writes the index
    /// and makes the new directory the present one. Returns the index.
    ///
    /// # Errors
    /// The present directory cannot be read or replaced; it is then left as it was.
    pub fn publish(mut self, arch: &str, facts: ArchFacts) -> Result<Index> {
        let old = self.present()?;
        let mut index = Index { format: 1, architectures: old.architectures, files: Vec::new() };
        index.architectures.insert(arch.to_owned(), facts);
        let own = format!("{arch}/");
        for file in old.files {
            let replaced = file.file.starts_with(&own) || self.files.iter().any(|f| f.file == file.file);
            if !replaced {
                self.take_over(&file.file)?;
                self.files.push(file);
            }
        }
        self.files.sort_by(|a, b| a.file.cmp(&b.file));
        index.files.clone_from(&self.files);
        let mut json = serde_json::to_vec_pretty(&index).context("writing the index")?;
        json.push(b'\n');
        write(&self.dir.path().join(INDEX), &json, 0o644)?;
        self.swap()?;
        Ok(index)
    }

    fn present(&self) -> Result<Index> {
        let path = self.target.join(INDEX);
        if !path.exists() {
            return Ok(Index::default());
        }
        serde_json::from_slice(&read(&path)?).with_context(|| format!("reading {}", path.display()))
    }

    fn take_over(&self, name: &str) -> Result<()> {
        let (from, to) = (self.target.join(name), self.dir.path().join(name));
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        }
        std::fs::hard_link(&from, &to).with_context(|| {
            let (from, target) = (from.display(), self.target.display());
            format!("keeping {from}, which {INDEX} there names; to begin anew, remove {target} as a whole")
        })
    }

    /// `RENAME_EXCHANGE` where something is to be replaced, else a plain rename; then the old content is removed.
    fn swap(self) -> Result<()> {
        set_mode(self.dir.path(), 0o755)?;
        sync_tree(self.dir.path())?;
        let replacing = || format!("replacing {}", self.target.display());
        if self.target.exists() {
            rustix::fs::renameat_with(CWD, self.dir.path(), CWD, &self.target, RenameFlags::EXCHANGE)
                .with_context(replacing)?;
            sync_parent(&self.target)?;
            let old = self.dir.path().display().to_string();
            return self.dir.close().with_context(|| format!("removing the former files in {old}"));
        }
        std::fs::rename(self.dir.path(), &self.target).with_context(replacing)?;
        // The directory has a new name; its guard has nothing left to remove.
        let _renamed = self.dir.keep();
        sync_parent(&self.target)
    }
}

fn write(path: &Path, data: &[u8], mode: u32) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(writing)?;
    }
    let mut file = File::create(path).with_context(writing)?;
    file.write_all(data).with_context(writing)?;
    file.sync_all().with_context(writing)?;
    set_mode(path, mode)
}

/// Sets the mode whatever the umask is.
fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions)
        .with_context(|| format!("setting the mode of {}", path.display()))
}

/// Directories of an interrupted build. The caller holds the lock, so nobody works in them.
fn remove_leftovers(parent: &Path, prefix: &str) -> Result<()> {
    for entry in std::fs::read_dir(parent).with_context(|| format!("reading {}", parent.display()))? {
        let entry = entry.context("reading a directory")?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let path = entry.path();
            std::fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

/// Flushes every directory below `dir`, and gives all of them the mode of public ones.
fn sync_tree(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry.context("reading a directory")?.path();
        if path.is_dir() {
            set_mode(&path, 0o755)?;
            sync_tree(&path)?;
        }
    }
    sync(dir)
}

fn sync_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), sync)
}

fn sync(dir: &Path) -> Result<()> {
    let flushed = File::open(dir).and_then(|d| d.sync_all());
    flushed.with_context(|| format!("flushing {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(release: &str) -> ArchFacts {
        ArchFacts { kernel_release: release.into(), packages: Vec::new() }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_build_replaces_its_own_architecture_and_keeps_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("boot");
        for (arch, file, data) in
            [("x86_64", "x86_64/old", "1"), ("ppc64le", "ppc64le/kernel", "2"), ("x86_64", "x86_64/new", "3")]
        {
            let mut stage = Stage::new(&out).unwrap();
            stage.put(file, data.as_bytes(), 0o644).unwrap();
            stage.put("loaders/a", data.as_bytes(), 0o644).unwrap();
            stage.publish(arch, facts(data)).unwrap();
        }
        assert_eq!(names(&out), ["boot.json", "loaders", "ppc64le", "x86_64"]);
        assert_eq!(names(&out.join("x86_64")), ["new"]);
        assert_eq!(std::fs::read(out.join("loaders/a")).unwrap(), b"3");
        let index: Index = serde_json::from_slice(&std::fs::read(out.join(INDEX)).unwrap()).unwrap();
        let files: Vec<_> = index.files.iter().map(|f| f.file.as_str()).collect();
        assert_eq!(files, ["loaders/a", "ppc64le/kernel", "x86_64/new"]);
        assert_eq!(index.files[0].blake3, blake3::hash(b"3").to_hex().to_string());
        assert_eq!(names(dir.path()), ["boot"], "nothing is left beside it");
    }

    #[test]
    fn a_build_that_stops_leaves_the_old_files_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("boot");
        let mut first = Stage::new(&out).unwrap();
        first.put("x86_64/kernel", b"old", 0o644).unwrap();
        first.publish("x86_64", facts("1")).unwrap();
        let mut second = Stage::new(&out).unwrap();
        second.put("x86_64/kernel", b"new", 0o644).unwrap();
        drop(second);
        assert_eq!(std::fs::read(out.join("x86_64/kernel")).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["boot"]);
    }

    #[test]
    fn a_killed_builds_leftovers_go_and_a_running_build_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("boot");
        std::fs::create_dir_all(dir.path().join(".boot.new-dead/x86_64")).unwrap();
        let running = Stage::new(&out).unwrap();
        assert!(!dir.path().join(".boot.new-dead").exists());
        let error = Stage::new(&out).err().unwrap().to_string();
        assert!(error.contains("another build"), "{error}");
        drop(running);
    }
}
