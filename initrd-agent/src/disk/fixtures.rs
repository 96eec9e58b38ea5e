//! Trees of `/sys` files taken from real kernels (`fixtures/guest.sh`), unpacked for tests.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

/// An unpacked tree, gone when dropped.
pub(super) struct Tree(tempfile::TempDir);

impl Tree {
    /// Unpacks `fixtures/{name}.tree`.
    pub(super) fn load(name: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/disk/fixtures/{name}.tree"));
        let tree = Self(tempfile::tempdir().unwrap());
        let text = fs::read_to_string(file).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.splitn(3, ' ').collect()).collect();
        for line in lines.iter().filter(|l| l[0] == "L") {
            tree.link(line[1], line[2]);
        }
        for line in lines.iter().filter(|l| l[0] != "L") {
            let content = line.get(2).copied().unwrap_or_default();
            match line[0] {
                "F" => tree.file(line[1], format!("{content}\n").as_bytes()),
                "X" => tree.file(line[1], &bytes(content)),
                other => panic!("a line of {name}.tree begins with {other}"),
            }
        }
        tree
    }

    /// The directory that stands for `/`.
    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    /// Adds a file.
    pub(super) fn file(&self, path: &str, content: &[u8]) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::create_dir_all(plain(&path.parent().unwrap().join(target))).unwrap();
        symlink(target, path).unwrap();
    }
}

/// A path without `..`; nothing on it needs to exist.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
        plain
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}
