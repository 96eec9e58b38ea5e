//! Addresses lent to machines that are nobody's: who has which, and since when nobody was heard of there.
//!
//! An address is only given for good when the database says who has it, and after a restart every address in the
//! database counts as lent just then. So no two machines are ever given the same one, whenever the server ends.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sysclone_protocol::names::Mac;

/// What machines are told. They do not renew by DHCP once the agent runs; it stops when it cannot reach the server.
pub(super) const TOLD: Duration = Duration::from_secs(3600);
/// How long an address stays a machine's after it was last heard of; more than it was told.
const HELD: Duration = Duration::from_secs(2 * 3600);
/// How long an address is put aside for a machine that looks for a server. It may choose another.
const OFFERED: Duration = Duration::from_secs(120);
/// How long an address is left alone that some other machine uses.
const DECLINED: Duration = Duration::from_secs(3600);

/// One address on loan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The machine.
    pub mac: Mac,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Whether it said that it is a POWER machine.
    pub is_power: bool,
}

/// All addresses on loan.
#[derive(Debug, Default)]
pub struct Leases {
    table: Mutex<Table>,
    /// Held by who tells the database, so that it learns things in their order.
    pub(super) telling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Table {
    by_ip: HashMap<Ipv4Addr, Held>,
    by_mac: HashMap<Mac, Ipv4Addr>,
}

#[derive(Debug)]
struct Held {
    /// None while the address is left alone.
    lease: Option<Lease>,
    until: Instant,
    /// Whether the database has it.
    is_recorded: bool,
}

/// What became of a request for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Borrowed {
    /// It is this machine's, and the database knows.
    Recorded(Lease),
    /// It is put aside for this machine; the database has to be told.
    New(Lease),
    /// All are lent.
    Exhausted,
}

impl Leases {
    /// What the database has, lent just now.
    #[must_use]
    pub fn load(recorded: &[Lease], now: Instant) -> Self {
        let mut table = Table::default();
        for lease in recorded {
            table.by_mac.insert(lease.mac, lease.ip);
            let held = Held { lease: Some(*lease), until: now + HELD, is_recorded: true };
            table.by_ip.insert(lease.ip, held);
        }
        Self { table: Mutex::new(table), telling: tokio::sync::Mutex::default() }
    }

    /// Puts one of the addresses aside for a machine: the one that it has, if it is among them.
    pub fn borrow(
        &self,
        (mac, is_power): (Mac, bool),
        addresses: impl Iterator<Item = Ipv4Addr> + Clone,
        now: Instant,
    ) -> Borrowed {
        let mut table = self.table();
        let known = table.by_mac.get(&mac).copied();
        if let Some(ip) = known.filter(|known| addresses.clone().any(|ip| ip == *known))
            && let Some(held) = table.by_ip.get_mut(&ip)
            && let Some(lease) = held.lease.filter(|lease| lease.mac == mac && lease.is_power == is_power)
        {
            held.until = held.until.max(now + OFFERED);
            return if held.is_recorded { Borrowed::Recorded(lease) } else { Borrowed::New(lease) };
        }
        // The same machine begins at the same place, so that it mostly gets what it had before.
        let count = addresses.clone().count();
        let start = place(mac, count);
        let free = addresses
            .clone()
            .cycle()
            .skip(start)
            .take(count)
            .find(|ip| known == Some(*ip) || table.by_ip.get(ip).is_none_or(|held| held.until <= now));
        let Some(ip) = free else { return Borrowed::Exhausted };
        table.forget(ip);
        if let Some(before) = known {
            table.forget(before);
        }
        let lease = Lease { mac, ip, is_power };
        table.by_mac.insert(mac, ip);
        table.by_ip.insert(ip, Held { lease: Some(lease), until: now + OFFERED, is_recorded: false });
        Borrowed::New(lease)
    }

    /// Notes that the database has it.
    pub fn recorded(&self, lease: &Lease) {
        if let Some(held) = self.table().by_ip.get_mut(&lease.ip)
            && held.lease == Some(*lease)
        {
            held.is_recorded = true;
        }
    }

    /// What a machine has, and whether the database knows.
    #[must_use]
    pub fn of(&self, mac: &Mac) -> Option<(Lease, bool)> {
        let table = self.table();
        let held = table.by_ip.get(table.by_mac.get(mac)?)?;
        Some((held.lease?, held.is_recorded))
    }

