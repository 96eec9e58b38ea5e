//! What fuzzing calls: each function gives bytes from anybody to one parser and holds it to its promises. In no
//! build but those of tests and `cargo fuzz`.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sysclone_protocol::agent::{
    AgentEvent, BootReport, CaptureLine, CaptureOrder, CaptureReply, EnrollRequest, ErrorReply, EventReply,
    InstallOrder, Order, StagedPacks,
};
use sysclone_protocol::cmdline::BootArgs;
use sysclone_protocol::inventory::Inventory;
use sysclone_protocol::layout::{DiskRules, Layout};
use sysclone_protocol::plan::plan;

pub use crate::disk::fuzz::{mount_table, partition_table, superblock};
use crate::initramfs::module_names;

/// The name of a message, a newline, then the message.
pub fn message(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (name, json) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match name {
        b"EnrollRequest" => both_ways::<EnrollRequest>(json),
        b"InstallOrder" => both_ways::<InstallOrder>(json),
        b"Order" => both_ways::<Order>(json),
        b"AgentEvent" => both_ways::<AgentEvent>(json),
        b"EventReply" => both_ways::<EventReply>(json),
        b"BootReport" => both_ways::<BootReport>(json),
        b"CaptureOrder" => both_ways::<CaptureOrder>(json),
        b"CaptureLine" => both_ways::<CaptureLine>(json),
        b"CaptureReply" => both_ways::<CaptureReply>(json),
        b"StagedPacks" => both_ways::<StagedPacks>(json),
        b"ErrorReply" => both_ways::<ErrorReply>(json),
        _ => {}
    }
}

/// What is read is written the same way twice.
fn both_ways<T: Serialize + DeserializeOwned + Debug>(json: &[u8]) {
    let Ok(message) = serde_json::from_slice::<T>(json) else { return };
    let written = serde_json::to_vec(&message).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&again).expect("and written"), written, "{message:?}");
}

#[derive(Deserialize)]
struct Planned {
    layout: Layout,
    inventory: Inventory,
    #[serde(default)]
    rules: BTreeMap<String, DiskRules>,
}

/// A layout, an inventory and rules as JSON: a plan or a reason, and no partition beyond its disk.
pub fn install_plan(bytes: &[u8]) {
    let Ok(Planned { layout, inventory, rules }) = serde_json::from_slice(bytes) else { return };
    match plan(&layout, &inventory, &rules) {
        Ok(plan) => drop(serde_json::to_vec(&plan).expect("a plan can be reported")),
        Err(refusal) => drop(refusal.to_string()),
    }
}

/// A kernel command line.
pub fn kernel_command_line(bytes: &[u8]) {
    let Ok(args) = BootArgs::parse(&String::from_utf8_lossy(bytes)) else { return };
    let again = BootArgs::parse(&args.render()).expect("what is written can be read");
    assert_eq!(again.render(), args.render());
}

/// An initramfs.
pub fn initramfs(bytes: &[u8]) {
    drop(module_names(bytes));
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_are_kept_hold() {
        replay::replay("message", message);
        replay::replay("install_plan", install_plan);
        replay::replay("kernel_command_line", kernel_command_line);
        replay::replay("initramfs", initramfs);
        replay::replay("partition_table", partition_table);
        replay::replay("superblock", superblock);
        replay::replay("mount_table", mount_table);
    }
}
