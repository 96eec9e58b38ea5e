//! The names that loaders ask for. Each loader tries several names, from the most to the least particular; only those
//! that name one machine are recognised, so that no machine ever gets a configuration meant for many.

use std::net::Ipv4Addr;

use sysclone_protocol::names::Mac;
use uuid::Uuid;

/// Network loaders whose configuration is rendered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loader {
    /// iPXE, in a ROM or chained (xCAT's `xnba`).
    Ipxe,
    /// PXELINUX and lpxelinux (xCAT's `pxe`).
    Pxelinux,
    /// GRUB 2 (xCAT's `grub2`).
    Grub2,
    /// Petitboot, on OpenPOWER machines.
    Petitboot,
    /// yaboot, on Open Firmware machines.
    Yaboot,
}

/// How a configuration's name identifies the machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientKey {
    /// By the Ethernet address it booted from.
    Mac(Mac),
    /// By the address it was given.
    Ip(Ipv4Addr),
    /// By its SMBIOS UUID.
    Uuid(Uuid),
}

/// One loader's question for one machine's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConfigRequest {
    /// Who asks.
    pub loader: Loader,
    /// For which machine.
    pub client: ClientKey,
}

impl Loader {
    /// The name under which `mac`'s configuration is asked for; what DHCP gives iPXE as its file name.
    #[must_use]
    pub fn config_path(self, mac: &Mac) -> String {
        let mac = mac.dashed();
        match self {
            Self::Ipxe => format!("ipxe/{mac}"),
            Self::Pxelinux => format!("pxelinux.cfg/01-{mac}"),
            Self::Grub2 => format!("grub2/grub.cfg-01-{mac}"),
            Self::Petitboot => format!("petitboot/01-{mac}"),
            Self::Yaboot => format!("yaboot.conf-{mac}"),
        }
    }
}

/// Reads a requested name, TFTP or HTTP, relative to the boot name space. Letters may be of either case and leading
/// slashes are ignored, because firmware differs in both.
#[must_use]
pub fn recognise(path: &str) -> Option<ConfigRequest> {
    let path = path.trim_start_matches('/').to_ascii_lowercase();
    let Some((directory, name)) = path.split_once('/') else { return at_the_top(&path) };
    let (loader, client) = match directory {
        "ipxe" => (Loader::Ipxe, ClientKey::Mac(mac(name)?)),
        "pxelinux.cfg" => (Loader::Pxelinux, client(name)?),
        "grub2" => (Loader::Grub2, client(name.strip_prefix("grub.cfg-")?)?),
        "petitboot" => (Loader::Petitboot, client(name)?),
        "etc" => (Loader::Yaboot, ClientKey::Ip(address(name)?)),
        _ => return None,
    };
    Some(ConfigRequest { loader, client })
}

/// What is asked for outside any folder: yaboot's file for a MAC, which it writes without the `01-`, and Petitboot's for
/// an address.
fn at_the_top(name: &str) -> Option<ConfigRequest> {
    let (loader, client) = match name.strip_prefix("yaboot.conf-") {
        Some(name) => (Loader::Yaboot, ClientKey::Mac(mac(name)?)),
        None => (Loader::Petitboot, ClientKey::Ip(address(name)?)),
    };
    Some(ConfigRequest { loader, client })
}

/// The three forms that PXELINUX and GRUB share: `01-<mac>` (01 is Ethernet in the ARP registry), an address as eight
/// hexadecimal digits, a UUID. Shorter hexadecimal names stand for whole networks and are nobody's.
fn client(name: &str) -> Option<ClientKey> {
    if let Some(name) = name.strip_prefix("01-") {
        return mac(name).map(ClientKey::Mac);
    }
    if let Some(address) = address(name) {
        return Some(ClientKey::Ip(address));
    }
    let dashed = name.len() == uuid::fmt::Hyphenated::LENGTH;
    Uuid::try_parse(name).ok().filter(|_| dashed).map(ClientKey::Uuid)
}

/// An address as eight hexadecimal digits.
fn address(name: &str) -> Option<Ipv4Addr> {
    let whole = name.len() == 8 && name.bytes().all(|b| b.is_ascii_hexdigit());
    u32::from_str_radix(name, 16).ok().filter(|_| whole).map(Ipv4Addr::from)
}