    /// The machine that has an address, as the database knows it.
    #[must_use]
    pub fn at(&self, ip: Ipv4Addr) -> Option<Lease> {
        self.table().by_ip.get(&ip).filter(|held| held.is_recorded)?.lease
    }

    /// A machine that uses its address was heard of.
    pub fn heard(&self, mac: &Mac, now: Instant) {
        let mut table = self.table();
        let Some(ip) = table.by_mac.get(mac).copied() else { return };
        if let Some(held) = table.by_ip.get_mut(&ip) {
            held.until = now + HELD;
        }
    }

    /// A machine found its address in use.
    pub fn declined(&self, mac: &Mac, now: Instant) {
        let mut table = self.table();
        let Some(ip) = table.by_mac.remove(mac) else { return };
        if let Some(held) = table.by_ip.get_mut(&ip) {
            *held = Held { lease: None, until: now + DECLINED, is_recorded: false };
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn forget(&mut self, ip: Ipv4Addr) {
        if let Some(lease) = self.by_ip.remove(&ip).and_then(|held| held.lease) {
            self.by_mac.remove(&lease.mac);
        }
    }
}

/// Where a machine begins to look, the same after every restart.
fn place(mac: Mac, count: usize) -> usize {
    let hash =
        u64::from_le_bytes(*blake3::hash(&mac.0).as_bytes().first_chunk().expect("a hash has 32 bytes"));
    usize::try_from(hash % u64::try_from(count.max(1)).unwrap_or(u64::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range() -> impl Iterator<Item = Ipv4Addr> + Clone {
        (200..=202).map(|last| Ipv4Addr::new(10, 0, 0, last))
    }

    fn mac(last: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, last])
    }

    fn new(leases: &Leases, last: u8, now: Instant) -> Lease {
        let Borrowed::New(lease) = leases.borrow((mac(last), false), range(), now) else { panic!("{last}") };
        lease
    }

    #[test]
    fn every_machine_gets_one_of_its_own_until_there_are_no_more() {
        let (leases, now) = (Leases::default(), Instant::now());
        let lent: Vec<Lease> = (1..=3).map(|last| new(&leases, last, now)).collect();
        let mut ips: Vec<Ipv4Addr> = lent.iter().map(|lease| lease.ip).collect();
        ips.sort_unstable();
        assert_eq!(ips, range().collect::<Vec<_>>());
        assert_eq!(leases.borrow((mac(4), false), range(), now), Borrowed::Exhausted);
        assert_eq!(leases.at(lent[0].ip), None, "not before the database knows");
        leases.recorded(&lent[0]);
        leases.heard(&lent[0].mac, now);
        assert_eq!((leases.at(lent[0].ip), leases.of(&mac(1))), (Some(lent[0]), Some((lent[0], true))));
        assert_eq!(leases.borrow((mac(1), false), range(), now), Borrowed::Recorded(lent[0]));
        // Who only looked makes room, who was heard of does not.
        let later = now + OFFERED;
        let fourth = new(&leases, 4, later);
        assert!(fourth.ip != lent[0].ip && leases.of(&mac(1)).is_some(), "{fourth:?}");
    }

    #[test]
    fn a_restart_forgets_nobody() {
        let now = Instant::now();
        let before = Leases::default();
        let lent: Vec<Lease> = (1..=2).map(|last| new(&before, last, now)).collect();
        let after = Leases::load(&lent, now);
        let third = new(&after, 3, now + OFFERED);
        assert!(lent.iter().all(|lease| lease.ip != third.ip));
        assert_eq!(after.borrow((mac(4), false), range(), now), Borrowed::Exhausted);
        assert_eq!(after.borrow((mac(2), false), range(), now), Borrowed::Recorded(lent[1]));
        new(&after, 4, now + HELD);
    }

    #[test]
    fn an_address_that_became_a_nodes_or_is_in_use_is_lent_no_more() {
        let (leases, now) = (Leases::default(), Instant::now());
        let first = new(&leases, 1, now);
        let rest = range().filter(|ip| *ip != first.ip);
        let Borrowed::New(second) = leases.borrow((mac(1), false), rest, now) else { panic!() };
        assert!(second.ip != first.ip && leases.at(first.ip).is_none());
        leases.declined(&mac(1), now);
        assert_eq!(leases.of(&mac(1)), None);
        let third = new(&leases, 1, now);
        assert_ne!(third.ip, second.ip);
    }
}
