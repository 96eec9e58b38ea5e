//! One machine's power and boot order, whatever stands between it and us.

use std::path::PathBuf;
use std::sync::Arc;

use sysclone_exec::Runner;

use super::error::PowerError;
use super::fields::{BootOrder, BootState, PowerState, Switch};
use super::ipmi::Ipmi;
use super::qemu::Qemu;
use super::redfish::Redfish;
use super::target::Target;
use super::virsh::Virsh;

/// What all methods need of this server.
#[derive(Clone)]
pub(super) struct Tools {
    /// Starts programs.
    pub(super) runner: Arc<dyn Runner>,
    /// Home directory for ipmitool.
    pub(super) ipmi_home: PathBuf,
}

/// A machine and the way to it.
pub(super) enum Machine {
    Ipmi(Ipmi),
    Qemu(Qemu),
    Redfish(Redfish),
    Virsh(Virsh),
}

impl Machine {
    pub(super) fn new(target: Target, tools: &Tools) -> Self {
        match target {
            Target::Ipmi(bmc) => Self::Ipmi(Ipmi::new(bmc, tools)),
            Target::Redfish(bmc) => Self::Redfish(Redfish::new(bmc)),
            Target::Qemu { socket } => Self::Qemu(Qemu::new(socket)),
            Target::Virsh(domain) => Self::Virsh(Virsh::new(domain, Arc::clone(&tools.runner))),
        }
    }

    /// Whether it is on.
    pub(super) async fn state(&mut self) -> Result<PowerState, PowerError> {
        match self {
            Self::Ipmi(ipmi) => ipmi.state().await,
            Self::Qemu(qemu) => qemu.state().await,
            Self::Redfish(redfish) => redfish.state().await,
            Self::Virsh(virsh) => virsh.state().await,
        }
    }

    /// Does something with its power. Done when this returns, as far as the other end tells.
    pub(super) async fn switch(&mut self, switch: Switch) -> Result<(), PowerError> {
        match self {
            Self::Ipmi(ipmi) => ipmi.switch(switch).await,
            Self::Qemu(qemu) => qemu.switch(switch).await,
            Self::Redfish(redfish) => redfish.switch(switch).await,
            Self::Virsh(virsh) => virsh.switch(switch).await,
        }
    }

    /// What it boots from next.
    pub(super) async fn boot_order(&mut self) -> Result<BootState, PowerError> {
        match self {
            Self::Ipmi(ipmi) => ipmi.boot_order().await,
            Self::Qemu(qemu) => qemu.boot_order().await,
            Self::Redfish(redfish) => redfish.boot_order().await,
            Self::Virsh(virsh) => virsh.boot_order().await,
        }
    }

    /// Sets what it boots from, and answers what it says afterwards.
    pub(super) async fn set_boot_order(&mut self, order: BootOrder) -> Result<BootState, PowerError> {
        match self {
            Self::Ipmi(ipmi) => ipmi.set_boot_order(order).await,
            Self::Qemu(qemu) => qemu.set_boot_order(order).await,
            Self::Redfish(redfish) => redfish.set_boot_order(order).await,
            Self::Virsh(virsh) => virsh.set_boot_order(order).await,
        }
    }
}
