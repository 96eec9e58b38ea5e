//! Which boot file a client gets.

use sysclone_protocol::names::Mac;

use super::client::{Architecture, Client, Program};
use super::directory::{NetBoot, ServerFacts};

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
    /// PXELINUX's configuration file and path prefix (RFC 5071), which spare it the search.
    pub pxelinux: Option<(String, String)>,
}

/// Decides for `client`, whose node has the attribute `netboot`.
pub(super) fn boot(client: Client, netboot: NetBoot, mac: &Mac, server: &ServerFacts) -> Boot {
    let Client::Booting { program, architecture } = client else { return Boot::Unasked };
    let bios = match program {
        // UEFI always says what it is; what does not, and what speaks only BOOTP, are the ROMs of old PCs.
        Program::Pxe | Program::Ipxe => matches!(architecture, Architecture::BIOS | Architecture::Unsaid),
        Program::Bootp => true,
        Program::HttpBoot | Program::Other => false,
    };
    if !bios {
        return Boot::NoLoader;
    }
    let base = format!("http://{}:{}/boot/", server.address, server.http_port);
    let mac = mac.dashed();
    let file = |name: &str| BootFile { name: name.to_owned(), pxelinux: None };
    Boot::File(match (netboot, program) {
        (NetBoot::Xnba, Program::Ipxe) => file(&format!("{base}ipxe/{mac}")),
        (NetBoot::Xnba, _) => file("undionly.kpxe"),
        (NetBoot::Pxe, _) => {
            let pxelinux = Some((format!("pxelinux.cfg/01-{mac}"), base));
            BootFile { name: "lpxelinux.0".to_owned(), pxelinux }
        }
        (NetBoot::Grub2, _) => file("grub2/i386-pc/core.0"),
    })
}
