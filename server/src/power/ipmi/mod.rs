//! IPMI 2.0 over the network (RMCP+), by `ipmitool`: it has twenty years of real BMCs' oddities in it. Only raw commands
//! are used, so that what comes back are bytes and not text for people. The password travels in the environment.

mod flags;
mod home;
mod session;

use super::error::PowerError;
use super::fields::{BootOrder, BootState, PowerState, Switch};
use super::machine::Tools;
use super::target::Bmc;
use flags::{STATUS, control, read_flags, reading, setting};
pub(crate) use home::make_home;
use session::Session;

/// A machine with a BMC that speaks IPMI.
pub(super) struct Ipmi {
    session: Session,
}

impl Ipmi {
    pub(super) fn new(bmc: Bmc, tools: &Tools) -> Self {
        Self { session: Session::new(bmc, tools) }
    }

    pub(super) async fn state(&mut self) -> Result<PowerState, PowerError> {
        let answer = self.session.run(&[STATUS.to_owned()]).await?;
        // Current power state, bit 0: power is on (28.2).
        match answer.last().first() {
            Some(byte) if byte & 1 == 1 => Ok(PowerState::On),
            Some(_) => Ok(PowerState::Off),
            None => Err(self.session.refused("to tell its power state", &answer)),
        }
    }

    pub(super) async fn switch(&mut self, switch: Switch) -> Result<(), PowerError> {
        let answer = self.session.run(&[control(switch)]).await?;
        match answer.failed() {
            false => Ok(()),
            true => Err(self.session.refused(&format!("power {switch:?}").to_lowercase(), &answer)),
        }
    }

    pub(super) async fn boot_order(&mut self) -> Result<BootState, PowerError> {
        let answer = self.session.run(&[reading()]).await?;
        read_flags(answer.last()).ok_or_else(|| self.session.refused("to tell its boot flags", &answer))
    }

    pub(super) async fn set_boot_order(&mut self, order: BootOrder) -> Result<BootState, PowerError> {
        let answer = self.session.run(&setting(order)).await?;
        let wanted = format!("boot device {}", order.device.word());
        let Some(found) = read_flags(answer.last()) else {
            return Err(self.session.refused(&wanted, &answer));
        };
        let taken = match found {
            BootState::Inactive => order.device == super::BootDevice::Default,
            BootState::Device(device) | BootState::Unmarked(device) => device == order.device,
        };
        if taken {
            return Ok(found);
        }
        let found = match answer.refusal() {
            Some(refusal) => format!("{found} ({refusal})"),
            None => found.to_string(),
        };
        Err(PowerError::NotTaken { place: self.session.place(), wanted, found })
    }
}
