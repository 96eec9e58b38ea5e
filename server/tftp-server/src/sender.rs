//! The sending side of one transfer as a state machine: packets and the time go in, packets and a deadline come out.
//! No sockets and no clock of its own, so every loss and delay can be played in a test.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::events::{Failure, Outcome};
use crate::negotiate::Terms;
use crate::packet::{Packet, RawOption};
use crate::rtt::RetransmitTimer;

/// An OACK is never repeated faster: atftp ends the transfer when it sees the same OACK twice.
const OFFER_INTERVAL: Duration = Duration::from_secs(1);
/// Repeating the OACK by the clock, for clients that name a `timeout`: they take a second copy well. Others may be atftp;
/// for them it is [`CLIENT_TIMEOUT`], after which those whose ACK was lost have repeated that.
const OFFER_WAIT: Duration = Duration::from_millis(1250);
/// The time after which clients repeat their packets by themselves; most keep to it whatever `timeout` they name.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// A block is sent again so often in short order. Then the client's own timer is given time to run out: atftp answers
/// one copy of a block and ignores further ones until it has heard nothing for its timeout.
const QUICK_TRIES: u32 = 6;
/// A client that says nothing for so long is gone, unless it asked for longer waits.
const GIVE_UP: Duration = Duration::from_secs(30);
/// With a client's own `timeout`, this many of its intervals.
const GIVE_UP_INTERVALS: u32 = 5;

/// Sends one file under agreed terms. Block numbers are absolute here and wrap to 0 only on the wire.
#[derive(Debug)]
pub(crate) struct Sender {
    content: Bytes,
    terms: Terms,
    phase: Phase,
    /// All blocks up to this one have arrived.
    acknowledged: u64,
    /// The block to send next.
    next: u64,
    /// The highest block sent so far.
    highest: u64,
    /// The file's last block, which is shorter than the others and may be empty.
    last: u64,
    timer: RetransmitTimer,
    /// How often the OACK was sent.
    offers: u32,
    /// How often in a row the client did not answer in time.
    tries: u32,
    /// When the last packet was sent.
    sent: Instant,
    /// A block that was sent once, and when: its acknowledgement measures the round trip.
    timed: Option<(u64, Instant)>,
    deadline: Instant,
    /// When the client last made progress.
    progress: Instant,
    retransmitted: u64,
}

/// Where the conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The OACK has to be sent.
    Offer,
    /// The OACK was sent; the client's ACK of block 0 is awaited.
    Offered,
    /// Data flows.
    Data,
}

impl Sender {
    pub(crate) fn new(content: Bytes, terms: Terms, now: Instant) -> Self {
        let phase = if terms.accepted.is_empty() { Phase::Data } else { Phase::Offer };
        let last = content.len() as u64 / terms.block_size as u64 + 1;
        Self {
            content,
            terms,
            phase,
            acknowledged: 0,
            next: 1,
            highest: 0,
            last,
            timer: RetransmitTimer::new(),
            offers: 0,
            tries: 0,
            sent: now,
            timed: None,
            deadline: now,
            progress: now,
            retransmitted: 0,
        }
    }

    /// When [`Sender::on_deadline`] is due.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Data packets sent more than once.
    pub(crate) fn retransmitted(&self) -> u64 {
        self.retransmitted
    }

    /// Bytes that have arrived.
    pub(crate) fn acknowledged_bytes(&self) -> u64 {
        (self.acknowledged * self.terms.block_size as u64).min(self.content.len() as u64)
    }

    /// All data was sent, though not all of it acknowledged.
    pub(crate) fn everything_sent(&self) -> bool {
        self.highest == self.last
    }

    /// Writes the next packet that may be sent now into `out`; false when there is none.
    pub(crate) fn next_packet(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        match self.phase {
            Phase::Offer => {
                self.phase = Phase::Offered;
                self.offers += 1;
                self.sent = now;
                self.deadline =
                    now + if self.terms.timeout.is_some() { OFFER_WAIT } else { self.client_wait() };
                self.encode_offer(out);
                true
            }
            Phase::Offered => false,
            Phase::Data => self.next_data(now, out),
        }
    }

    fn next_data(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        // A client that has the block and whose ACKs were lost goes on with the next one; to others it is a stray.
        let ahead = u64::from(self.is_paused());
        let window_end = (self.acknowledged + self.terms.window + ahead).min(self.last);
        if self.next > window_end {
            return false;
        }
        let block = self.next;
        if block <= self.highest {
            self.retransmitted += 1;
            self.timed = None;
        } else {
            self.highest = block;
            if block == window_end {
                self.timed = Some((block, now));
            }
        }
        self.next += 1;
        self.sent = now;
        self.deadline = now + if self.is_paused() { self.client_wait() } else { self.timer.timeout() };
        let size = self.terms.block_size as u64;
        let start = ((block - 1) * size).min(self.content.len() as u64);
        let end = (block * size).min(self.content.len() as u64);
        // Both are at most the length of a slice in memory.
        let payload = &self.content[start as usize..end as usize];
        Packet::Data { block: wire(block), payload }.encode_into(out);
        true
    }

