//! The boot directory in memory: kernels, initrds and loaders as sysclone-image-builder lists them in `boot.json`, each
//! checked against its hash when it is read. What is not in that list is not served.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;

use super::cpio;
use crate::trust::Keys;

/// The list that the image builder writes.
const INDEX: &str = "boot.json";

/// Why the boot files cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BootFilesError {
    /// There is no such directory, or it holds no list.
    #[error(
        "boot_dir {directory} holds no {INDEX}: run `sysclone-image-builder` to fill it, or set boot_dir"
    )]
    Missing {
        /// The directory.
        directory: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {path} in boot_dir")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The list is not one that this version understands.
    #[error("{path} is not a list of boot files: run `sysclone-image-builder` again")]
    Index {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A file is not what the list says.
    #[error("{path} is not the file that {INDEX} lists (other hash): run `sysclone-image-builder` again")]
    Hash {
        /// The file.
        path: PathBuf,
    },
    /// A name in the list leads out of the directory.
    #[error("{INDEX} lists '{name}', which is not a plain path")]
    Name {
        /// The name.
        name: String,
    },
}

#[derive(Deserialize)]
struct Index {
    files: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    file: String,
    blake3: String,
}

/// A file that is served.
#[derive(Debug, Clone)]
pub struct BootFile {
    /// Its content.
    pub bytes: Bytes,
    /// BLAKE3 of the content, hexadecimal.
    pub hash: String,
}

/// All of them, by the name that clients use.
#[derive(Debug, Default)]
pub struct BootFiles {
    files: HashMap<String, BootFile>,
    /// Where they are below the boot directory.
    listed: Vec<String>,
}

impl BootFiles {
    /// Reads the boot directory and makes its initrds trust this server.
    ///
    /// # Errors
    /// The directory was not filled by the image builder, or was damaged since.
    pub fn load(directory: &Path, keys: &Keys) -> Result<Self, BootFilesError> {
        let index = directory.join(INDEX);
        let text = match std::fs::read(&index) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(BootFilesError::Missing { directory: directory.to_owned() });
            }
            other => other.map_err(|source| BootFilesError::Unreadable { path: index.clone(), source })?,
        };
        let listed: Index =
            serde_json::from_slice(&text).map_err(|source| BootFilesError::Index { path: index, source })?;
        let trust = trust_segment(keys);
        let mut all = Self::default();
        for Listed { file, blake3 } in listed.files {
            let Some(name) = served_name(&file)? else { continue };
            let bytes = read_checked(directory, &file, &blake3)?;
            let served = if name.ends_with("/initrd.img") {
                // First, so that an agent whose initrd was cut short can still tell this server.
                let bytes = [&trust[..], &bytes].concat();
                BootFile { hash: blake3::hash(&bytes).to_hex().to_string(), bytes: bytes.into() }
            } else {
                BootFile { bytes: bytes.into(), hash: blake3 }
            };
            all.files.insert(name, served);
            all.listed.push(file);
        }
        Ok(all)
    }

    /// A file by its name in the boot name space. Leading slashes are ignored, because firmware differs in them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&BootFile> {
        self.files.get(name.trim_start_matches('/'))
    }

    /// Whether there is a kernel with its initrd in this folder: that of an architecture, or of an image.
    #[must_use]
    pub fn has_kernel(&self, folder: &str) -> bool {
        ["kernel", "initrd.img"].iter().all(|file| self.files.contains_key(&format!("{folder}/{file}")))
    }

    /// The list and every file that was read.
    pub(super) fn paths(&self, directory: &Path) -> Vec<PathBuf> {
        let names = std::iter::once(INDEX).chain(self.listed.iter().map(String::as_str));
        names.map(|name| directory.join(name)).collect()
    }

    /// Whether the same files would be served.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |(name, file): (&String, &BootFile)| {
            other.files.get(name).is_some_and(|theirs| theirs.hash == file.hash)
        };
        self.files.len() == other.files.len() && self.files.iter().all(same)
    }

    /// How many files there are, and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.files.len(), self.files.values().map(|file| file.bytes.len()).sum())
    }
}

