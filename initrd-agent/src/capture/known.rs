//! What the server has already, so that it need not be sent again, and what this machine remembers of it, so that it
//! need not come here again.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::Context as _;
use sysclone_image::sign::{self, VerifyingKey};
use sysclone_image::{ImageKey, Manifest, PackId, PackIndex, read_index};
use sysclone_protocol::agent::{CaptureOrder, CaptureReply};
use sysclone_protocol::names::ImageName;

use super::SERVER_AWAY;
use crate::client::{Client, HttpPacks, Parent, Patience};

/// Where captured machines keep manifests.
pub(super) const MANIFESTS: &str = "/var/lib/sysclone/manifests";

/// The manifest of the last generation that was captured here. The server says whether it still is the newest, so
/// nothing depends on it.
#[derive(Debug)]
pub struct Kept(PathBuf);

impl Kept {
    /// The one of `image`, in this directory.
    #[must_use]
    pub fn of(directory: &Path, image: &ImageName) -> Self {
        Self(directory.join(image.as_str()))
    }

    fn put(&self, manifest: &Manifest) {
        if let Err(error) = self.try_put(manifest) {
            // The next capture fetches it.
            tracing::warn!(%error, path = %self.0.display(), "the manifest could not be kept here");
        }
    }

    fn try_put(&self, manifest: &Manifest) -> io::Result<()> {
        let directory = self.0.parent().unwrap_or(Path::new("/"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let new = self.0.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&manifest.encode())?;
        fs::rename(&new, &self.0)
    }
}

/// The generation before, so that only what changed is sent. One that cannot be opened is not reused, which costs
/// time and nothing else.
///
/// # Errors
/// The server cannot be asked, or its key cannot be read.
pub fn parent(client: &Client, order: &CaptureOrder, kept: &Kept) -> anyhow::Result<Option<Manifest>> {
    let key = VerifyingKey::from_base64(&order.manifest_key).context("reading the manifest key")?;
    let here = fs::read(&kept.0).unwrap_or_default();
    let digest = Manifest::digest_of(&here).ok();
    // Most times the server's answer is that it is the same, so it is read meanwhile.
    let (answer, read) = thread::scope(|scope| {
        let reading = scope.spawn(|| Manifest::decode(&here).ok());
        (client.parent(digest), reading.join())
    });
    let sealed = match answer.context("fetching the generation before")? {
        Parent::None => return Ok(None),
        Parent::Known => return Ok(read.ok().flatten()),
        Parent::Sealed(sealed) => sealed,
    };
    match sign::open(&sealed, &key) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) => {
            tracing::warn!("the generation before is not reused: {:#}", anyhow::Error::new(error));
            Ok(None)
        }
    }
}

/// Makes the generation: its manifest goes to the server as the difference from `parent`, or whole when the server has
/// another newest generation by now.
///
/// # Errors
/// The server refused the manifest, or did not answer for too long.
pub fn hand_in(
    client: &Client,
    mut manifest: Manifest,
    (parent, kept): (Option<&Manifest>, &Kept),
) -> anyhow::Result<CaptureReply> {
    // As it will most likely be, so that it is written while the server is at work.
    manifest.header.generation = parent.map_or(0, |parent| parent.header.generation) + 1;
    let reply = thread::scope(|scope| {
        scope.spawn(|| kept.put(&manifest));
        let reply = match parent {
            Some(parent) => client.post_manifest_delta(&manifest.delta(parent))?,
            None => None,
        };
        match reply {
            Some(reply) => Ok(reply),
            None => client.post_manifest(&manifest.encode()),
        }
    })?;
    if reply.image.generation != manifest.header.generation {
        manifest.header.generation = reply.image.generation;
        kept.put(&manifest);
    }
    Ok(reply)
}

/// The names that are packs' names; there are no others unless the server is of another make.
pub(super) fn pack_ids(names: &[String]) -> HashSet<PackId> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// The indices of packs that an interrupted capture left. One that cannot be read is left alone likewise.
pub(super) fn staged(
    order: &CaptureOrder,
    (key, names): (&ImageKey, Vec<String>),
) -> anyhow::Result<Vec<PackIndex>> {
    let never = Arc::new(AtomicBool::new(false));
    let source = HttpPacks::new(vec![order.pack_source.clone()], Patience::For(SERVER_AWAY), never);
    let mut indices = Vec::new();
    for name in names {
        let id: PackId = name.parse().with_context(|| format!("reading the pack name {name}"))?;
        match read_index(&source, &id, key) {
            Ok(index) => indices.push(index),
            Err(error) => {
                tracing::warn!(pack = name, "a pack is not reused: {:#}", anyhow::Error::new(error));
            }
        }
    }
    Ok(indices)
}
