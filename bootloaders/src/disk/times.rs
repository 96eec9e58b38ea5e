//! Keeps the times of files that a loader's installer writes again with the bytes they had: then the clone's `/boot`
//! is the golden client's but for what really differs, and the next capture or update of it moves nothing.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};

/// Loader files are a few MiB; anything larger than this is not one, and its bytes need not be remembered.
const LARGEST: u64 = 16 << 20;

/// Files and folders below one folder, with their bytes and times.
pub(super) struct KeptTimes {
    files: BTreeMap<PathBuf, (Vec<u8>, FileTimes)>,
    folders: BTreeMap<PathBuf, FileTimes>,
}

impl KeptTimes {
    /// Remembers what is below `folder`.
    pub(super) fn remember(folder: &Path) -> io::Result<Self> {
        let mut kept = Self { files: BTreeMap::new(), folders: BTreeMap::new() };
        kept.walk(folder)?;
        Ok(kept)
    }

    fn walk(&mut self, folder: &Path) -> io::Result<()> {
        self.folders.insert(folder.to_owned(), times(folder)?);
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                self.walk(&path)?;
            } else if kind.is_file() && entry.metadata()?.len() <= LARGEST {
                self.files.insert(path.clone(), (std::fs::read(&path)?, times(&path)?));
            }
        }
        Ok(())
    }

    /// Puts back the times of every file whose bytes are the same as before, and of every folder that was there.
    pub(super) fn restore(&self) -> io::Result<()> {
        for (path, (bytes, times)) in &self.files {
            match std::fs::read(path) {
                Ok(now) if now == *bytes => File::open(path)?.set_times(*times)?,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        for (path, times) in &self.folders {
            if path.is_dir() {
                File::open(path)?.set_times(*times)?;
            }
        }
        Ok(())
    }
}

fn times(path: &Path) -> io::Result<FileTimes> {
    let metadata = path.metadata()?;
    Ok(FileTimes::new().set_accessed(metadata.accessed()?).set_modified(metadata.modified()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn only_files_with_the_same_bytes_keep_their_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("i386-pc");
        std::fs::create_dir(&folder).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123);
        for name in ["same", "changed", "gone"] {
            std::fs::write(folder.join(name), "old").unwrap();
            File::open(folder.join(name)).unwrap().set_modified(old).unwrap();
        }
        File::open(&folder).unwrap().set_modified(old).unwrap();
        let kept = KeptTimes::remember(dir.path()).unwrap();
        std::fs::remove_file(folder.join("gone")).unwrap();
        for (name, text) in [("same", "old"), ("changed", "new"), ("added", "new")] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        kept.restore().unwrap();
        let modified = |path: &Path| path.metadata().unwrap().modified().unwrap();
        assert_eq!((modified(&folder.join("same")), modified(&folder)), (old, old));
        assert!(modified(&folder.join("changed")) > old && modified(&folder.join("added")) > old);
    }
}
