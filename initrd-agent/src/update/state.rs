//! What a clone knows about what it has: manifests, the note, paths that are yet to be removed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sysclone_image::Manifest;
use sysclone_image::update::{Journal, Progress};
use sysclone_protocol::names::{ImageRef, NodeName, Secret};

use crate::clone_config::{CloneNote, NOTE_FILE};

/// Where updates keep what they know.
pub const DIRECTORY: &str = "/var/lib/sysclone/update";
/// What a clone needs to ask its server for an update, mode 0600.
pub(super) const CONFIG_FILE: &str = "/etc/sysclone/update.toml";

/// Manifests by what they are to this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The generation that it has.
    Now,
    /// The one that an update makes it like.
    Next,
    /// The one before the last update.
    Before,
}

/// Content of `/etc/sysclone/update.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateConfig {
    /// `https://address:port` of the server.
    pub server: String,
    /// This node's own token.
    pub token: Secret,
    /// This node's name.
    pub node: NodeName,
    /// PEM of the CA that signs the server's certificate.
    pub ca_pem: String,
}

impl UpdateConfig {
    pub(super) fn load() -> anyhow::Result<Self> {
        let text = fs::read_to_string(CONFIG_FILE).with_context(|| {
            format!(
                "reading {CONFIG_FILE}, which a clone gets when it has booted, and at its first updatenode -S"
            )
        })?;
        toml::from_str(&text).with_context(|| format!("reading {CONFIG_FILE}"))
    }

    /// Keeps it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> io::Result<()> {
        let text = toml::to_string(self).expect("a struct of texts always encodes");
        put(Path::new(CONFIG_FILE), text.as_bytes(), 0o600)
    }
}

impl Which {
    fn path(self, state: &Path) -> PathBuf {
        state.join(match self {
            Self::Now => "manifest",
            Self::Next => "manifest.next",
            Self::Before => "manifest.before",
        })
    }