    /// Time for the client to repeat its last packet by itself.
    fn client_wait(&self) -> Duration {
        let named = Duration::from_secs(self.terms.timeout.unwrap_or(0).into());
        let timeout = CLIENT_TIMEOUT.max(named);
        timeout + timeout / 4
    }

    /// Quick tries have been of no use: it is the client's turn.
    fn is_paused(&self) -> bool {
        self.tries > 0 && self.tries.is_multiple_of(QUICK_TRIES)
    }

    fn encode_offer(&self, out: &mut Vec<u8>) {
        let values: Vec<String> = self.terms.accepted.iter().map(|(_, value)| value.to_string()).collect();
        let options: Vec<RawOption<'_>> = self
            .terms
            .accepted
            .iter()
            .zip(&values)
            .map(|((name, _), value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        Packet::OptionAck(options).encode_into(out);
    }

    /// Takes in a packet of the client. Some: the transfer is over.
    pub(crate) fn on_packet(&mut self, now: Instant, packet: &Packet<'_>) -> Option<Outcome> {
        match packet {
            Packet::Ack(block) => self.on_ack(now, *block),
            Packet::Error { code, message } => {
                if self.phase != Phase::Data && self.terms.size_asked {
                    return Some(Outcome::SizeOnly);
                }
                let message = String::from_utf8_lossy(message).into_owned();
                Some(Outcome::Failed(Failure::Client { code: *code, message }))
            }
            // Nothing else belongs here; an ERROR in reply would let a stray packet end a good transfer.
            Packet::Read(_) | Packet::Write(_) | Packet::Data { .. } | Packet::OptionAck(_) => None,
        }
    }

    fn on_ack(&mut self, now: Instant, block: u16) -> Option<Outcome> {
        if self.phase != Phase::Data {
            if self.phase == Phase::Offered && block == 0 {
                self.phase = Phase::Data;
                if self.offers == 1 {
                    self.timer.measured(now.duration_since(self.sent));
                }
                self.progress = now;
                self.deadline = now;
            }
            return None;
        }
        // The window is far smaller than the number space, so the distance is unambiguous across the wrap.
        let advance = u64::from(block.wrapping_sub(wire(self.acknowledged)));
        if advance == 0 {
            // A repeated ACK never makes us send: that would double every packet from then on (RFC 1123 4.2.3.1).
            // In a pause it cannot be an echo: the client's timer has run out and it misses the next block.
            if self.is_paused() && now.duration_since(self.sent) > self.timer.timeout() {
                self.next = self.acknowledged + 1;
                self.tries += 1;
            }
            return None;
        }
        if self.acknowledged + advance > self.highest {
            return None;
        }
        self.acknowledged += advance;
        self.progress = now;
        self.tries = 0;
        self.timer.answered();
        if let Some((timed, sent)) = self.timed.filter(|(timed, _)| *timed <= self.acknowledged) {
            if timed == self.acknowledged {
                self.timer.measured(now.duration_since(sent));
            }
            self.timed = None;
        }
        // An ACK inside the window says that the block after it was lost (RFC 7440 section 4).
        self.next = self.acknowledged + 1;
        self.deadline = now + self.timer.timeout();
        (self.acknowledged == self.last).then_some(Outcome::Done)
    }

    /// The client has sent its request again: it did not get the OACK.
    pub(crate) fn on_repeated_request(&mut self, now: Instant) {
        if self.phase == Phase::Offered && now.duration_since(self.sent) >= OFFER_INTERVAL {
            self.phase = Phase::Offer;
        }
    }

    /// Call when the deadline has passed. Some: the transfer is over.
    pub(crate) fn on_deadline(&mut self, now: Instant) -> Option<Outcome> {
        let silent = now.duration_since(self.progress);
        let patience =
            GIVE_UP.max(Duration::from_secs(self.terms.timeout.unwrap_or(0).into()) * GIVE_UP_INTERVALS);
        if silent >= patience {
            let unconfirmed = self.everything_sent() && self.next > self.last;
            return Some(if unconfirmed {
                Outcome::Unconfirmed
            } else {
                Outcome::Failed(Failure::TimedOut(silent))
            });
        }
        match self.phase {
            Phase::Offer | Phase::Offered => self.phase = Phase::Offer,
            Phase::Data => {
                self.next = self.acknowledged + 1;
                self.tries += 1;
                self.timer.back_off();
            }
        }
        None
    }
}

/// The number a block has on the wire: after 65535 comes 0.
fn wire(block: u64) -> u16 {
    (block & 0xffff) as u16
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
