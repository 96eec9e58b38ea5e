//! What a machine that is nobody's says of itself. `POST /agent/v1/discover` takes a [`Report`] and answers with a
//! [`Reply`]. There is no ticket in it and no node: all that its token is good for is this call.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::inventory::Inventory;
use crate::names::{Mac, Secret};

/// Sent again and again, as often as the answer to the one before says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The interface that the machine was booted from.
    pub mac: Mac,
    /// From the kernel command line.
    pub token: Secret,
    /// What the machine is; only when the server has asked for it.
    #[serde(default)]
    pub machine: Option<Machine>,
}

/// What a machine that is being discovered does next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reply {
    /// Say what the machine is, with the next report.
    pub tell: bool,
    /// Restart: the machine is a node now, and there is something for it to do.
    pub restart: bool,
    /// Report again after so many seconds.
    pub pause_seconds: u32,
}

/// All that an agent finds out of a machine without touching it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Machine {
    /// What an enrolling machine says too.
    pub inventory: Inventory,
    /// Vendor.
    pub vendor: Option<String>,
    /// Product, or machine type and model.
    pub product: Option<String>,
    /// Processor model.
    pub cpu_model: Option<String>,
    /// Processors that the kernel uses.
    pub cpus: u32,
    /// Whether Secure Boot was on; none where there is no such thing.
    pub secure_boot: Option<bool>,
    /// More about the network interfaces of the inventory.
    pub ports: Vec<Port>,
    /// Address of the BMC; none when there is none, or nothing here can ask it.
    pub bmc: Option<String>,
}

/// More about a network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Port {
    /// Which.
    pub mac: Mac,
    /// Where it is, as PCI counts.
    #[serde(default)]
    pub pci: Option<String>,
    /// Megabits per second of its link; none while there is no link.
    #[serde(default)]
    pub speed_mbits: Option<u32>,
}
