//! The provisioning network: who answers DHCP on it, and whether nodes can be served.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use sysclone_protocol::names::Mac;

use super::offers::{Question, collect};
use crate::app::App;
use crate::define::{Network, Snapshot};
use crate::dhcp::Mode;
use crate::sockets::provisioning_interface;
use crate::wire::probe::Check;

/// A locally administered address that no machine has, asked for when there is no node.
const NOBODY: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// Nodes named in a sentence.
const NAMED: usize = 5;

/// The DHCP servers on the network of the server's address, ours and others.
pub(super) fn dhcp(app: &App) -> Vec<Check> {
    let listen = &app.config.listen;
    let snapshot = app.known.now();
    let networks = snapshot.networks().iter().filter(|network| network.contains(listen.address));
    let Some(network) = networks.max_by_key(|network| network.prefix) else {
        let advice = "mkdef -t network -o <name> net=<network> mask=<mask>";
        let found = format!("no network with the address {} is defined", listen.address);
        return vec![Check::failed("network", found, advice)];
    };
    let mut checks = vec![Check::good("network", format!("{}/{}", network.net, network.prefix))];
    let Some(interface) = provisioning_interface(listen) else {
        let found = format!("no interface has the address {}", listen.address);
        checks.push(Check::failed("dhcp", found, "set listen.interface"));
        return checks;
    };
    let node = somebody(&snapshot, network);
    let question =
        Question { interface: &interface, port: listen.dhcp_port.unwrap_or(67), mac: node.unwrap_or(NOBODY) };
    match collect(&question) {
        Ok(mut offers) => {
            let ours = offers.remove(&listen.address);
            if network.dhcp_mode != Mode::Off {
                checks.push(own(app, node.is_some(), ours.is_some()));
            }
            checks.push(others(network, &offers));
        }
        Err(error) => {
            let found = format!("{interface} could not be asked who answers DHCP: {error}");
            let advice = "start syscloned by its systemd unit or as root, and see that the interface is up";
            checks.push(Check::warning("dhcp", found, advice));
        }
    }
    checks
}

/// A node on the network, for whom an answer can be expected.
fn somebody(snapshot: &Snapshot, network: &Network) -> Option<Mac> {
    snapshot.names().find_map(|name| {
        let placed = snapshot.placed(name)?.ok()?;
        let mac = snapshot.node(name)?.ok()?.macs.first().copied();
        mac.filter(|_| (placed.network.net, placed.network.prefix) == (network.net, network.prefix))
    })
}

fn own(app: &App, asked_for_a_node: bool, answered: bool) -> Check {
    let off = "set listen.dhcp_port = 67, or chdef -t network -o <name> dhcpmode=off";
    match (app.config.listen.dhcp_port, asked_for_a_node, answered) {
        (None, _, _) => Check::failed("dhcp", "is switched off, though the network's dhcpmode needs it", off),
        (Some(_), false, _) => Check::warning(
            "dhcp",
            "no node with mac and ip is on this network, so its answer could not be seen",
            "define a node, then probe again",
        ),
        (Some(_), true, true) => Check::good("dhcp", "answers on this network"),
        (Some(port), true, false) => Check::failed(
            "dhcp",
            format!("a defined node asked on port {port} and syscloned did not answer"),
            "look for a packet filter (nft list ruleset) and into syscloned's log",
        ),
    }
}

/// What other servers offered, seen by the network's `dhcpmode`.
fn others(network: &Network, offers: &BTreeMap<Ipv4Addr, Ipv4Addr>) -> Check {
    let subject = "other DHCP servers";
    let list: Vec<String> = offers.keys().map(Ipv4Addr::to_string).collect();
    let gives_addresses = offers.values().any(|address| !address.is_unspecified());
    match (network.dhcp_mode, list.is_empty(), gives_addresses) {
        (Mode::Full, true, _) => Check::good(subject, "none"),
        (Mode::Full, false, _) => Check::failed(
            subject,
            format!("{} also answers", list.join(" and ")),
            "switch it off on this network, or let it give the addresses: chdef -t network -o <name> dhcpmode=proxy",
        ),
        (Mode::Proxy | Mode::Off, _, true) => {
            Check::good(subject, format!("{} gives addresses", list.join(" and ")))
        }
        (Mode::Proxy | Mode::Off, _, false) => Check::failed(
            subject,
            "none gives addresses, and the network's dhcpmode leaves that to another",
            "start that server, or chdef -t network -o <name> dhcpmode=full",
        ),
    }
}

/// Whether every node can be served.
pub(super) fn nodes(app: &App) -> Check {
    let snapshot = app.known.now();
    let mut problems = Vec::new();
    let mut count = 0_usize;
    for name in snapshot.names() {
        count += 1;
        match (snapshot.placed(name), snapshot.node(name)) {
            (Some(Err(problem)), _) => problems.push(problem.to_owned()),
            (_, Some(Ok(node))) if node.macs.is_empty() => problems.push(format!("{name} has no mac")),
            _ => {}
        }
    }
    if problems.is_empty() {
        return Check::good("nodes", format!("{count} defined, each with mac, ip and network"));
    }
    let found = format!("{} of {count} cannot boot from the network", problems.len());
    problems.truncate(NAMED);
    Check::warning("nodes", found, problems.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::probe::Verdict;

    #[test]
    fn another_server_is_wrong_or_needed_by_the_mode() {
        let (server, address) = (Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 50));
        for (mode, offers, verdict) in [
            (Mode::Full, vec![], Verdict::Good),
            (Mode::Full, vec![(server, address)], Verdict::Failed),
            (Mode::Full, vec![(server, Ipv4Addr::UNSPECIFIED)], Verdict::Failed),
            (Mode::Proxy, vec![(server, address)], Verdict::Good),
            (Mode::Proxy, vec![], Verdict::Failed),
            (Mode::Off, vec![(server, Ipv4Addr::UNSPECIFIED)], Verdict::Failed),
        ] {
            let attributes = [("net", "10.0.0.0"), ("mask", "255.255.255.0")];
            let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let network = Network::read(&attributes, server).unwrap();
            let network = Network { dhcp_mode: mode, ..network };
            let check = others(&network, &offers.clone().into_iter().collect());
            assert_eq!(check.verdict, verdict, "{mode:?} {offers:?}");
        }
    }
}
