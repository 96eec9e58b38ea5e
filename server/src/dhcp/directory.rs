//! What the DHCP server knows: its own facts, and who may have which address.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use sysclone_protocol::names::{Mac, NodeName};

/// Finds the reservation of a machine. Called for every packet, so it must answer from memory.
pub trait Directory: Send + Sync + 'static {
    /// The reservation that belongs to this Ethernet address.
    fn by_mac(&self, mac: &Mac) -> Option<Reservation>;

    /// Why there is none, when more is known than that the address is nobody's: for instance that the node has no
    /// `ip`, and the command that gives it one. Shown to the administrator.
    fn why_not(&self, mac: &Mac) -> Option<String> {
        let _ = mac;
        None
    }

    /// An address for a machine that is nobody's, so that it can be discovered. Nothing is lent unless the
    /// administrator wants it.
    fn lend(&self, asks: &Asks) -> Lent {
        let _ = asks;
        Lent::Nothing
    }
}

/// A machine that is nobody's, as it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asks {
    /// Its interface.
    pub mac: Mac,
    /// The relay on its network; none when that is the server's own.
    pub relay: Option<Ipv4Addr>,
    /// What it wants.
    pub step: Step,
    /// Whether its firmware says that it is a POWER machine.
    pub is_power: bool,
}

/// How far a machine that is nobody's has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It looks for a server: an address is put aside for it.
    Looks,
    /// It has chosen, comes back, or gives back: what it has is looked up.
    Has,
    /// It found its address in use.
    Declines,
}

/// What a machine that is nobody's gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lent {
    /// Nothing: there is no discovery where it is.
    Nothing,
    /// This address, for this long.
    Address(Reservation, Duration),
    /// It will get one when that is written down; it has to ask again.
    Soon,
    /// Nothing, although there is discovery; why, and what to do.
    Refused(String),
}

impl Directory for HashMap<Mac, Reservation> {
    fn by_mac(&self, mac: &Mac) -> Option<Reservation> {
        self.get(mac).cloned()
    }
}

/// The address of one node and what it is told with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The node; a machine that is nobody's is called after its interface.
    pub node: NodeName,
    /// The interface it boots from.
    pub mac: Mac,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Length of its network's prefix, 0 to 32.
    pub prefix: u8,
    /// Its way out of the network.
    pub gateway: Option<Ipv4Addr>,
    /// Its DNS servers, best first.
    pub nameservers: Vec<Ipv4Addr>,
    /// Its DNS domain.
    pub domain: Option<String>,
    /// The host name it is told.
    pub hostname: String,
    /// How it boots from the network.
    pub netboot: NetBoot,
    /// Whether it is a POWER machine, whose firmware need not say so.
    pub is_power: bool,
    /// Who gives addresses on its network.
    pub mode: Mode,
}

/// The `dhcpmode` attribute of a network: how much of DHCP is this server's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// All of it.
    #[default]
    Full,
    /// Another server gives the addresses; only what boots from the network is told, beside it, what to boot.
    Proxy,
    /// Nothing: another server also says what to boot.
    Off,
}

/// The `netboot` attribute of a node: which loader its firmware is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetBoot {
    /// What fits the firmware: iPXE on BIOS, the signed shim and GRUB on UEFI, GRUB on Open Firmware, Petitboot's own
    /// on OPAL.
    #[default]
    Auto,
    /// iPXE, chained by ROMs that are not iPXE themselves.
    Xnba,
    /// PXELINUX. It exists for BIOS only: on UEFI the signed shim and GRUB.
    Pxe,
    /// lpxelinux, which fetches by HTTP; with some cards' ROMs its network stops for good. BIOS only like PXELINUX.
    PxeHttp,
    /// GRUB 2; on UEFI the signed one, behind shim.
    Grub2,
    /// Petitboot, which is in the firmware and only needs its configuration. POWER only.
    Petitboot,
    /// yaboot, which the administrator supplies. POWER only.
    Yaboot,
}

/// What a reply says about the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its address on the provisioning network: server identifier, next server and host in URLs.
    pub address: Ipv4Addr,
    /// Port on which it serves boot files by HTTP.
    pub http_port: u16,
    /// How long a client may keep its address before it has to ask again. At most u32 seconds.
    pub lease: Duration,
}
