//! One machine's power and boot order, whatever stands between it and us.

use std::path::PathBuf;
use std::sync::Arc;

use sysclone_exec::Runner;

use super::error::PowerError;
use super::fields::{BootDevice, BootOrder, BootRequest, BootState, PowerAction, PowerState, Switch, Task};
use super::hmc::{Hmc, Login};
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
    /// ssh to an HMC.
    pub(super) ssh: Login,
}

/// A machine and the way to it.
pub(super) enum Machine {
    Hmc(Hmc),
    Ipmi(Ipmi),
    Qemu(Qemu),
    Redfish(Redfish),
    Virsh(Virsh),
}

impl Machine {
    pub(super) fn new(target: Target, tools: &Tools) -> Self {
        match target {
            Target::Hmc(lpar) => Self::Hmc(Hmc::new(lpar, tools.ssh.clone(), Arc::clone(&tools.runner))),
            Target::Ipmi(bmc) => Self::Ipmi(Ipmi::new(bmc, tools)),
            Target::Redfish(bmc) => Self::Redfish(Redfish::new(bmc)),
            Target::Qemu { socket } => Self::Qemu(Qemu::new(socket)),
            Target::Virsh(domain) => Self::Virsh(Virsh::new(domain, Arc::clone(&tools.runner))),
        }
    }

    /// Whether it is on.
    pub(super) async fn state(&mut self) -> Result<PowerState, PowerError> {
        match self {
            Self::Hmc(hmc) => hmc.state().await,
            Self::Ipmi(ipmi) => ipmi.state().await,
            Self::Qemu(qemu) => qemu.state().await,
            Self::Redfish(redfish) => redfish.state().await,
            Self::Virsh(virsh) => virsh.state().await,
        }
    }

    /// Does something with its power. Done when this returns, as far as the other end tells.
    pub(super) async fn switch(&mut self, switch: Switch) -> Result<(), PowerError> {
        match self {
            Self::Hmc(hmc) => hmc.switch(switch).await,
            Self::Ipmi(ipmi) => ipmi.switch(switch).await,
            Self::Qemu(qemu) => qemu.switch(switch).await,
            Self::Redfish(redfish) => redfish.switch(switch).await,
            Self::Virsh(virsh) => virsh.switch(switch).await,
        }
    }

    /// What it boots from next.
    pub(super) async fn boot_order(&mut self) -> Result<BootState, PowerError> {
        match self {
            Self::Hmc(_) => Err(no_order("hmc")),
            Self::Ipmi(ipmi) => ipmi.boot_order().await,
            Self::Qemu(qemu) => qemu.boot_order().await,
            Self::Redfish(redfish) => redfish.boot_order().await,
            Self::Virsh(virsh) => virsh.boot_order().await,
        }
    }

    /// Sets what it boots from, and answers what it says afterwards.
    pub(super) async fn set_boot_order(&mut self, order: BootOrder) -> Result<BootState, PowerError> {
        match self {
            Self::Hmc(_) => Err(no_order("hmc")),
            Self::Ipmi(ipmi) => ipmi.set_boot_order(order).await,
            Self::Qemu(qemu) => qemu.set_boot_order(order).await,
            Self::Redfish(redfish) => redfish.set_boot_order(order).await,
            Self::Virsh(virsh) => virsh.set_boot_order(order).await,
        }
    }

    /// Boots it from the network in one step. Only an HMC does; the others have an order and a power switch.
    pub(super) async fn netboot(&mut self) -> Result<String, PowerError> {
        match self {
            Self::Hmc(hmc) => hmc.netboot().await,
            Self::Ipmi(_) | Self::Qemu(_) | Self::Redfish(_) | Self::Virsh(_) => {
                Err(no_order("this machine"))
            }
        }
    }

    /// The tasks as this machine does them: an HMC has no boot order, but boots from the network in one step.
    pub(super) fn tasks(&self, asked: &[Task]) -> Vec<Task> {
        match (self, asked) {
            (
                Self::Hmc(_),
                [
                    Task::Boot(BootRequest::Set(BootOrder { device: BootDevice::Net, .. })),
                    Task::Power(PowerAction::Boot),
                ],
            ) => vec![Task::Netboot],
            (_, asked) => asked.to_vec(),
        }
    }
}

fn no_order(method: &'static str) -> PowerError {
    PowerError::Unsupported {
        what: "setboot".into(),
        method,
        advice: "rnetboot boots it from the network, and rpower boot from its disk",
    }
}
