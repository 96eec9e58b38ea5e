//! Redfish's words (ComputerSystem schema, DSP2046) and ours.

use serde_json::Value;

use crate::power::fields::{BootDevice, BootOrder, BootState, PowerState, Switch};

pub(super) fn power_state(system: &Value) -> PowerState {
    match system["PowerState"].as_str() {
        Some("On") => PowerState::On,
        Some("Off") => PowerState::Off,
        Some(other) => PowerState::Other(other.to_lowercase()),
        None => PowerState::Other("unknown".to_owned()),
    }
}

/// Reset types that do it, one after the other; none when the system allows none of them. Systems that do not say what
/// they allow get the usual one.
pub(super) fn reset_types(system: &Value, switch: Switch) -> Option<Vec<&'static str>> {
    let allowed = system["Actions"]["#ComputerSystem.Reset"]["ResetType@Redfish.AllowableValues"].as_array();
    let ways: &[&[&'static str]] = match switch {
        Switch::On => &[&["On"], &["ForceOn"]],
        Switch::Off => &[&["ForceOff"]],
        Switch::SoftOff => &[&["GracefulShutdown"]],
        Switch::Reset => &[&["ForceRestart"], &["PowerCycle"]],
        Switch::Cycle => &[&["PowerCycle"], &["ForceOff", "On"]],
        Switch::Nmi => &[&["Nmi"]],
    };
    let allows = |kind: &&str| allowed.is_none_or(|all| all.iter().any(|value| value == kind));
    ways.iter().find(|way| way.iter().all(allows)).map(|way| way.to_vec())
}

pub(super) fn word(switch: Switch) -> &'static str {
    match switch {
        Switch::On => "on",
        Switch::Off => "off",
        Switch::SoftOff => "softoff",
        Switch::Reset => "reset",
        Switch::Cycle => "cycle",
        Switch::Nmi => "nmi",
    }
}

const TARGETS: [(BootDevice, &str); 6] = [
    (BootDevice::Net, "Pxe"),
    (BootDevice::Hd, "Hdd"),
    (BootDevice::Cd, "Cd"),
    (BootDevice::Floppy, "Floppy"),
    (BootDevice::Setup, "BiosSetup"),
    (BootDevice::Default, "None"),
];

/// Target and how long it holds.
pub(super) fn override_of(order: BootOrder) -> (&'static str, &'static str) {
    let target = TARGETS.iter().find(|(device, _)| *device == order.device).map_or("None", |(_, word)| word);
    let enabled = match (order.device, order.persistent) {
        (BootDevice::Default, _) => "Disabled",
        (_, true) => "Continuous",
        (_, false) => "Once",
    };
    (target, enabled)
}

/// The mode to send: some BMCs take a target only together with it, others do not have it at all.
pub(super) fn mode(system: &Value, uefi: bool) -> Option<String> {
    let now = system["Boot"]["BootSourceOverrideMode"].as_str();
    if uefi { Some("UEFI".to_owned()) } else { now.map(str::to_owned) }
}

pub(super) fn boot_state(system: &Value) -> BootState {
    let boot = &system["Boot"];
    let target = boot["BootSourceOverrideTarget"].as_str().unwrap_or("None");
    let device = TARGETS.iter().find(|(_, word)| *word == target).map(|(device, _)| *device);
    match (boot["BootSourceOverrideEnabled"].as_str(), device) {
        (_, None | Some(BootDevice::Default)) | (Some("Disabled"), _) => BootState::Inactive,
        (_, Some(device)) => BootState::Device(device),
    }
}

/// Whether the system took the device.
pub(super) fn same_device(now: BootState, wanted: BootDevice) -> bool {
    match now {
        BootState::Inactive => wanted == BootDevice::Default,
        BootState::Device(device) | BootState::Unmarked(device) => device == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_reset_is_one_that_the_system_allows() {
        let system = |allowed: &[&str]| {
            let reset = json!({ "ResetType@Redfish.AllowableValues": allowed });
            json!({ "Actions": { "#ComputerSystem.Reset": reset } })
        };
        let few = system(&["On", "ForceOff", "PowerCycle"]);
        assert_eq!(reset_types(&few, Switch::Reset), Some(vec!["PowerCycle"]));
        assert_eq!(reset_types(&few, Switch::Nmi), None);
        let without = system(&["On", "ForceOff", "ForceRestart"]);
        assert_eq!(reset_types(&without, Switch::Cycle), Some(vec!["ForceOff", "On"]));
        assert_eq!(reset_types(&json!({}), Switch::Reset), Some(vec!["ForceRestart"]), "it does not say");
    }

    #[test]
    fn an_override_holds_for_one_boot_unless_it_is_persistent() {
        let order = |device, persistent| BootOrder { device, uefi: false, persistent };
        assert_eq!(override_of(order(BootDevice::Net, false)), ("Pxe", "Once"));
        assert_eq!(override_of(order(BootDevice::Hd, true)), ("Hdd", "Continuous"));
        assert_eq!(override_of(order(BootDevice::Default, false)), ("None", "Disabled"));
        let boot = |target, enabled| {
            boot_state(
                &json!({ "Boot": { "BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": enabled } }),
            )
        };
        assert_eq!(boot("Pxe", "Once"), BootState::Device(BootDevice::Net));
        assert_eq!(boot("Pxe", "Disabled"), BootState::Inactive);
        assert_eq!(boot("Usb", "Once"), BootState::Inactive, "no device of ours");
    }
}
