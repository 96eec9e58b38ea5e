//! Which boot file a client gets.

use sysclone_protocol::names::Mac;

use super::client::{Architecture, Client, Program};
use super::directory::{NetBoot, Reservation, ServerFacts};

/// What a client is told about booting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Boot {
    /// Nothing: it did not ask.
    Unasked,
    /// This file.
    File(BootFile),
    /// It asked, and there is no loader for it.
    NoLoader,
}

/// A boot file and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BootFile {
    /// TFTP name or URL.
    pub name: String,
    /// PXELINUX's configuration file (RFC 5071), which spares it the search.
    pub pxelinux: Option<Configuration>,
    /// The vendor class that the client wants to see in the reply; none when it is no client of PXE.
    pub class: Option<&'static str>,
}

/// What RFC 5071's options say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Configuration {
    /// Option 209: the configuration's name.
    pub file: String,
    /// Option 210: what stands before every name. Without it names are relative to where the loader came from.
    pub prefix: Option<String>,
}

const PXE_CLASS: &str = "PXEClient";
/// UEFI specification 2.10, section 24.7.3.1: an offer for HTTP boot has this class and a URL as boot file.
const HTTP_CLASS: &str = "HTTPClient";

/// What loaders a firmware can start.
enum Firmware {
    Bios,
    /// x86_64 UEFI.
    Uefi,
    /// POWER: Open Firmware, or Petitboot on OPAL.
    Power {
        /// Whether it is Petitboot that asks.
        is_opal: bool,
    },
}

/// Decides for `client`, which is the node of this reservation.
pub(super) fn boot(client: Client, node: &Reservation, server: &ServerFacts) -> Boot {
    let Client::Booting { program, architecture } = client else { return Boot::Unasked };
    let Some(firmware) = firmware((program, architecture), node.is_power) else { return Boot::NoLoader };
    let (netboot, mac) = (node.netboot, &node.mac);
    let base = format!("http://{}:{}/boot/", server.address, server.http_port);
    let file = match firmware {
        Firmware::Bios => bios(program, netboot, (mac, &base)),
        Firmware::Uefi => uefi(program, netboot, (mac, &base)),
        Firmware::Power { is_opal } => power(is_opal, netboot, (mac, &base)),
    };
    Boot::File(file)
}

fn firmware((program, architecture): (Program, Architecture), is_power: bool) -> Option<Firmware> {
    match (program, architecture) {
        (_, Architecture::Number(12)) => Some(Firmware::Power { is_opal: false }),
        (_, Architecture::Number(14)) => Some(Firmware::Power { is_opal: true }),
        // Open Firmware of old machines speaks BOOTP and says nothing of itself.
        (Program::Bootp | Program::Other, Architecture::Unsaid) if is_power => {
            Some(Firmware::Power { is_opal: false })
        }
        // UEFI always says what it is; what does not, and what speaks only BOOTP, are the ROMs of old PCs.
        (Program::Pxe | Program::Ipxe, Architecture::BIOS | Architecture::Unsaid) | (Program::Bootp, _) => {
            Some(Firmware::Bios)
        }
        // 9 was meant for x86_64, firmware says 7: the registry and the errata of RFC 4578.
        (Program::Pxe | Program::Ipxe, Architecture::Number(7 | 9))
        | (Program::HttpBoot, Architecture::Number(16)) => Some(Firmware::Uefi),
        (Program::Pxe | Program::Ipxe | Program::HttpBoot | Program::Other, _) => None,
    }
}

fn bios(program: Program, netboot: NetBoot, (mac, base): (&Mac, &str)) -> BootFile {
    let file = |name: &str| BootFile { name: name.to_owned(), pxelinux: None, class: Some(PXE_CLASS) };
    match (netboot, program) {
        (NetBoot::Auto | NetBoot::Xnba, Program::Ipxe) => file(&script(mac, base)),
        (NetBoot::Auto | NetBoot::Xnba, _) => file("undionly.kpxe"),
        (NetBoot::Pxe, _) => BootFile { pxelinux: Some(pxelinux(mac, None)), ..file("pxelinux.0") },
        (NetBoot::PxeHttp, _) => {
            BootFile { pxelinux: Some(pxelinux(mac, Some(base))), ..file("lpxelinux.0") }
        }
        (NetBoot::Grub2 | NetBoot::Petitboot | NetBoot::Yaboot, _) => file("grub2/i386-pc/core.0"),
    }
}

/// Open Firmware takes any client program as boot file. Petitboot is started already and only looks for a configuration:
/// RFC 5071's options say where.
fn power(is_opal: bool, netboot: NetBoot, (mac, base): (&Mac, &str)) -> BootFile {
    let file = |name: &str| BootFile { name: name.to_owned(), pxelinux: None, class: None };
    if is_opal || netboot == NetBoot::Petitboot {
        let config =
            Configuration { file: format!("petitboot/01-{}", mac.dashed()), prefix: Some(base.to_owned()) };
        return BootFile { pxelinux: Some(config), ..file("") };
    }
    match netboot {
        NetBoot::Yaboot => file("yaboot"),
        _ => file("grub2/powerpc-ieee1275/core.elf"),
    }
}

/// iPXE that is already running is given its script, whatever else it could start: it got past Secure Boot, if that
/// is on. The signed GRUB behind shim cannot speak HTTP, so that clients of HTTP boot get iPXE whatever was chosen.
fn uefi(program: Program, netboot: NetBoot, (mac, base): (&Mac, &str)) -> BootFile {
    let (name, class) = match (program, netboot) {
        (Program::Ipxe, NetBoot::Auto | NetBoot::Xnba) => (script(mac, base), PXE_CLASS),
        (Program::HttpBoot, _) => (format!("{base}snponly.efi"), HTTP_CLASS),
        (_, NetBoot::Xnba) => ("snponly.efi".to_owned(), PXE_CLASS),
        (_, _) => ("efi/shimx64.efi".to_owned(), PXE_CLASS),
    };
    BootFile { name, pxelinux: None, class: Some(class) }
}

fn pxelinux(mac: &Mac, prefix: Option<&str>) -> Configuration {
    Configuration { file: format!("pxelinux.cfg/01-{}", mac.dashed()), prefix: prefix.map(str::to_owned) }
}

fn script(mac: &Mac, base: &str) -> String {
    format!("{base}ipxe/{}", mac.dashed())
}
