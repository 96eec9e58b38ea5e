//! The DHCP server's view of all machines: nodes, and those that are nobody's where these are discovered.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use sysclone_protocol::names::{Mac, NodeName};

use super::leases::{Borrowed, Lease, TOLD};
use crate::app::App;
use crate::define::{Network, Snapshot};
use crate::dhcp::{Asks, Directory, Lent, Mode, NetBoot, Reservation, Step};

/// Nodes and strangers.
pub(crate) struct Everybody(pub(crate) Arc<App>);

impl Directory for Everybody {
    fn by_mac(&self, mac: &Mac) -> Option<Reservation> {
        self.0.known.by_mac(mac)
    }

    fn why_not(&self, mac: &Mac) -> Option<String> {
        self.0.known.why_not(mac)
    }

    fn lend(&self, asks: &Asks) -> Lent {
        let snapshot = self.0.known.now();
        let at = asks.relay.unwrap_or(self.0.config.listen.address);
        let Some(network) = snapshot.network_of(at).filter(|network| is_on(network)) else {
            return Lent::Nothing;
        };
        match asks.step {
            Step::Looks => self.offer(asks, (&snapshot, network)),
            Step::Has => match self.0.discovery.leases.of(&asks.mac) {
                Some((lease, true)) if !is_taken(&snapshot, lease.ip) => {
                    self.0.discovery.leases.heard(&asks.mac, Instant::now());
                    Lent::Address(reservation(&lease, network), TOLD)
                }
                Some((_, false)) => Lent::Soon,
                Some((_, true)) | None => Lent::Nothing,
            },
            Step::Declines => match self.0.discovery.leases.of(&asks.mac) {
                Some((lease, _)) => {
                    self.0.discovery.leases.declined(&asks.mac, Instant::now());
                    Lent::Address(reservation(&lease, network), TOLD)
                }
                None => Lent::Nothing,
            },
        }
    }
}

/// Whether machines are discovered on a network. Where another server gives the addresses, they are not.
pub(crate) fn is_on(network: &Network) -> bool {
    network.discovers && network.dhcp_mode == Mode::Full
}

fn is_taken(snapshot: &Snapshot, ip: Ipv4Addr) -> bool {
    snapshot.addresses().any(|other| other == ip)
}

impl Everybody {
    fn offer(&self, asks: &Asks, (snapshot, network): (&Snapshot, &Network)) -> Lent {
        let mut taken: Vec<Ipv4Addr> = snapshot.addresses().collect();
        taken.push(self.0.config.listen.address);
        taken.sort_unstable();
        let free: Vec<Ipv4Addr> =
            network.dynamic_addresses().filter(|ip| taken.binary_search(ip).is_err()).collect();
        let on = format!("the network {}/{}", network.net, network.prefix);
        if free.is_empty() {
            return Lent::Refused(format!(
                "machines are to be discovered on {on}, but its dynamicrange has no address that is not a node's: \
                 chdef -t network -o <name> dynamicrange=<first>-<last>"
            ));
        }
        let lease = match self.0.discovery.leases.borrow(
            (asks.mac, asks.is_power),
            free.iter().copied(),
            Instant::now(),
        ) {
            Borrowed::Recorded(lease) => lease,
            Borrowed::New(lease) => {
                self.write_down(lease);
                lease
            }
            Borrowed::Exhausted => {
                return Lent::Refused(format!(
                    "all {} addresses of the dynamicrange of {on} are lent: make it larger, or wait until \
                         machines that are gone have lost theirs",
                    free.len()
                ));
            }
        };
        Lent::Address(reservation(&lease, network), TOLD)
    }

    /// The machine only gets its address for good when this is done.
    fn write_down(&self, lease: Lease) {
        let app = Arc::clone(&self.0);
        self.0.tasks.spawn(async move {
            let _in_order = app.discovery.leases.telling.lock().await;
            if app.discovery.leases.of(&lease.mac).is_none_or(|(now, _)| now != lease) {
                return;
            }
            match app.db.put_lease(&lease).await {
                Ok(()) => app.discovery.leases.recorded(&lease),
                Err(error) => tracing::error!(mac = %lease.mac, %error, "a lease could not be written down"),
            }
        });
    }
}

/// What a machine that is nobody's is told. It has no name, and boots what fits its firmware.
fn reservation(lease: &Lease, network: &Network) -> Reservation {
    Reservation {
        node: stranger(&lease.mac),
        mac: lease.mac,
        ip: lease.ip,
        prefix: network.prefix,
        gateway: network.gateway,
        nameservers: network.nameservers.clone(),
        domain: network.domain.clone(),
        hostname: String::new(),
        netboot: NetBoot::Auto,
        is_power: lease.is_power,
        mode: Mode::Full,
    }
}

/// What the log calls a machine that is nobody's.
fn stranger(mac: &Mac) -> NodeName {
    format!("unknown-{}", mac.dashed()).parse().expect("letters, digits and dashes make a name")
}
