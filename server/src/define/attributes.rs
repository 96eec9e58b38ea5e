//! What attributes may be called and what known ones may hold. Attributes that are not known here are kept as they
//! are.

use std::net::Ipv4Addr;

use sysclone_protocol::names::{ImageName, NodeName};

use super::disk_rules::parse_disk_rules;
use super::network::{is_address_list, parse_dynamic, parse_mask, parse_mode};
use super::node::{parse_macs, parse_netboot};
use crate::noderange::{RangeError, Select};
use crate::policy::check_rule_attribute;
use crate::trust::{MASK, is_secret};
use crate::update::{ATTRIBUTE as RULES, check_rules};
use crate::wire::ObjectType;

/// Longest attribute name and value, in bytes.
const MAX_NAME: usize = 64;
const MAX_VALUE: usize = 64 << 10;

/// Why an attribute cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// Not a name of an attribute.
    #[error("'{attr}' is not a valid attribute name for an object type of '{kind}'.")]
    Name {
        /// The name.
        attr: String,
        /// The object's type.
        kind: &'static str,
    },
    /// A value that the attribute cannot have.
    #[error("'{value}' is not a valid value for {attr}: {problem}")]
    Value {
        /// The attribute.
        attr: String,
        /// The value.
        value: String,
        /// What is wrong.
        problem: String,
    },
    /// An attribute that the server writes.
    #[error("'{0}' is set by the server and cannot be changed.")]
    ReadOnly(String),
}

impl AttributeError {
    pub(super) fn value(attr: &str, value: &str, problem: String) -> Self {
        let value = if is_secret(attr) { MASK } else { value };
        Self::Value { attr: attr.to_owned(), value: value.to_owned(), problem }
    }
}

/// The only object of type `site`.
pub(crate) const SITE: &str = "clustersite";

/// Attributes of nodes that show where the node stands.
pub(super) const VIEWS: &[&str] = &["status", "statustime", "currstate"];

/// Checks an object's name.
pub(super) fn check_object_name(kind: ObjectType, name: &str) -> Result<(), String> {
    match kind {
        ObjectType::Node => name.parse::<NodeName>().map(drop).map_err(|error| error.to_string()),
        ObjectType::Osimage => name.parse::<ImageName>().map(drop).map_err(|error| error.to_string()),
        ObjectType::Group | ObjectType::Network => {
            // The same characters are safe in all places where such names are used.
            name.parse::<ImageName>().map(drop).map_err(|_| format!("'{name}' is not a valid object name"))
        }
        ObjectType::Site if name == SITE => Ok(()),
        ObjectType::Site => Err(format!("'{name}' is not the name of the site, which is '{SITE}'")),
        _ => {
            let plain = |c: char| c.is_ascii_graphic() && !",'\"`\\".contains(c);
            let good = !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(plain);
            if good { Ok(()) } else { Err(format!("'{name}' is not a valid object name")) }
        }
    }
}

/// Checks an attribute that is to be written; an empty value unsets it and is always good.
pub(super) fn check_attribute(kind: ObjectType, attr: &str, value: &str) -> Result<(), AttributeError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if attr.is_empty() || attr.len() > MAX_NAME || !attr.bytes().all(plain) {
        return Err(AttributeError::Name { attr: attr.to_owned(), kind: kind.word() });
    }
    if kind == ObjectType::Node && VIEWS.contains(&attr) {
        return Err(AttributeError::ReadOnly(attr.to_owned()));
    }
    if value.is_empty() {
        return Ok(());
    }
    if is_secret(attr) && value == MASK {
        let problem =
            "this is what lsdef shows in place of passwords (lsdef --secrets shows them)".to_owned();
        return Err(AttributeError::value(attr, value, problem));
    }
    let problem = if value.len() > MAX_VALUE {
        Some(format!("it is longer than {MAX_VALUE} bytes"))
    } else if value.chars().any(char::is_control) {
        Some("control characters are not allowed".to_owned())
    } else {
        match kind {
            ObjectType::Node | ObjectType::Group | ObjectType::Osimage if attr == RULES => {
                check_rules(value).err()
            }
            ObjectType::Node => node_problem(attr, value),
            ObjectType::Network => network_problem(attr, value),
            ObjectType::Group if attr == "wherevals" => {
                read_conditions(value).err().map(|error| error.to_string())
            }
            ObjectType::Policy => check_rule_attribute(attr, value),
            ObjectType::Osimage if attr == "keep" => crate::images::parse_keep(value).err(),
            ObjectType::Osimage if attr == "bootkernel" => {
                let good = matches!(value, "own" | "golden");
                (!good).then(|| "own or golden is expected".to_owned())
            }
            ObjectType::Site => network_problem(attr, value).or_else(|| site_problem(attr, value)),
            _ => None,
        }
    };
    problem.map_or(Ok(()), |problem| Err(AttributeError::value(attr, value, problem)))
}

