//! A foreign root directory: paths in it are looked up as if it were `/`, so that a symbolic link in a tree of another
//! machine never leads to a file of this one.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// As many symbolic links as Linux follows (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// A directory that is the root of something.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The tree below `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where `path` of the tree is on this machine, links not looked at.
    #[must_use]
    pub fn host_path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Follows every link in `path` and returns the path of what it names, relative to the root, or nothing when that
    /// does not exist.
    #[must_use]
    pub fn resolve(&self, path: &str) -> Option<String> {
        let mut todo: VecDeque<String> = split(path).collect();
        let (mut done, mut links) = (Vec::<String>::new(), 0);
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                done.pop();
                continue;
            }
            done.push(name);
            let here = self.root.join(done.join("/"));
            if let Ok(target) = std::fs::read_link(&here) {
                links += 1;
                let target = target.to_str().filter(|_| links <= MAX_LINKS)?;
                if target.starts_with('/') {
                    done.clear();
                } else {
                    done.pop();
                }
                split(target).rev().for_each(|part| todo.push_front(part));
            } else if !here.exists() {
                return None;
            }
        }
        Some(done.join("/"))
    }

    /// The file `path` with every link followed.
    ///
    /// # Errors
    /// It does not exist or cannot be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let resolved =
            self.resolve(path).with_context(|| format!("{path} is not in {}", self.root.display()))?;
        read(&self.root.join(resolved))
    }

    /// The first of `directories` that has an entry `name`, as a path in the tree.
    #[must_use]
    pub fn find(&self, directories: &[&str], name: &str) -> Option<String> {
        directories.iter().map(|d| format!("{d}/{name}")).find(|p| self.resolve(p).is_some())
    }
}

/// The real parts of a path, from either end.
fn split(path: &str) -> impl DoubleEndedIterator<Item = String> {
    path.split('/').filter(|p| !p.is_empty() && *p != ".").map(str::to_owned)
}

/// Reads a file, naming it in the error.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_inside_the_tree_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("usr/lib/x")).unwrap();
        std::fs::write(root.join("usr/lib/x/real.so"), "data").unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("/lib/x/real.so", root.join("usr/lib/absolute.so")).unwrap();
        symlink("../../../../../usr/lib/x/real.so", root.join("usr/lib/upwards.so")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/etc/passwd", root.join("outside")).unwrap();
        let tree = Tree::new(root);
        for path in ["/lib/absolute.so", "lib/x/./real.so", "usr/lib/upwards.so", "lib/../lib/x/real.so"] {
            assert_eq!(tree.resolve(path).as_deref(), Some("usr/lib/x/real.so"), "{path}");
        }
        for path in ["loop", "outside", "lib/none", "usr/lib/x/real.so/below"] {
            assert_eq!(tree.resolve(path), None, "{path}");
        }
        assert_eq!(tree.read("/lib/absolute.so").unwrap(), b"data");
        assert_eq!(tree.find(&["bin", "usr/lib"], "absolute.so").as_deref(), Some("usr/lib/absolute.so"));
    }
}
