//! The capture itself: order, facts, what the server has, files, manifest.

use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize as _;
use sysclone_exec::System;
use sysclone_image::{CaptureFacts, CaptureOptions};
use sysclone_protocol::agent::{CaptureOrder, CaptureReply};

use super::SERVER_AWAY;
use super::attempt::Golden;
use super::boot::{boot_facts, file_names};
use super::janitor::{Janitor, Lock};
use super::known::{Kept, MANIFESTS, hand_in, parent};
use super::names::{host_key_types, swap_files};
use super::os::identify;
use super::output::Lines;
use super::view;
use crate::client::{Client, Patience};
use crate::disk::{self, Mount};

/// Captures the machine that this process runs on.
pub(super) fn capture(input: impl Read, lines: &Lines) -> anyhow::Result<CaptureReply> {
    let order = read_order(input)?;
    let _lock = Lock::take()?;
    let mut janitor = Janitor::start(&order.image.name)?;
    let captured = captured(&order, lines, &mut janitor);
    janitor.dismiss();
    captured
}

fn captured(order: &CaptureOrder, lines: &Lines, janitor: &mut Janitor) -> anyhow::Result<CaptureReply> {
    let client = Client::new(&order.server, &order.ca_pem, Patience::For(SERVER_AWAY))?;
    let client = client.with_token(order.token.clone());
    let mounts = disk::real_mounts()?;
    let left = view::remove_all(&System, &view::btrfs_points(&mounts))?;
    if left > 0 {
        lines.step(&format!("removed {left} snapshots that an earlier capture left"));
    }
    lines.step("reading disks");
    let (facts, options) = look(order, &mounts)?;
    lines.step("asking what the server has already");
    let kept = Kept::of(Path::new(MANIFESTS), &order.image.name);
    let parent = parent(&client, order, &kept)?;
    let golden = Golden { order, client: &client, lines, mounts, facts, options, parent: parent.as_ref() };
    let manifest = golden.capture(janitor)?;
    golden.list(&manifest.header.inconsistent);
    lines.step("sending the manifest");
    hand_in(&client, manifest, (parent.as_ref(), &kept)).context("handing in the manifest")
}

/// Reads one JSON document; what follows it is not waited for, because the connection stays open.
fn read_order(input: impl Read) -> anyhow::Result<CaptureOrder> {
    let mut documents = serde_json::Deserializer::from_reader(input);
    CaptureOrder::deserialize(&mut documents).context("reading the capture order from standard input")
}

/// What there is to capture, and how this machine starts.
fn look(order: &CaptureOrder, mounts: &[Mount]) -> anyhow::Result<(CaptureFacts, CaptureOptions)> {
    let root = Path::new("/");
    let inventory = disk::inventory()?;
    let layout = disk::capture_layout(&System).context("reading the disk layout")?;
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
    // Ours first: no rule of an administrator's can bring them back.
    let mut excludes = swap_files(&std::fs::read_to_string("/proc/swaps").unwrap_or_default());
    excludes.extend(view::excludes(mounts));
    excludes.extend(order.excludes.iter().cloned());
    Ok((facts, CaptureOptions { excludes, strict: order.strict, ..CaptureOptions::default() }))
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
