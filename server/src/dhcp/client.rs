//! Who asks: a boot ROM, a loader, or an operating system that only wants its address.

use std::fmt;

use super::request::{Request, code};

/// What kind of client sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// An operating system: address and network only.
    System,
    /// Something that wants to boot.
    Booting {
        /// The program that asks.
        program: Program,
        /// The machine it runs on.
        architecture: Architecture,
    },
}

/// A program that boots from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// A PXE ROM or UEFI's PXE client.
    Pxe,
    /// iPXE or one of its relatives, in a ROM or chained.
    Ipxe,
    /// A UEFI client that boots from a URL.
    HttpBoot,
    /// A BOOTP client: no DHCP at all.
    Bootp,
    /// One that asks for a boot file without saying what it is, as SLOF and U-Boot do.
    Other,
}

/// The machine's processor and firmware, by its number in option 93 (RFC 4578 and the registry it made).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// The client did not say.
    Unsaid,
    /// A number of the registry; 0 is a PC with BIOS.
    Number(u16),
}

impl Architecture {
    /// A PC with BIOS.
    pub const BIOS: Self = Self::Number(0);
}

/// The user class of iPXE, its ancestor and xCAT's build of it.
const IPXE_CLASSES: [&[u8]; 3] = [b"iPXE", b"gPXE", b"xNBA"];
const BOOT_FILE_NAME: u8 = 67;

impl Client {
    /// Tells who sent `request`.
    pub(super) fn of(request: &Request) -> Self {
        let vendor = request.option(code::VENDOR_CLASS).unwrap_or_default();
        let program = if is_ipxe(request) {
            Program::Ipxe
        } else if vendor.starts_with(b"PXEClient") {
            Program::Pxe
        } else if vendor.starts_with(b"HTTPClient") {
            Program::HttpBoot
        } else if request.message.is_none() {
            Program::Bootp
        } else if request.wants(BOOT_FILE_NAME) {
            Program::Other
        } else {
            return Self::System;
        };
        Self::Booting { program, architecture: architecture(request, vendor) }
    }
}

/// iPXE puts its name into option 77 as plain text; RFC 3004 wants each class behind its length. Both are read.
fn is_ipxe(request: &Request) -> bool {
    let Some(class) = request.option(code::USER_CLASS) else { return false };
    let listed = match class.split_first() {
        Some((&length, rest)) => rest.get(..length.into()).unwrap_or_default(),
        None => return false,
    };
    IPXE_CLASSES.iter().any(|name| class == *name || listed == *name)
}

/// Option 93 may list several: BIOS wins, because a client that can do it is started by it. Without the option the
/// vendor class says the same as five digits.
fn architecture(request: &Request, vendor: &[u8]) -> Architecture {
    let numbers = request.option(code::ARCHITECTURE).unwrap_or_default().chunks_exact(2);
    let mut listed = numbers.map(|pair| Architecture::Number(u16::from_be_bytes([pair[0], pair[1]])));
    if let Some(first) = listed.next() {
        return if listed.any(|other| other == Architecture::BIOS) { Architecture::BIOS } else { first };
    }
    let mut fields = vendor.split(|&b| b == b':').skip(1);
    let digits = (fields.next() == Some(b"Arch")).then(|| fields.next()).flatten();
    let number = digits.and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| d.parse().ok());
    number.map_or(Architecture::Unsaid, Architecture::Number)
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Number(number) = self else { return f.write_str("a machine of unsaid architecture") };
        match number {
            0 => f.write_str("a PC with BIOS"),
            6 => f.write_str("32-bit x86 UEFI"),
            7 | 9 => f.write_str("x86_64 UEFI"),
            11 => f.write_str("arm64 UEFI"),
            12 => f.write_str("POWER Open Firmware"),
            14 => f.write_str("POWER OPAL"),
            16 => f.write_str("x86_64 UEFI HTTP boot"),
            19 => f.write_str("arm64 UEFI HTTP boot"),
            other => write!(f, "architecture {other}"),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pxe => "PXE",
            Self::Ipxe => "iPXE",
            Self::HttpBoot => "HTTP boot",
            Self::Bootp => "BOOTP",
            Self::Other => "boot client",
        })
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Booting { program, architecture } => write!(f, "{program} on {architecture}"),
        }
    }
}
