//! What an untrusted machine says of itself, cut to size before it is kept, and compared with what nodes say.

use sysclone_protocol::discover::Machine;
use sysclone_protocol::names::Mac;
use uuid::Uuid;

use crate::db::Attributes;
use crate::define::Snapshot;

/// Longest text that is kept of a machine, in characters.
const MAX_TEXT: usize = 128;
/// Interfaces and disks that are kept.
const MAX_NICS: usize = 64;
const MAX_DISKS: usize = 256;

/// What vendors ship machines with that nobody gave a serial number.
const NO_SERIAL: &[&str] = &[
    "0",
    "none",
    "unknown",
    "default string",
    "not specified",
    "not applicable",
    "system serial number",
    "to be filled by o.e.m.",
    "0123456789",
    "123456789",
];

/// The claims, fit to be kept and shown.
#[must_use]
pub(super) fn tidy(mut machine: Machine) -> Machine {
    let text = |text: &mut Option<String>| {
        let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        *text = text
            .take()
            .map(|text| text.trim().chars().take(MAX_TEXT).map(plain).collect::<String>())
            .filter(|text| !text.is_empty());
    };
    let word = |word: &mut String| {
        let mut whole = Some(std::mem::take(word));
        text(&mut whole);
        *word = whole.unwrap_or_default();
    };
    let Machine { inventory, vendor, product, cpu_model, cpus: _, secure_boot: _, ports, bmc } = &mut machine;
    for claim in [vendor, product, cpu_model, bmc, &mut inventory.serial, &mut inventory.model] {
        text(claim);
    }
    let uuid = inventory.uuid.as_deref().and_then(|text| Uuid::try_parse(text).ok());
    inventory.uuid = uuid.map(|uuid| uuid.to_string());
    word(&mut inventory.arch);
    inventory.nics.truncate(MAX_NICS);
    ports.truncate(MAX_NICS);
    inventory.disks.truncate(MAX_DISKS);
    for nic in &mut inventory.nics {
        word(&mut nic.name);
        text(&mut nic.driver);
    }
    for port in ports {
        text(&mut port.pci);
    }
    for disk in &mut inventory.disks {
        word(&mut disk.name);
        for claim in [
            &mut disk.transport,
            &mut disk.model,
            &mut disk.serial,
            &mut disk.wwn,
            &mut disk.path,
            &mut disk.held_by,
        ] {
            text(claim);
        }
    }
    machine
}

/// What a machine is listed by: its UUID, or one that is made of its interface when it has none.
#[must_use]
pub(super) fn uuid_of(machine: &Machine, mac: &Mac) -> String {
    machine.inventory.uuid.clone().unwrap_or_else(|| {
        let hash = blake3::hash(&mac.0);
        uuid::Builder::from_random_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
            .into_uuid()
            .to_string()
    })
}

/// What nodes say about a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// Nothing.
    None,
    /// It is this node, known by this.
    One(String, &'static str),
    /// It could be any of these.
    Several(Vec<String>),
}

/// Finds the node that a machine is, by facts that no switch is asked for.
#[must_use]
pub(super) fn find(snapshot: &Snapshot, machine: &Machine, mac: &Mac) -> Match {
    let fits = |name: &str| Some((name.to_owned(), by(snapshot, name, (machine, mac))?));
    let mut found: Vec<_> = snapshot.names().filter_map(fits).collect();
    match (found.pop(), found.is_empty()) {
        (None, _) => Match::None,
        (Some((node, method)), true) => Match::One(node, method),
        (Some(last), false) => {
            found.push(last);
            Match::Several(found.into_iter().map(|(name, _)| name).collect())
        }
    }
}

/// By what a node says that it is this machine. What contradicts decides.
fn by(snapshot: &Snapshot, name: &str, (machine, mac): (&Machine, &Mac)) -> Option<&'static str> {
    let attributes = snapshot.attributes(name)?;
    let same = |attr: &str, claim: Option<&str>| {
        let says = attributes.get(attr).map(|text| text.trim()).filter(|text| !text.is_empty())?;
        Some(says.eq_ignore_ascii_case(claim?))
    };
    let uuid = same("uuid", machine.inventory.uuid.as_deref());
    let serial = same("serial", serial_of(machine));
    let macs = snapshot.node(name).and_then(Result::ok).map(|node| node.macs.as_slice()).unwrap_or_default();
    let has_mac = macs.contains(mac) || machine.inventory.nics.iter().any(|nic| macs.contains(&nic.mac));
    match (uuid, serial) {
        (Some(false), _) | (_, Some(false)) => None,
        (_, Some(true)) => Some("mtms"),
        (Some(true), None) => Some("uuid"),
        (None, None) => has_mac.then_some("mac"),
    }
}

/// A machine's serial number, when somebody gave it one.
pub(super) fn serial_of(machine: &Machine) -> Option<&str> {
    let serial = machine.inventory.serial.as_deref()?;
    (!NO_SERIAL.contains(&serial.to_ascii_lowercase().as_str())).then_some(serial)
}

