//! The capture itself: order, facts, what the server has, files, manifest.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize as _;
use sysclone_exec::System;
use sysclone_image::sign::{self, VerifyingKey};
use sysclone_image::{
    CaptureFacts, CaptureJob, CaptureOptions, ImageKey, Manifest, PackId, PackIndex, capture as capture_tree,
    read_index,
};
use sysclone_protocol::agent::{CaptureOrder, CaptureReply};

use super::boot::{boot_facts, file_names};
use super::names::{host_key_types, swap_files};
use super::os::identify;
use super::output::Lines;
use crate::client::{Client, HttpPacks, Patience, UploadSink};
use crate::disk;

/// How long the server may be away in the middle of a capture. What was sent is kept, so trying again later loses
/// little, while a golden client should not be read for ever.
const SERVER_AWAY: Duration = Duration::from_secs(600);

/// Captures the machine that this process runs on.
pub(super) fn capture(input: impl Read, lines: &Lines) -> anyhow::Result<CaptureReply> {
    let order = read_order(input)?;
    let client = Client::new(&order.server, &order.ca_pem, Patience::For(SERVER_AWAY))?;
    let client = client.with_token(order.token.clone());
    let key = ImageKey::from_base64(order.image_key.reveal()).context("reading the image's key")?;
    lines.step("reading disks");
    let (facts, options) = look(&order)?;
    lines.step("asking what the server has already");
    let parent = parent(&client, &order)?;
    let there = client.staged().context("asking for packs of an interrupted capture")?;
    let parent = parent.map(|parent| parent.without_packs(&pack_ids(&there.lost)));
    let staged = staged(&client, &order, (&key, there.packs))?;
    lines.step("reading files");
    let job = CaptureJob { options, facts, parent: parent.as_ref(), staged, key: &key };
    let mut sink = UploadSink::new(client.clone());
    let manifest = capture_tree(job, &mut sink, &|progress| lines.progress(progress))?;
    for notice in &manifest.header.inconsistent {
        lines.inconsistent(String::from_utf8_lossy(&notice.path).into_owned(), notice.reason.clone());
    }
    lines.step("sending the manifest");
    client.post_manifest(&manifest.encode()).context("handing in the manifest")
}

/// Reads one JSON document; what follows it is not waited for, because the connection stays open.
fn read_order(input: impl Read) -> anyhow::Result<CaptureOrder> {
    let mut documents = serde_json::Deserializer::from_reader(input);
    CaptureOrder::deserialize(&mut documents).context("reading the capture order from standard input")
}

/// What there is to capture, and how this machine starts.
fn look(order: &CaptureOrder) -> anyhow::Result<(CaptureFacts, CaptureOptions)> {
    let root = Path::new("/");
    let inventory = disk::inventory()?;
    let layout = disk::capture_layout(&System).context("reading the disk layout")?;
    let mounts = disk::real_mounts()?;
    let boot = boot_facts(root, inventory.firmware, &layout);
    let ssh = file_names(&root.join("etc/ssh"));
    let facts = CaptureFacts {
        image: order.image.name.clone(),
        os: identify(root),
        arch: inventory.arch,
        source: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        host_key_types: host_key_types(ssh.iter().map(String::as_str)),
        layout,
        boot,
    };
    let mut excludes = order.excludes.clone();
    excludes.extend(swap_files(&std::fs::read_to_string("/proc/swaps").unwrap_or_default()));
    let mount_points = mounts.into_iter().map(|mount| mount.point).collect();
    Ok((facts, CaptureOptions { mount_points, excludes, ..CaptureOptions::default() }))
}

/// The generation before, so that only what changed is sent. One that cannot be opened is not reused, which costs
/// time and nothing else.
fn parent(client: &Client, order: &CaptureOrder) -> anyhow::Result<Option<Manifest>> {
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
fn pack_ids(names: &[String]) -> HashSet<PackId> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// The indices of packs that an interrupted capture left. One that cannot be read is left alone likewise.
fn staged(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_without_waiting_for_the_end_of_input() {
        let order = serde_json::json!({
            "server": "https://10.0.0.1:8443", "ca_pem": "PEM", "token": "t", "image": {"name": "demo", "generation": 2},
            "image_key": "k", "manifest_key": "m", "pack_source": "http://10.0.0.1:8080/packs"
        });
        let text = format!("{order}\n");
        /// Fails the read that an end-of-input check would make.
        struct Open<'a>(&'a [u8]);
        impl Read for Open<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                assert!(!self.0.is_empty(), "read past the order");
                self.0.read(buffer)
            }
        }
        let read = read_order(Open(text.as_bytes())).unwrap();
        assert_eq!(read.image.to_string(), "demo@2");
        assert!(read_order(&b"{}"[..]).is_err());
    }
}