    /// Reads it; none when it is not there or not readable, which costs time and nothing else.
    pub(super) fn load(self, state: &Path) -> Option<Manifest> {
        Manifest::decode(&fs::read(self.path(state)).ok()?).ok()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(self, state: &Path, manifest: &Manifest) -> io::Result<()> {
        put(&self.path(state), &manifest.encode(), 0o600)
    }
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// The note about the generation that this clone has.
pub(super) fn note() -> Option<CloneNote> {
    toml::from_str(&fs::read_to_string(NOTE_FILE).ok()?).ok()
}

/// The generation that this clone has.
pub(super) fn image() -> Option<ImageRef> {
    note()?.image.parse().ok()
}

pub(super) fn write_note(image: &str) -> anyhow::Result<()> {
    let Some(note) = note() else { return Ok(()) };
    let note = CloneNote { image: image.to_owned(), ..note };
    let text = toml::to_string(&note).expect("a struct of texts always encodes");
    put(Path::new(NOTE_FILE), text.as_bytes(), 0o644).with_context(|| format!("writing {NOTE_FILE}"))
}

/// After all swaps: this machine has the next generation. Can be repeated.
pub(super) fn advanced(state: &Path, journal: &Journal) -> anyhow::Result<()> {
    let (now, next, before) = (Which::Now.path(state), Which::Next.path(state), Which::Before.path(state));
    if next.exists() {
        unless_missing(fs::rename(&now, &before)).context("keeping the manifest before")?;
        fs::rename(&next, &now).context("keeping the manifest")?;
        File::open(state)?.sync_all()?;
    }
    write_note(&journal.to)
}

/// Whether the manifest of this generation waits for its swaps to be made.
pub(super) fn is_next(state: &Path, image: &str) -> bool {
    Which::Next.load(state).is_some_and(|next| next.image_ref().to_string() == image)
}

/// Nothing is swapped, so no manifest waits for it.
pub(super) fn forget_next(state: &Path) -> io::Result<()> {
    unless_missing(fs::remove_file(Which::Next.path(state)))
}

/// After going back: this machine has the generation before.
pub(super) fn gone_back(state: &Path, journal: &Journal) -> anyhow::Result<()> {
    let (now, before) = (Which::Now.path(state), Which::Before.path(state));
    let was_noted = !is_next(state, &journal.to);
    forget_next(state)?;
    unless_missing(fs::remove_file(state.join("held")))?;
    if was_noted {
        unless_missing(fs::rename(&before, &now)).context("keeping the manifest")?;
    }
    match &journal.from {
        Some(image) => write_note(image),
        None => Ok(()),
    }
}

fn unless_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

const RECOVERY: &str = "\
[Unit]
Description=Finish an update by sysclone that was interrupted
DefaultDependencies=no
ConditionPathExists=/var/lib/sysclone/update/journal
After=local-fs.target
Before=sysinit.target

[Service]
Type=oneshot
ExecStart=AGENT update --recover
";
const UNIT: &str = "/etc/systemd/system/sysclone-update-recover.service";
const UNIT_LINK: &str = "/etc/systemd/system/sysinit.target.wants/sysclone-update-recover.service";

const CATCH_UP: &str = "\
[Unit]
Description=Update this clone from its sysclone server, where that lets it (updatepull=yes)
ConditionPathExists=/etc/sysclone/update.toml
After=network.target sysclone-report.service

[Service]
Type=simple
ExecStart=AGENT update --catch-up
";
const CATCH_UP_UNIT: &str = "/etc/systemd/system/sysclone-update.service";
const CATCH_UP_LINK: &str = "/etc/systemd/system/multi-user.target.wants/sysclone-update.service";

/// Sees to it that an interrupted update is finished when this machine starts, where systemd starts it.
pub(super) fn install_recovery() -> io::Result<()> {
    install_unit(RECOVERY, UNIT, UNIT_LINK)
}

/// Sees to it that this machine asks for an update when it starts, where systemd starts it.
///
/// # Errors
/// The unit cannot be written.
pub fn install_catch_up() -> io::Result<()> {
    install_unit(CATCH_UP, CATCH_UP_UNIT, CATCH_UP_LINK)
}

fn install_unit(text: &str, path: &str, link: &str) -> io::Result<()> {
    if !Path::new("/etc/systemd/system").is_dir() {
        return Ok(());
    }
    let agent = std::env::current_exe()?;
    let unit = text.replace("AGENT", &agent.display().to_string());
    if fs::read_to_string(path).is_ok_and(|there| there == unit) && Path::new(link).exists() {
        return Ok(());
    }
    put(Path::new(path), unit.as_bytes(), 0o644)?;
    fs::create_dir_all(Path::new(link).parent().unwrap_or(Path::new("/")))?;
    unless_missing(fs::remove_file(link))?;
    std::os::unix::fs::symlink(path, link)
}

/// Paths that an update did not remove yet.
pub(super) fn held(state: &Path) -> HashSet<Vec<u8>> {
    let bytes = fs::read(state.join("held")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect()
}

pub(super) fn save_held(state: &Path, held: &HashSet<Vec<u8>>) -> io::Result<()> {
    let bytes: Vec<u8> = held.iter().flat_map(|path| path.iter().copied().chain([0])).collect();
    put(&state.join("held"), &bytes, 0o600)
}

/// What this machine is like after a failure.
pub(super) fn words(error: &anyhow::Error) -> String {
    match Journal::load(Path::new(DIRECTORY)) {
        Ok(Some(journal)) if journal.is_unfinished() => {
            let what = match journal.progress {
                Progress::RollingBack => "the way back from",
                Progress::Applying | Progress::Applied => "the way to",
            };
            format!(
                "on {what} {}: `sysclone-agent update --recover` or its next start finishes that",
                journal.to
            )
        }
        Ok(Some(journal)) if is_next(Path::new(DIRECTORY), &journal.to) => format!(
            "like {}, but what has to follow an update is not done: do it again when the reason is gone, or go back",
            journal.to
        ),
        Ok(_) => "unchanged".to_owned(),
        Err(journal) => {
            tracing::debug!("{error:#}");
            format!("in an unknown state: {journal}")
        }
    }
}
