//! Networks that nodes are on, and what the site says for all of them.

use std::net::Ipv4Addr;

use super::attributes::parse_yes;
use crate::db::Attributes;
use crate::dhcp::Mode;

/// In an address attribute: this server, as in xCAT.
const THIS_SERVER: &str = "<xcatmaster>";

/// Settings of the object `clustersite` that are used here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// DNS domain of nodes.
    pub domain: Option<String>,
    /// DNS servers of nodes.
    pub nameservers: Vec<Ipv4Addr>,
    /// Noderange that is taken away from every range.
    pub excludenodes: Option<String>,
}

/// One network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its first address.
    pub net: Ipv4Addr,
    /// Length of its prefix.
    pub prefix: u8,
    /// The way out of it.
    pub gateway: Option<Ipv4Addr>,
    /// DNS servers on it.
    pub nameservers: Vec<Ipv4Addr>,
    /// DNS domain on it.
    pub domain: Option<String>,
    /// Who gives addresses on it.
    pub dhcp_mode: Mode,
    /// Whether machines that are nobody's are discovered on it.
    pub discovers: bool,
    /// What those are lent: first and last address of each range.
    pub dynamic: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Words added to the kernel command line of those.
    pub kernel_args: String,
}

impl Site {
    /// Reads the site's attributes; what cannot be read was refused when it was written.
    #[must_use]
    pub fn read(attributes: &Attributes, server: Ipv4Addr) -> Self {
        Self {
            domain: attributes.get("domain").cloned(),
            nameservers: addresses(attributes.get("nameservers"), server),
            excludenodes: attributes.get("excludenodes").cloned(),
        }
    }
}

impl Network {
    /// Reads a network's attributes. None without `net` and `mask`.
    #[must_use]
    pub fn read(attributes: &Attributes, server: Ipv4Addr) -> Option<Self> {
        Some(Self {
            net: attributes.get("net")?.parse().ok()?,
            prefix: parse_mask(attributes.get("mask")?)?,
            gateway: addresses(attributes.get("gateway"), server).first().copied(),
            nameservers: addresses(attributes.get("nameservers"), server),
            domain: attributes.get("domain").cloned(),
            dhcp_mode: attributes.get("dhcpmode").and_then(|text| parse_mode(text)).unwrap_or_default(),
            discovers: attributes.get("discovery").and_then(|text| parse_yes(text)).unwrap_or_default(),
            dynamic: attributes
                .get("dynamicrange")
                .and_then(|text| parse_dynamic(text).ok())
                .unwrap_or_default(),
            kernel_args: attributes.get("addkcmdline").cloned().unwrap_or_default(),
        })
    }

    /// Whether an address is on it.
    #[must_use]
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        u32::from(ip) & self.mask() == u32::from(self.net) & self.mask()
    }

    /// The addresses of its dynamic ranges that a machine on it can have.
    pub fn dynamic_addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let all = |&(first, last): &(Ipv4Addr, Ipv4Addr)| u32::from(first)..=u32::from(last);
        let (net, broadcast) = (u32::from(self.net) & self.mask(), u32::from(self.net) | !self.mask());
        let is_host = move |ip: &u32| self.prefix >= 31 || (*ip != net && *ip != broadcast);
        let addresses = self.dynamic.iter().flat_map(all).filter(is_host).map(Ipv4Addr::from);
        addresses
            .filter(|ip| self.contains(*ip) && Some(*ip) != self.gateway && !self.nameservers.contains(ip))
    }

    fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }
}

/// Prefix length of `255.255.255.0` or `/24`.
pub(super) fn parse_mask(text: &str) -> Option<u8> {
    if let Some(prefix) = text.strip_prefix('/') {
        return prefix.parse().ok().filter(|prefix| *prefix <= 32);
    }
    let mask = u32::from(text.parse::<Ipv4Addr>().ok()?);
    let prefix = mask.leading_ones();
    (mask.checked_shl(prefix).unwrap_or(0) == 0).then(|| u8::try_from(prefix).unwrap_or(32))
}

