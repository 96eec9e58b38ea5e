//! A node's definition as types.

use std::net::Ipv4Addr;

use sysclone_protocol::names::{Mac, NodeName};

use super::attributes::{AttributeError, parse_yes};
use super::disk_rules::{DiskRule, parse_disk_rules};
use crate::db::Attributes;
use crate::dhcp::NetBoot;

/// The serial console of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serial {
    /// Number of the port, from 0.
    pub port: u8,
    /// Bits per second.
    pub speed: u32,
}

impl Default for Serial {
    fn default() -> Self {
        Self { port: 0, speed: 115_200 }
    }
}

/// What a node's attributes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Its boot interfaces, the first one before others.
    pub macs: Vec<Mac>,
    /// Its address.
    pub ip: Option<Ipv4Addr>,
    /// Its architecture, when said.
    pub arch: Option<String>,
    /// Its system UUID, lower case, when said.
    pub uuid: Option<String>,
    /// The host name its clone gets.
    pub hostname: String,
    /// Loader that it is given.
    pub netboot: NetBoot,
    /// Its serial console; an error is what is missing, in words.
    pub serial: Result<Serial, &'static str>,
    /// Disks to choose.
    pub disk_rules: Vec<DiskRule>,
    /// Whether a failed installation may leave a shell on the console.
    pub allow_shell: bool,
    /// Whether its clone may update itself.
    pub update_pull: bool,
    /// Words added to its kernel command line.
    pub kernel_args: String,
}

impl Node {
    /// Reads a node's attributes.
    ///
    /// # Errors
    /// One of them is not valid; such a value cannot be written, but may be there from elsewhere.
    pub fn read(name: &NodeName, attributes: &Attributes) -> Result<Self, AttributeError> {
        let get = |attr: &str| attributes.get(attr).map(String::as_str).filter(|value| !value.is_empty());
        let wrong =
            |attr: &str, problem: String| AttributeError::value(attr, get(attr).unwrap_or(""), problem);
        let ip =
            get("ip").map(str::parse).transpose().map_err(|_| wrong("ip", "not an IPv4 address".into()))?;
        Ok(Self {
            name: name.clone(),
            macs: get("mac").map_or(Ok(Vec::new()), parse_macs).map_err(|problem| wrong("mac", problem))?,
            ip,
            arch: get("arch").map(str::to_owned),
            uuid: get("uuid").map(str::to_ascii_lowercase),
            hostname: get("hostname").unwrap_or(name.as_str()).to_owned(),
            netboot: get("netboot")
                .map_or(Some(NetBoot::default()), parse_netboot)
                .ok_or_else(|| wrong("netboot", NETBOOT_WORDS.into()))?,
            serial: read_serial(get("serialport"), get("serialspeed")),
            disk_rules: get("installdisk")
                .map_or(Ok(Vec::new()), parse_disk_rules)
                .map_err(|error| wrong("installdisk", error.to_string()))?,
            allow_shell: get("installshell")
                .map_or(Some(false), parse_yes)
                .ok_or_else(|| wrong("installshell", "yes or no is expected".into()))?,
            update_pull: get("updatepull")
                .map_or(Some(false), parse_yes)
                .ok_or_else(|| wrong("updatepull", "yes or no is expected".into()))?,
            kernel_args: get("addkcmdline").unwrap_or_default().to_owned(),
        })
    }
}

const NETBOOT_WORDS: &str = "known are auto, xnba, pxe, pxe-http, grub2, petitboot, yaboot";

/// The loader that a `netboot` word stands for.
pub(super) fn parse_netboot(word: &str) -> Option<NetBoot> {
    match word {
        "auto" => Some(NetBoot::Auto),
        "xnba" | "ipxe" => Some(NetBoot::Xnba),
        "pxe" => Some(NetBoot::Pxe),
        "pxe-http" => Some(NetBoot::PxeHttp),
        "grub2" | "grub2-tftp" | "grub2-http" => Some(NetBoot::Grub2),
        "petitboot" => Some(NetBoot::Petitboot),
        "yaboot" => Some(NetBoot::Yaboot),
        _ => None,
    }
}

/// `mac`, or `mac!host|mac!host…` as xCAT writes several interfaces.
pub(super) fn parse_macs(text: &str) -> Result<Vec<Mac>, String> {
    let mut macs = Vec::new();
    for part in text.split('|') {
        let mac = part.split_once('!').map_or(part, |(mac, _)| mac).trim();
        let mac: Mac = mac.parse().map_err(|error: sysclone_protocol::names::NameError| error.to_string())?;
        if mac.0[0] & 1 == 1 {
            return Err(format!("'{mac}' is a group address, not that of an interface"));
        }
        if !macs.contains(&mac) {
            macs.push(mac);
        }
    }
    Ok(macs)
}

/// xCAT wants both or none.
fn read_serial(port: Option<&str>, speed: Option<&str>) -> Result<Serial, &'static str> {
    match (port, speed) {
        (None, None | Some(_)) => Ok(Serial::default()),
        (Some(_), None) => Err("serialport defined, but no serialspeed for this node in nodehm table"),
        (Some(port), Some(speed)) => match (port.parse(), speed.parse()) {
            (Ok(port), Ok(speed)) => Ok(Serial { port, speed }),
            _ => Err("serialport and serialspeed must be numbers (0 and 115200)"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Node, String> {
        let attributes = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Node::read(&"n1".parse().unwrap(), &attributes).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_definition_has_defaults() {
        let node = read(&[]).unwrap();
        assert_eq!(
            (node.netboot, node.serial, node.hostname.as_str()),
            (NetBoot::Auto, Ok(Serial::default()), "n1")
        );
        assert!(node.macs.is_empty() && !node.allow_shell);
    }

    #[test]
    fn several_interfaces_are_read_as_xcat_writes_them() {
        let node =
            read(&[("mac", "52:54:00:00:00:01!n1-eth0|52-54-00-00-00-02!*NOIP*|525400000001")]).unwrap();
        let macs: Vec<String> = node.macs.iter().map(Mac::to_string).collect();
        assert_eq!(macs, ["52:54:00:00:00:01", "52:54:00:00:00:02"]);
    }

    #[test]
    fn wrong_values_are_named() {
        for (attr, value) in [
            ("mac", "52:54:00"),
            ("mac", "01:00:5e:00:00:01"),
            ("ip", "10.0.0"),
            ("netboot", "floppy"),
            ("installdisk", "sda"),
            ("installshell", "maybe"),
        ] {
            let error = read(&[(attr, value)]).unwrap_err();
            assert!(error.contains(attr) && error.contains(value), "{error}");
        }
        assert!(read(&[("serialport", "1")]).unwrap().serial.is_err());
    }
}