/// A MAC with one kind of separator in the right places.
fn mac(name: &str) -> Option<Mac> {
    let separated =
        |separator| name.split(separator).count() == 6 && name.split(separator).all(|b| b.len() == 2);
    if separated('-') || separated(':') { name.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> Option<(Loader, String)> {
        recognise(path).map(|request| {
            let key = match request.client {
                ClientKey::Mac(mac) => mac.to_string(),
                ClientKey::Ip(ip) => ip.to_string(),
                ClientKey::Uuid(uuid) => uuid.to_string(),
            };
            (request.loader, key)
        })
    }

    #[test]
    fn names_that_loaders_ask_for_are_recognised_in_either_case() {
        let uuid = "4c4c4544-0044-4810-8031-b5c04f4e4a32";
        let mac = "52:54:00:ab:00:02";
        for (path, loader, client) in [
            ("ipxe/52-54-00-ab-00-02", Loader::Ipxe, mac),
            ("ipxe/52:54:00:AB:00:02", Loader::Ipxe, mac),
            ("/ipxe/52-54-00-AB-00-02", Loader::Ipxe, mac),
            ("pxelinux.cfg/01-52-54-00-ab-00-02", Loader::Pxelinux, mac),
            ("PXELINUX.CFG/01-52-54-00-AB-00-02", Loader::Pxelinux, mac),
            ("pxelinux.cfg/0A4D000C", Loader::Pxelinux, "10.77.0.12"),
            ("pxelinux.cfg/4C4C4544-0044-4810-8031-B5C04F4E4A32", Loader::Pxelinux, uuid),
            ("grub2/grub.cfg-01-52-54-00-ab-00-02", Loader::Grub2, mac),
            ("//grub2/grub.cfg-0A4D000C", Loader::Grub2, "10.77.0.12"),
            ("grub2/grub.cfg-0a4d000c", Loader::Grub2, "10.77.0.12"),
            ("grub2/grub.cfg-4c4c4544-0044-4810-8031-b5c04f4e4a32", Loader::Grub2, uuid),
            ("petitboot/01-52-54-00-ab-00-02", Loader::Petitboot, mac),
            ("petitboot/0A4D000C", Loader::Petitboot, "10.77.0.12"),
            ("0A4D000C", Loader::Petitboot, "10.77.0.12"),
            ("yaboot.conf-52-54-00-ab-00-02", Loader::Yaboot, mac),
            ("etc/0a4d000c", Loader::Yaboot, "10.77.0.12"),
        ] {
            assert_eq!(key(path), Some((loader, client.to_owned())), "{path}");
        }
    }

    #[test]
    fn names_of_networks_defaults_and_other_files_are_not() {
        for path in [
            "pxelinux.cfg/default",
            "pxelinux.cfg/0A4D000",
            "pxelinux.cfg/0",
            "pxelinux.cfg/52-54-00-ab-00-02",
            "pxelinux.cfg/20-52-54-00-ab-00-02",
            "pxelinux.cfg/4c4c454400444810_8031b5c04f4e4a32",
            "pxelinux.cfg/4c4c45440044481080 31b5c04f4e4a32",
            "grub2/grub.cfg",
            "grub2/grub.cfg-",
            "grub2/grub.cfg-0A4D",
            "grub2/i386-pc/normal.mod",
            "ipxe/525400ab0002",
            "ipxe/52-54-00-ab-00",
            "ipxe/5-254-00-ab-00-02",
            "ipxe/../ipxe/52-54-00-ab-00-02",
            "ipxe",
            "",
            "/",
            "lpxelinux.0",
            "0A4D000",
            "+A4D000C",
            "yaboot",
            "yaboot.conf",
            "yaboot.conf-01-52-54-00-ab-00-02",
            "etc/01-52-54-00-ab-00-02",
            "etc/passwd",
            "petitboot/n1",
            "pxelinux.cfg/01-52-54-00-ab-00-0é",
        ] {
            assert_eq!(key(path), None, "{path}");
        }
    }

    #[test]
    fn the_path_given_to_a_loader_is_the_one_it_is_recognised_by() {
        let mac: Mac = "52:54:00:ab:00:02".parse().unwrap();
        let power = [Loader::Petitboot, Loader::Yaboot];
        for loader in [Loader::Ipxe, Loader::Pxelinux, Loader::Grub2].into_iter().chain(power) {
            let request = recognise(&loader.config_path(&mac)).unwrap();
            assert_eq!(request, ConfigRequest { loader, client: ClientKey::Mac(mac) });
        }
    }
}
