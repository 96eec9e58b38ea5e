//! What the server has already, so that it need not be sent again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use sysclone_image::sign::{self, VerifyingKey};
use sysclone_image::{ImageKey, Manifest, PackId, PackIndex, read_index};
use sysclone_protocol::agent::CaptureOrder;

use super::SERVER_AWAY;
use crate::client::{Client, HttpPacks, Patience};

/// The generation before, so that only what changed is sent. One that cannot be opened is not reused, which costs
/// time and nothing else.
pub(super) fn parent(client: &Client, order: &CaptureOrder) -> anyhow::Result<Option<Manifest>> {
    let key = VerifyingKey::from_base64(&order.manifest_key).context("reading the manifest key")?;
    let Some(sealed) = client.parent().context("fetching the generation before")? else { return Ok(None) };
    match sign::open(&sealed, &key) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) => {
            tracing::warn!("the generation before is not reused: {:#}", anyhow::Error::new(error));
            Ok(None)
        }
    }
}

/// The names that are packs' names; there are no others unless the server is of another make.
pub(super) fn pack_ids(names: &[String]) -> HashSet<PackId> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// The indices of packs that an interrupted capture left. One that cannot be read is left alone likewise.
pub(super) fn staged(
    client: &Client,
    order: &CaptureOrder,
    (key, names): (&ImageKey, Vec<String>),
) -> anyhow::Result<Vec<PackIndex>> {
    let never = Arc::new(AtomicBool::new(false));
    let source =
        HttpPacks::new(client.http(), vec![order.pack_source.clone()], Patience::For(SERVER_AWAY), never);
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
