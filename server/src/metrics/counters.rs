//! What is counted while the server works. All starts at zero with the server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use tftp_server::{Outcome, Transfer};
use tokio::sync::Mutex;

use crate::dhcp;

/// What plain HTTP answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// A boot file or boot configuration.
    Boot,
    /// A pack, or part of one.
    Pack,
    /// A refusal.
    Refused,
}

/// Running counts.
#[derive(Debug)]
pub struct Counters {
    /// Packets of DHCP.
    pub dhcp: Arc<dhcp::Counters>,
    /// Events by kind, up to the one of this number. They are counted on when somebody asks.
    pub(super) events: Mutex<(i64, BTreeMap<String, u64>)>,
    pub(super) started: Timestamp,
    pub(super) boot_files: Count,
    pub(super) packs: Count,
    pub(super) refused: Count,
    pub(super) pack_bytes: Count,
    pub(super) tftp_done: Count,
    pub(super) tftp_size_only: Count,
    pub(super) tftp_failed: Count,
    pub(super) tftp_bytes: Count,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// All at zero, from now on.
    #[must_use]
    pub fn new() -> Self {
        Self {
            dhcp: Arc::default(),
            events: Mutex::default(),
            started: Timestamp::now(),
            boot_files: Count::default(),
            packs: Count::default(),
            refused: Count::default(),
            pack_bytes: Count::default(),
            tftp_done: Count::default(),
            tftp_size_only: Count::default(),
            tftp_failed: Count::default(),
            tftp_bytes: Count::default(),
        }
    }

    /// Plain HTTP has decided on an answer.
    pub fn http(&self, answered: Answered) {
        match answered {
            Answered::Boot => self.boot_files.add(1),
            Answered::Pack => self.packs.add(1),
            Answered::Refused => self.refused.add(1),
        }
    }

    /// So many bytes of a pack were sent.
    pub fn pack_sent(&self, bytes: u64) {
        self.pack_bytes.add(bytes);
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl tftp_server::Events for Counters {
    fn finished(&self, transfer: &Transfer) {
        self.tftp_bytes.add(transfer.acknowledged_bytes);
        match &transfer.outcome {
            Outcome::Done | Outcome::Unconfirmed => self.tftp_done.add(1),
            Outcome::SizeOnly => self.tftp_size_only.add(1),
            Outcome::Failed(_) => self.tftp_failed.add(1),
        }
    }
}
