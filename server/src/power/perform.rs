//! The steps of one verb on one machine, and the words that tell how it went.

use super::BootRequest;
use super::error::PowerError;
use super::fields::{PowerAction, PowerState, Switch, Task};
use super::machine::Machine;

/// Does a task on one machine; answers what is shown after the node's name.
pub(super) async fn perform(machine: &mut Machine, task: Task) -> Result<String, PowerError> {
    match task {
        Task::Boot(BootRequest::Stat) => Ok(machine.boot_order().await?.to_string()),
        Task::Boot(BootRequest::Set(order)) => Ok(machine.set_boot_order(order).await?.to_string()),
        Task::Netboot => machine.netboot().await,
        Task::Power(PowerAction::Stat) => Ok(machine.state().await?.to_string()),
        Task::Power(action) => {
            let (switch, text) = steps(action, &machine.state().await?);
            if let Some(switch) = switch {
                machine.switch(switch).await?;
            }
            Ok(text.to_owned())
        }
    }
}

/// What an action means for a machine in this state, and what is said of it. `boot` says what was and what was done,
/// as xCAT does. A machine that is neither on nor off is told in any case.
fn steps(action: PowerAction, state: &PowerState) -> (Option<Switch>, &'static str) {
    match (action, state) {
        (PowerAction::Stat, _) => (None, ""),
        (PowerAction::On, PowerState::On) => (None, "on"),
        (
            PowerAction::Off | PowerAction::SoftOff | PowerAction::Reset | PowerAction::Nmi,
            PowerState::Off,
        ) => (None, "off"),
        (PowerAction::On, _) => (Some(Switch::On), "on"),
        (PowerAction::Boot | PowerAction::Cycle, PowerState::Off) => (Some(Switch::On), "off on"),
        (PowerAction::Boot, _) => (Some(Switch::Reset), "on reset"),
        (PowerAction::Off, _) => (Some(Switch::Off), "off"),
        (PowerAction::SoftOff, _) => (Some(Switch::SoftOff), "softoff"),
        (PowerAction::Reset, _) => (Some(Switch::Reset), "reset"),
        (PowerAction::Cycle, _) => (Some(Switch::Cycle), "cycle"),
        (PowerAction::Nmi, _) => (Some(Switch::Nmi), "nmi"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_depends_on_what_is() {
        let strange = PowerState::Other("paused".into());
        for (action, state, expected) in [
            (PowerAction::Boot, PowerState::On, (Some(Switch::Reset), "on reset")),
            (PowerAction::Boot, PowerState::Off, (Some(Switch::On), "off on")),
            (PowerAction::On, PowerState::On, (None, "on")),
            (PowerAction::On, strange.clone(), (Some(Switch::On), "on")),
            (PowerAction::Reset, PowerState::Off, (None, "off")),
            (PowerAction::Cycle, PowerState::Off, (Some(Switch::On), "off on")),
            (PowerAction::Cycle, PowerState::On, (Some(Switch::Cycle), "cycle")),
            (PowerAction::Off, strange, (Some(Switch::Off), "off")),
        ] {
            assert_eq!(steps(action, &state), expected, "{action:?} {state:?}");
        }
    }
}
