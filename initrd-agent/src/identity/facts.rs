//! Reads from the written image and from chance what the edits depend on.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{Mode, OFlags};
use sysclone_image::Manifest;

use super::apply::Root;
use super::plan::IdentityFacts;
use crate::clone_config::CloneConfig;

/// What systemd writes as its random seed (`random_pool_size`).
const SEED_BYTES: usize = 512;
/// Start scripts of systems without systemd: EL, then Debian and others.
const RC_LOCAL: &[&str] = &["/etc/rc.d/rc.local", "/etc/rc.local"];
/// systemd itself, before and after `/usr` was merged.
const SYSTEMD: &[&str] = &["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];

/// What starts services on the clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartSystem {
    /// systemd.
    Systemd,
    /// A script that runs at the end of the boot.
    RcLocal {
        /// Where it is.
        path: String,
        /// What it says.
        content: Vec<u8>,
    },
}

/// Why the facts could not be gathered.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The clone could never report that it runs.
    #[error(
        "the image has neither systemd nor a start script ({}), so a clone of it could not report that it has \
         booted; this version does not support such systems",
        RC_LOCAL.join(", ")
    )]
    NoStartSystem,
    /// A file could not be read.
    #[error("reading {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No random numbers.
    #[error("the kernel gives no random numbers")]
    Random,
}

/// Checks, before anything is written, that a clone of this image can be given an identity.
///
/// # Errors
/// [`FactsError::NoStartSystem`].
pub fn check_image(manifest: &Manifest) -> Result<(), FactsError> {
    let known = |path: &[u8]| {
        SYSTEMD.iter().chain(RC_LOCAL).any(|wanted| wanted.trim_start_matches('/').as_bytes() == path)
    };
    match manifest.entries.iter().any(|entry| known(&entry.path)) {
        true => Ok(()),
        false => Err(FactsError::NoStartSystem),
    }
}

/// Reads the facts of the image written at `root`.
///
/// # Errors
/// A file could not be read, or the system is of a kind that is not supported.
pub fn gather(
    root: &Path,
    golden_name: &str,
    hostname: &str,
    config: CloneConfig,
) -> Result<IdentityFacts, FactsError> {
    let tree = Root::open(root).map_err(|source| FactsError::Read { path: root.to_owned(), source })?;
    let read = |path: &str| read(&tree, path);
    let agent = std::env::current_exe().and_then(std::fs::read);
    let agent = agent.map_err(|source| FactsError::Read { path: "/proc/self/exe".into(), source })?;
    Ok(IdentityFacts {
        golden_name: golden_name.to_owned(),
        hostname: hostname.to_owned(),
        hosts: read("/etc/hosts")?,
        machine_id: machine_id()?,
        random_seed: random(SEED_BYTES)?,
        has_dbus: tree.directory("/var/lib/dbus").is_ok(),
        has_systemd_state: tree.directory("/var/lib/systemd").is_ok(),
        start: start_system(&tree)?,
        config,
        agent,
    })
}

fn start_system(tree: &Root) -> Result<StartSystem, FactsError> {
    for path in SYSTEMD {
        if tree.open_beneath(path, OFlags::PATH, Mode::empty()).is_ok() {
            return Ok(StartSystem::Systemd);
        }
    }
    for path in RC_LOCAL {
        if let Some(content) = read(tree, path)? {
            return Ok(StartSystem::RcLocal { path: (*path).to_owned(), content });
        }
    }
    Err(FactsError::NoStartSystem)
}

fn read(tree: &Root, path: &str) -> Result<Option<Vec<u8>>, FactsError> {
    let failed = |source| FactsError::Read { path: path.into(), source };
    match tree.open_beneath(path, OFlags::RDONLY, Mode::empty()) {
        Ok(file) => {
            let mut bytes = Vec::new();
            std::fs::File::from(file).read_to_end(&mut bytes).map_err(failed)?;
            Ok(Some(bytes))
        }
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(failed(error.into())),
    }
}

fn random(length: usize) -> Result<Vec<u8>, FactsError> {
    let mut bytes = vec![0; length];
    SystemRandom::new().fill(&mut bytes).map_err(|_| FactsError::Random)?;
    Ok(bytes)
}

/// A random machine-id: a version 4 UUID without dashes, as machine-id(5) wants it.
fn machine_id() -> Result<String, FactsError> {
    let bytes: [u8; 16] = random(16)?.try_into().expect("16 bytes were asked for");
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().simple().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::facts;
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn the_start_system_is_recognised() {
        let gather = |root: &tempfile::TempDir| gather(root.path(), "golden", "n7", facts().config);
        let systemd = root(&[("/usr/lib/systemd/systemd", ""), ("/etc/hosts", "x"), ("/var/lib/dbus/x", "")]);
        let found = gather(&systemd).unwrap();
        assert_eq!(
            (found.start, found.has_dbus, found.has_systemd_state),
            (StartSystem::Systemd, true, false)
        );
        assert_eq!((found.hosts, found.random_seed.len()), (Some(b"x".to_vec()), SEED_BYTES));
        let sysv = root(&[("/etc/rc.d/rc.local", "#!/bin/sh\n")]);
        let start = gather(&sysv).unwrap().start;
        assert!(matches!(start, StartSystem::RcLocal { path, .. } if path == "/etc/rc.d/rc.local"));
        assert!(matches!(gather(&root(&[])), Err(FactsError::NoStartSystem)));
    }

    #[test]
    fn machine_ids_are_well_formed_and_new() {
        let (one, two) = (machine_id().unwrap(), machine_id().unwrap());
        assert!(
            one.len() == 32 && one.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
            "{one}"
        );
        assert_ne!(one, two);
    }
}