/// A network's `dhcpmode`.
pub(super) fn parse_mode(text: &str) -> Option<Mode> {
    match text {
        "full" => Some(Mode::Full),
        "proxy" => Some(Mode::Proxy),
        "off" => Some(Mode::Off),
        _ => None,
    }
}

/// Addresses that a network lends at most: a larger range is a slip.
const MAX_DYNAMIC: u64 = 1 << 16;

/// A network's `dynamicrange`: `10.0.0.200-10.0.0.250`, several with `;` between them, as in xCAT.
pub(super) fn parse_dynamic(text: &str) -> Result<Vec<(Ipv4Addr, Ipv4Addr)>, String> {
    let mut ranges = Vec::new();
    let mut size = 0;
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let ends = part.split_once(['-', ',', ' ']);
        let ends =
            ends.and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
        let Some((first, last)) = ends else {
            return Err(format!("'{part}' is not a range such as 10.0.0.200-10.0.0.250"));
        };
        let (from, to): (Ipv4Addr, Ipv4Addr) = (first, last);
        if from > to {
            return Err(format!("{from} comes after {to}"));
        }
        size += u64::from(u32::from(to) - u32::from(from)) + 1;
        ranges.push((from, to));
    }
    if size > MAX_DYNAMIC {
        return Err(format!("{size} addresses are too many, the most is {MAX_DYNAMIC}"));
    }
    Ok(ranges)
}

/// Addresses of a list; [`THIS_SERVER`] is the server's own.
fn addresses(text: Option<&String>, server: Ipv4Addr) -> Vec<Ipv4Addr> {
    let words = text.map(String::as_str).unwrap_or_default().split([',', ' ']);
    words.filter_map(|word| if word == THIS_SERVER { Some(server) } else { word.parse().ok() }).collect()
}

/// Whether a text is a list of addresses as [`Network`] reads it.
pub(super) fn is_address_list(text: &str) -> bool {
    let mut words = text.split([',', ' ']).filter(|word| !word.is_empty()).peekable();
    words.peek().is_some() && words.all(|word| word == THIS_SERVER || word.parse::<Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_read_in_both_forms() {
        for (text, prefix) in [
            ("255.255.255.0", Some(24)),
            ("/24", Some(24)),
            ("255.255.255.255", Some(32)),
            ("0.0.0.0", Some(0)),
            ("255.0.255.0", None),
            ("/33", None),
            ("24", None),
        ] {
            assert_eq!(parse_mask(text), prefix, "{text}");
        }
    }

    #[test]
    fn dynamic_ranges_hold_only_what_a_machine_can_have() {
        let network = |text: &str| {
            let attributes: Attributes = [
                ("net", "10.1.0.0"),
                ("mask", "/24"),
                ("gateway", "10.1.0.254"),
                ("dynamicrange", text),
                ("discovery", "yes"),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
            Network::read(&attributes, Ipv4Addr::new(10, 1, 0, 1)).unwrap()
        };
        let last = |text| network(text).dynamic_addresses().map(|ip| ip.octets()[3]).collect::<Vec<_>>();
        assert_eq!(last("10.1.0.7-10.1.0.9"), [7, 8, 9]);
        assert_eq!(last("10.1.0.252-10.1.1.3; 10.1.0.0,10.1.0.1"), [252, 253, 1]);
        assert!(network("10.1.0.7-10.1.0.9").discovers);
        for bad in ["10.1.0.9-10.1.0.7", "10.1.0.7", "x-y", "10.0.0.0-10.1.0.0"] {
            assert!(parse_dynamic(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_contain_their_addresses() {
        let server = Ipv4Addr::new(10, 0, 0, 1);
        let attributes: Attributes =
            [("net", "10.1.0.0"), ("mask", "255.255.0.0"), ("gateway", "<xcatmaster>")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into();
        let network = Network::read(&attributes, server).unwrap();
        assert!(network.contains(Ipv4Addr::new(10, 1, 255, 3)));
        assert!(!network.contains(Ipv4Addr::new(10, 2, 0, 0)));
        assert_eq!(network.gateway, Some(server));
    }
}
