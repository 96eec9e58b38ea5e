//! What can be asked of a machine's power and boot order, and what it can answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `rpower` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PowerAction {
    /// Switches on.
    On,
    /// Switches off at once.
    Off,
    /// Asks the operating system to shut down.
    SoftOff,
    /// Presses the reset button.
    Reset,
    /// Resets a machine that is on, switches on one that is off.
    Boot,
    /// Switches off and on again.
    Cycle,
    /// Asks whether it is on.
    Stat,
    /// Sends a diagnostic interrupt.
    Nmi,
}

/// What a machine boots from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BootDevice {
    /// The network.
    Net,
    /// A hard disk.
    Hd,
    /// A CD or DVD.
    Cd,
    /// A floppy disk.
    Floppy,
    /// The firmware's setup.
    Setup,
    /// Whatever the firmware is set to: no override.
    Default,
}

/// A boot device, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BootOrder {
    /// The device.
    pub device: BootDevice,
    /// Whether the firmware is to boot it as UEFI does.
    #[serde(default)]
    pub uefi: bool,
    /// Whether it holds until it is changed; for one boot otherwise.
    #[serde(default)]
    pub persistent: bool,
}

/// What `rsetboot` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BootRequest {
    /// Reads the order.
    Stat,
    /// Sets it.
    Set(BootOrder),
}

/// One thing to do on each of many nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// `rpower`.
    Power(PowerAction),
    /// `rsetboot`.
    Boot(BootRequest),
    /// Network boot in one step, for machines that do it so. Never asked for by itself: see `rnetboot`.
    #[serde(skip)]
    Netboot,
}

impl Task {
    /// Whether it changes nothing.
    #[must_use]
    pub fn only_reads(self) -> bool {
        matches!(self, Self::Power(PowerAction::Stat) | Self::Boot(BootRequest::Stat))
    }
}

/// Whether a machine runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PowerState {
    On,
    Off,
    /// Neither, in the words of who was asked: `paused`, `powering-on`.
    Other(String),
}

/// What a machine is told to do with its power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    On,
    Off,
    SoftOff,
    Reset,
    Cycle,
    Nmi,
}

/// The boot order that a machine says it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BootState {
    /// The firmware decides; nothing is overridden.
    Inactive,
    /// This device comes first.
    Device(BootDevice),
    /// It names this device, but does not say that the override is valid. Many BMCs never do.
    Unmarked(BootDevice),
}