/// What a node gets from the machine that it is, where it does not say so itself. Nothing that a definition would
/// compute with is taken over.
#[must_use]
pub(super) fn attributes(before: &Attributes, machine: &Machine, mac: &Mac) -> Vec<(&'static str, String)> {
    let inventory = &machine.inventory;
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || " ._:-".contains(c));
    let arch = Some(inventory.arch.as_str()).filter(|arch| matches!(*arch, "x86_64" | "ppc64le" | "ppc64"));
    let known = [
        ("uuid", inventory.uuid.as_deref()),
        ("serial", serial_of(machine).filter(|text| plain(text))),
        ("mtm", machine.product.as_deref().filter(|text| plain(text))),
        ("arch", arch),
    ];
    let missing = known
        .into_iter()
        .filter(|(attr, _)| before.get(*attr).is_none_or(String::is_empty))
        .filter_map(|(attr, value)| Some((attr, value?.to_owned())));
    std::iter::once(("mac", mac.to_string())).chain(missing).collect()
}

/// A machine in a few words.
#[must_use]
pub(super) fn in_words(machine: &Machine) -> String {
    let inventory = &machine.inventory;
    let model = inventory.model.as_deref().unwrap_or("a machine of unknown model");
    format!(
        "{model}, serial {}, {} MiB of memory, {} processors, {} network interfaces, {} disks",
        inventory.serial.as_deref().unwrap_or("none"),
        inventory.memory_bytes >> 20,
        machine.cpus,
        inventory.nics.len(),
        inventory.disks.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::define::Definitions;
    use std::net::Ipv4Addr;
    use sysclone_protocol::inventory::{Inventory, Nic};

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const UUID: &str = "11111111-2222-3333-4444-555555555555";

    fn machine() -> Machine {
        let nic = Nic { name: "eth0".into(), mac: MAC, driver: None, link: true };
        let inventory = Inventory {
            uuid: Some(UUID.into()),
            serial: Some("SN1".into()),
            arch: "x86_64".into(),
            nics: vec![nic],
            ..Inventory::default()
        };
        Machine { inventory, product: Some("PC".into()), ..Machine::default() }
    }

    fn attributes_of(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(attr, value)| ((*attr).to_owned(), (*value).to_owned())).collect()
    }

    fn snapshot(nodes: &[(&str, &[(&str, &str)])]) -> Snapshot {
        let nodes = nodes.iter().map(|(name, pairs)| ((*name).to_owned(), attributes_of(pairs))).collect();
        Snapshot::new(Definitions { nodes, ..Definitions::default() }, Ipv4Addr::LOCALHOST)
    }

    #[test]
    fn a_machine_is_the_one_node_that_says_so() {
        let one = |name: &str, by| Match::One(name.to_owned(), by);
        for (nodes, expected) in [
            (&[("n1", &[("serial", "sn1")][..]), ("n2", &[("serial", "SN2")])][..], one("n1", "mtms")),
            (&[("n1", &[("uuid", UUID)])], one("n1", "uuid")),
            (&[("n1", &[("mac", "02:00:00:00:00:09|02:00:00:00:00:01")])], one("n1", "mac")),
            (&[("n1", &[("serial", "SN1"), ("uuid", "21111111-2222-3333-4444-555555555555")])], Match::None),
            (&[("n1", &[("ip", "10.0.0.1")])], Match::None),
            (
                &[("n1", &[("serial", "SN1")]), ("n2", &[("uuid", UUID)])],
                Match::Several(vec!["n1".into(), "n2".into()]),
            ),
        ] {
            assert_eq!(find(&snapshot(nodes), &machine(), &MAC), expected, "{nodes:?}");
        }
        let mut nameless = machine();
        nameless.inventory.serial = Some("To be filled by O.E.M.".into());
        let all = snapshot(&[("n1", &[("serial", "To be filled by O.E.M.")])]);
        assert_eq!(find(&all, &nameless, &MAC), Match::None);
    }

    #[test]
    fn what_a_machine_says_is_cut_to_size_and_shown_as_text() {
        let mut hostile = machine();
        hostile.product = Some(format!("\u{1b}[31m{}", "x".repeat(1000)));
        hostile.inventory.uuid = Some("; rm -rf /".into());
        hostile.inventory.nics = vec![hostile.inventory.nics[0].clone(); 1000];
        let tidy = tidy(hostile);
        let product = tidy.product.clone().unwrap();
        assert!(product.starts_with("?[31mxx") && product.len() == MAX_TEXT, "{product}");
        assert_eq!((&tidy.inventory.uuid, tidy.inventory.nics.len()), (&None, MAX_NICS));
        assert_eq!(uuid_of(&tidy, &MAC), uuid_of(&tidy, &MAC));
        assert_ne!(uuid_of(&tidy, &MAC), uuid_of(&tidy, &Mac([2; 6])));
    }

    #[test]
    fn a_node_keeps_what_it_says_itself() {
        let before = attributes_of(&[("arch", "ppc64le"), ("serial", "")]);
        let mut claims = machine();
        claims.product = Some("|x|y|".into());
        let expected = [("mac", MAC.to_string()), ("uuid", UUID.into()), ("serial", "SN1".into())];
        assert_eq!(attributes(&before, &claims, &MAC), expected);
    }
}