fn node_problem(attr: &str, value: &str) -> Option<String> {
    let must = |good: bool, expected: &str| (!good).then(|| format!("{expected} is expected"));
    match attr {
        "mac" => parse_macs(value).err(),
        "ip" => must(is_host(value), "the IPv4 address of one machine"),
        "netboot" => must(parse_netboot(value).is_some(), "auto, xnba, pxe, grub2, petitboot or yaboot"),
        "installdisk" => parse_disk_rules(value).err().map(|error| error.to_string()),
        "installshell" | "updatepull" => must(parse_yes(value).is_some(), "yes or no"),
        "serialport" => must(value.parse::<u8>().is_ok(), "a port number from 0"),
        "serialspeed" => must(value.parse::<u32>().is_ok(), "a number of bits per second"),
        "arch" => must(matches!(value, "x86_64" | "ppc64le" | "ppc64"), "x86_64, ppc64le or ppc64"),
        "hostname" => value.parse::<NodeName>().err().map(|error| error.to_string()),
        "uuid" => must(uuid::Uuid::try_parse(value).is_ok(), "a UUID"),
        "addkcmdline" => kernel_args_problem(value),
        _ => None,
    }
}

fn kernel_args_problem(value: &str) -> Option<String> {
    value.parse::<sysclone_bootloaders::netboot::KernelArgs>().err().map(|error| error.to_string())
}

/// The comparisons of a dynamic group, `mgt==ipmi::arch=~x86`, all of which must hold.
pub(super) fn read_conditions(text: &str) -> Result<Vec<Select>, RangeError> {
    text.split("::").map(|part| part.trim().parse()).collect()
}

/// A range that cannot be read would make every verb fail.
fn site_problem(attr: &str, value: &str) -> Option<String> {
    match attr {
        "excludenodes" => value.parse::<crate::noderange::Range>().err().map(|error| error.to_string()),
        _ => None,
    }
}

fn network_problem(attr: &str, value: &str) -> Option<String> {
    let must = |good: bool, expected: &str| (!good).then(|| format!("{expected} is expected"));
    match attr {
        "net" => must(value.parse::<Ipv4Addr>().is_ok(), "an IPv4 network address"),
        "mask" => must(parse_mask(value).is_some(), "a network mask such as 255.255.255.0"),
        "discovery" => must(parse_yes(value).is_some(), "yes or no"),
        "addkcmdline" => kernel_args_problem(value),
        "dynamicrange" => parse_dynamic(value).err(),
        "dhcpmode" => must(parse_mode(value).is_some(), "full, proxy or off"),
        "gateway" | "nameservers" => must(is_address_list(value), "a list of IPv4 addresses"),
        _ => None,
    }
}

fn is_host(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok_and(|ip| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast())
}

/// `yes`/`no` in the spellings that xCAT's tables use.
pub(super) fn parse_yes(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "1" | "true" => Some(true),
        "no" | "n" | "0" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_attributes_are_checked_and_others_kept() {
        for (kind, attr, value, good) in [
            (ObjectType::Node, "mac", "52:54:00:00:00:01", true),
            (ObjectType::Node, "mac", "nonsense", false),
            (ObjectType::Node, "ip", "10.0.0.300", false),
            (ObjectType::Node, "netboot", "pxe-http", true),
            (ObjectType::Node, "arch", "riscv", false),
            (ObjectType::Node, "hostname", "n1.example.org", true),
            (ObjectType::Node, "hostname", "n1;reboot", false),
            (ObjectType::Node, "addkcmdline", "quiet nomodeset", true),
            (ObjectType::Node, "addkcmdline", "x=${y}", false),
            (ObjectType::Node, "bmcpassword", "any thing $&", true),
            (ObjectType::Node, "comments", "two\nlines", false),
            (ObjectType::Node, "st atus", "x", false),
            (ObjectType::Node, "status", "booted", false),
            (ObjectType::Node, "mac", "", true),
            (ObjectType::Osimage, "status", "x", true),
            (ObjectType::Osimage, "bootkernel", "golden", true),
            (ObjectType::Osimage, "bootkernel", "6.1", false),
            (ObjectType::Network, "mask", "255.0.255.0", false),
            (ObjectType::Network, "gateway", "<xcatmaster>", true),
            (ObjectType::Network, "dhcpmode", "proxy", true),
            (ObjectType::Network, "dhcpmode", "yes", false),
            (ObjectType::Site, "nameservers", "10.0.0.1,10.0.0.2", true),
        ] {
            assert_eq!(check_attribute(kind, attr, value).is_ok(), good, "{attr}={value}");
        }
    }
}
