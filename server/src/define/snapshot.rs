//! All that the boot path must know at once, in memory: nodes by name, Ethernet address, IP address and UUID, with the
//! network that each is on. Rebuilt after every change of definitions; whoever reads one sees a consistent whole.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use sysclone_protocol::names::{Mac, NodeName};

use super::attributes::read_conditions;
use super::inherit::Inherited;
use super::network::{Network, Site};
use super::node::Node;
use super::schema;
use crate::db::Attributes;
use crate::policy::Rules;
use crate::wire::{ObjectType, Objects};

/// A node with its place in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its address.
    pub ip: Ipv4Addr,
    /// The network it is on, DNS settings of the site filled in.
    pub network: Network,
}

/// What is defined, as the database has it.
#[derive(Debug, Default)]
pub struct Definitions {
    /// Nodes.
    pub nodes: Objects,
    /// Groups.
    pub groups: Objects,
    /// Networks.
    pub networks: Objects,
    /// The site.
    pub site: Objects,
    /// Rules of who may do what.
    pub policies: Objects,
}

/// The definitions at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    networks: Vec<Network>,
    nodes: BTreeMap<String, Entry>,
    groups: BTreeMap<String, Vec<String>>,
    by_mac: HashMap<Mac, String>,
    by_ip: HashMap<Ipv4Addr, String>,
    by_uuid: HashMap<String, String>,
    site: Site,
    rules: Rules,
}

#[derive(Debug, Clone)]
struct Entry {
    attributes: Attributes,
    node: Result<Node, String>,
    placed: Result<Placed, String>,
}

impl Snapshot {
    /// Reads all definitions.
    #[must_use]
    pub fn new(definitions: Definitions, server: Ipv4Addr) -> Self {
        let Definitions { nodes, groups, networks, site, policies } = definitions;
        let machine = rustix::system::uname();
        let rules = Rules::read(&policies, &machine.nodename().to_string_lossy());
        let site = site.get("clustersite").map(|a| Site::read(a, server)).unwrap_or_default();
        let networks: Vec<Network> = networks.values().filter_map(|a| Network::read(a, server)).collect();
        let mut snapshot = Self { site, rules, ..Self::default() };
        let inherited = Inherited::new(&groups);
        for name in groups.keys() {
            snapshot.groups.insert(name.clone(), Vec::new());
        }
        for (name, own) in nodes {
            let (attributes, wrong) = inherited.attributes_of(&name, &own);
            snapshot.add((name, attributes, wrong), &networks);
        }
        for (name, attributes) in &groups {
            if let Some(conditions) = attributes.get("wherevals") {
                snapshot.add_where(name, conditions);
            }
        }
        snapshot.networks = networks;
        snapshot
    }

    fn add(&mut self, (name, attributes, wrong): (String, Attributes, Option<String>), networks: &[Network]) {
        let read = name
            .parse::<NodeName>()
            .map_err(|error| error.to_string())
            .and_then(|parsed| Node::read(&parsed, &attributes).map_err(|error| error.to_string()));
        let node = wrong.map_or(read, Err);
        let placed = node.as_ref().map_err(Clone::clone).and_then(|node| self.place(node, networks));
        if let Ok(node) = &node {
            for mac in &node.macs {
                self.by_mac.entry(*mac).or_insert_with(|| name.clone());
            }
            if let Some(ip) = node.ip {
                self.by_ip.entry(ip).or_insert_with(|| name.clone());
            }
            if let Some(uuid) = &node.uuid {
                self.by_uuid.entry(uuid.clone()).or_insert_with(|| name.clone());
            }
        }
        for group in attributes.get("groups").map(|text| words(text)).into_iter().flatten() {
            let members = self.groups.entry(group.to_owned()).or_default();
            if !members.contains(&name) {
                members.push(name.clone());
            }
        }
        self.nodes.insert(name, Entry { attributes, node, placed });
    }

