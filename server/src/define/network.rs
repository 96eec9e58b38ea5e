//! Networks that nodes are on, and what the site says for all of them.

use std::net::Ipv4Addr;

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
        })
    }

    /// Whether an address is on it.
    #[must_use]
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
        u32::from(ip) & mask == u32::from(self.net) & mask
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
