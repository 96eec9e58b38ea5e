//! How many packets came and what became of them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::answer::{Decision, Kind, Silence};

/// Running counts, shared with whoever shows them.
#[derive(Debug, Default)]
pub struct Counters {
    received: AtomicU64,
    offers: AtomicU64,
    acks: AtomicU64,
    naks: AtomicU64,
    bootp_replies: AtomicU64,
    boot_files: AtomicU64,
    malformed: AtomicU64,
    unknown: AtomicU64,
    ignored: AtomicU64,
    panics: AtomicU64,
    send_errors: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Datagrams that came.
    pub received: u64,
    /// DHCPOFFER sent.
    pub offers: u64,
    /// DHCPACK sent.
    pub acks: u64,
    /// DHCPNAK sent.
    pub naks: u64,
    /// BOOTP replies sent.
    pub bootp_replies: u64,
    /// Boot files told where another server gives the address.
    pub boot_files: u64,
    /// Datagrams that could not be understood.
    pub malformed: u64,
    /// Requests of machines that are not defined, or not completely.
    pub unknown: u64,
    /// Requests that need no answer: releases, declines, for other servers.
    pub ignored: u64,
    /// Packets on which the server's own code failed.
    pub panics: u64,
    /// Replies that the kernel did not send.
    pub send_errors: u64,
}

impl Counters {
    /// The counts now.
    #[must_use]
    pub fn now(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            received: read(&self.received),
            offers: read(&self.offers),
            acks: read(&self.acks),
            naks: read(&self.naks),
            bootp_replies: read(&self.bootp_replies),
            boot_files: read(&self.boot_files),
            malformed: read(&self.malformed),
            unknown: read(&self.unknown),
            ignored: read(&self.ignored),
            panics: read(&self.panics),
            send_errors: read(&self.send_errors),
        }
    }

    pub(super) fn packet(&self) {
        add(&self.received);
    }

    pub(super) fn decided(&self, decision: &Decision) {
        add(match decision {
            Decision::Reply { what, .. } => match what.kind {
                Kind::Offer => &self.offers,
                Kind::Ack => &self.acks,
                Kind::Nak { .. } => &self.naks,
                Kind::Bootp => &self.bootp_replies,
                Kind::Proxy => &self.boot_files,
            },
            Decision::Silent { reason, .. } => match reason {
                Silence::Malformed(_) => &self.malformed,
                Silence::Unknown { .. } | Silence::Incomplete(_) | Silence::NotLent(_) => &self.unknown,
                Silence::OtherServer(_)
                | Silence::Released { .. }
                | Silence::Declined { .. }
                | Silence::NoAddress
                | Silence::Lending { .. }
                | Silence::Foreign { .. }
                | Silence::FromServer => &self.ignored,
            },
        });
    }

    pub(super) fn panicked(&self) {
        add(&self.panics);
    }

    pub(super) fn not_sent(&self) {
        add(&self.send_errors);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