    /// Adds the nodes that a dynamic group's comparisons choose. Such a group gives its nodes no attributes: they would
    /// decide on what is in it.
    fn add_where(&mut self, group: &str, conditions: &str) {
        let conditions = match read_conditions(conditions) {
            Ok(conditions) => conditions,
            Err(error) => {
                tracing::warn!(group, %error, "a dynamic group has no members: its wherevals cannot be read");
                return;
            }
        };
        let chosen = |(name, entry): &(&String, &Entry)| {
            conditions.iter().all(|condition| {
                let value = schema::value(ObjectType::Node, &condition.attribute, (name, &entry.attributes));
                condition.accepts(value.unwrap_or_default())
            })
        };
        let members: Vec<String> = self.nodes.iter().filter(chosen).map(|(name, _)| name.clone()).collect();
        let known = self.groups.entry(group.to_owned()).or_default();
        known.extend(members);
        known.sort_unstable();
        known.dedup();
    }

    fn place(&self, node: &Node, networks: &[Network]) -> Result<Placed, String> {
        let name = &node.name;
        let Some(ip) = node.ip else {
            return Err(format!("the node {name} has no address: chdef -t node -o {name} ip=<address>"));
        };
        // The narrowest network that has the address is the one it is on.
        let network = networks.iter().filter(|network| network.contains(ip)).max_by_key(|n| n.prefix);
        let Some(network) = network else {
            return Err(format!(
                "no network has the address {ip} of {name}: mkdef -t network -o <name> net=<network> mask=<mask>"
            ));
        };
        let mut network = network.clone();
        if network.nameservers.is_empty() {
            network.nameservers.clone_from(&self.site.nameservers);
        }
        if network.domain.is_none() {
            network.domain.clone_from(&self.site.domain);
        }
        Ok(Placed { ip, network })
    }

    /// All networks that can be used.
    #[must_use]
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// The network that an address is on: the narrowest that has it.
    #[must_use]
    pub fn network_of(&self, ip: Ipv4Addr) -> Option<&Network> {
        self.networks.iter().filter(|network| network.contains(ip)).max_by_key(|network| network.prefix)
    }

    /// Addresses that nodes and their BMCs have, also of nodes whose definition cannot be used otherwise.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let of = |entry: &Entry| ["ip", "bmc"].map(|name| entry.attributes.get(name)?.parse().ok());
        self.nodes.values().flat_map(of).flatten()
    }

    /// Names of all nodes, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// A node's attributes, with those of its groups, computed.
    #[must_use]
    pub fn attributes(&self, name: &str) -> Option<&Attributes> {
        self.nodes.get(name).map(|entry| &entry.attributes)
    }

    /// Whether any node has an attribute of this name.
    #[must_use]
    pub fn has_own(&self, attribute: &str) -> bool {
        self.nodes.values().any(|entry| entry.attributes.contains_key(attribute))
    }

    /// A node by name; an error says which attribute cannot be read. None when there is no such node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<Result<&Node, &str>> {
        self.nodes.get(name).map(|entry| entry.node.as_ref().map_err(String::as_str))
    }

    /// Where a node is; an error says what is not defined.
    #[must_use]
    pub fn placed(&self, name: &str) -> Option<Result<&Placed, &str>> {
        self.nodes.get(name).map(|entry| entry.placed.as_ref().map_err(String::as_str))
    }

    /// The node with this Ethernet address.
    #[must_use]
    pub fn by_mac(&self, mac: &Mac) -> Option<&Node> {
        self.good(self.by_mac.get(mac)?)
    }

    /// The node with this address.
    #[must_use]
    pub fn by_ip(&self, ip: Ipv4Addr) -> Option<&Node> {
        self.good(self.by_ip.get(&ip)?)
    }

    /// The node with this system UUID.
    #[must_use]
    pub fn by_uuid(&self, uuid: &str) -> Option<&Node> {
        self.good(self.by_uuid.get(uuid)?)
    }

    fn good(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)?.node.as_ref().ok()
    }

    /// All groups with who is in them, the groups that only nodes speak of included.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.groups.iter().map(|(name, members)| (name.as_str(), members.as_slice()))
    }

    /// Who is in a group, by the nodes' `groups` or by its comparisons; none when there is no such group.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&[String]> {
        self.groups.get(name).map(Vec::as_slice)
    }

    /// Who may do what.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The site's settings.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty())
}