/// The name that clients use for a listed file; none for files that are not for them.
fn served_name(file: &str) -> Result<Option<String>, BootFilesError> {
    if file.parse::<sysclone_bootloaders::netboot::BootPath>().is_err() {
        return Err(BootFilesError::Name { name: file.to_owned() });
    }
    let agent = file.ends_with("/sysclone-agent");
    let name = file.strip_prefix("loaders/").unwrap_or(file);
    Ok((!agent).then(|| name.to_owned()))
}

fn read_checked(directory: &Path, file: &str, hash: &str) -> Result<Vec<u8>, BootFilesError> {
    let path = directory.join(file);
    let bytes =
        std::fs::read(&path).map_err(|source| BootFilesError::Unreadable { path: path.clone(), source })?;
    if blake3::hash(&bytes).to_hex().as_str() == hash {
        Ok(bytes)
    } else {
        Err(BootFilesError::Hash { path })
    }
}

fn trust_segment(keys: &Keys) -> Vec<u8> {
    let server = keys.signing.verifying_key().to_base64();
    cpio::archive(&[
        cpio::File { path: "etc/sysclone/ca.pem", bytes: keys.tls.ca_pem().as_bytes(), mode: 0o644 },
        cpio::File { path: "etc/sysclone/server.pub", bytes: server.as_bytes(), mode: 0o644 },
    ])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::boot) fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut listed = Vec::new();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
            let blake3 = blake3::hash(bytes).to_hex().to_string();
            listed.push(serde_json::json!({ "file": name, "size": bytes.len(), "blake3": blake3 }));
        }
        let index = serde_json::json!({ "format": 1, "architectures": {}, "files": listed });
        std::fs::write(dir.path().join(INDEX), index.to_string()).unwrap();
        dir
    }

    pub(in crate::boot) fn keys() -> (tempfile::TempDir, Keys) {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::load_or_create(&dir.path().join("keys")).unwrap();
        (dir, keys)
    }

    #[test]
    fn files_have_their_names_and_the_initrd_its_trust() {
        let dir = directory(&[
            ("x86_64/kernel", b"kernel"),
            ("x86_64/initrd.img", b"12345"),
            ("x86_64/sysclone-agent", b"agent"),
            ("loaders/undionly.kpxe", b"ipxe"),
            ("loaders/grub2/i386-pc/core.0", b"grub"),
        ]);
        std::fs::write(dir.path().join("stray"), "x").unwrap();
        let (_keep, keys) = keys();
        let files = BootFiles::load(dir.path(), &keys).unwrap();
        assert_eq!(files.get("undionly.kpxe").unwrap().bytes, "ipxe");
        assert_eq!(files.get("/grub2/i386-pc/core.0").unwrap().bytes, "grub");
        assert_eq!(files.get("x86_64/kernel").unwrap().hash, blake3::hash(b"kernel").to_hex().as_str());
        for none in ["stray", "x86_64/sysclone-agent", "../boot.json", "boot.json", "loaders/undionly.kpxe"] {
            assert!(files.get(none).is_none(), "{none}");
        }
        let initrd = files.get("x86_64/initrd.img").unwrap();
        assert!(initrd.bytes.starts_with(b"070701") && initrd.bytes.ends_with(b"\0\x0012345"));
        assert_eq!((initrd.bytes.len() - 5) % 4, 0, "an archive ends on a four-byte border");
        assert_eq!(initrd.hash, blake3::hash(&initrd.bytes).to_hex().as_str());
        assert!(files.has_kernel("x86_64") && !files.has_kernel("ppc64le"));
    }

    #[test]
    fn what_is_wrong_with_the_directory_is_said() {
        let (_keep, keys) = keys();
        let empty = tempfile::tempdir().unwrap();
        let error = BootFiles::load(empty.path(), &keys).unwrap_err().to_string();
        assert!(error.contains("sysclone-image-builder"), "{error}");
        let dir = directory(&[("x86_64/kernel", b"kernel")]);
        std::fs::write(dir.path().join("x86_64/kernel"), "changed").unwrap();
        assert!(matches!(BootFiles::load(dir.path(), &keys), Err(BootFilesError::Hash { .. })));
        let dir = directory(&[("x86_64/kernel", b"kernel")]);
        std::fs::write(dir.path().join(INDEX), r#"{"files":[{"file":"../etc/shadow","blake3":""}]}"#)
            .unwrap();
        assert!(matches!(BootFiles::load(dir.path(), &keys), Err(BootFilesError::Name { .. })));
    }
}
