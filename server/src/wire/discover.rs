//! Machines that were discovered, and what is done with them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sysclone_protocol::discover::Machine;
use sysclone_protocol::names::Mac;

/// A machine that said what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Discovered {
    /// Its system UUID as it says; where it has none, one made of `mac`.
    pub uuid: String,
    /// The interface that it booted from.
    pub mac: Mac,
    /// The address that it was lent.
    pub ip: String,
    /// The node that it became.
    pub node: Option<String>,
    /// How: `manual`, `seq`, `mtms` (by its serial number), `uuid`; else `undef`.
    pub method: String,
    /// When it first said what it is.
    pub first_seen: String,
    /// When it last did.
    pub last_seen: String,
    /// What it says. All of it is the machine's own claim.
    pub machine: Machine,
}

/// Which machine is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// The one with this UUID, which must be the only one.
    Uuid(String),
    /// The one that booted from this interface.
    Mac(Mac),
    /// All with this method; `all` for really all.
    Method(String),
}

/// What to do with discovered machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiscoveredChange {
    /// The machine.
    pub which: Which,
    /// The node that it becomes; none to forget the machine. Nodes stay as they are.
    #[serde(default)]
    pub node: Option<String>,
}

/// Turns discovery on or off on all networks with a `dynamicrange`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiscoverySwitch {
    /// On or off.
    pub on: bool,
    /// Nodes that machines become one after the other, when nothing else says which they are.
    #[serde(default)]
    pub nodes: Vec<String>,
}

/// Whether machines are being discovered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiscoveryStatus {
    /// Networks on which they are.
    pub networks: Vec<String>,
    /// Nodes that machines become one after the other, those that still have no MAC address.
    pub nodes: Vec<String>,
    /// Machines that have said what they are and are no nodes.
    pub undefined: usize,
}
