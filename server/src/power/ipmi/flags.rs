//! Chassis commands as bytes (IPMI 2.0, chapter 28), written as `ipmitool raw` takes them.

use crate::power::fields::{BootDevice, BootOrder, BootState, Switch};

/// Get Chassis Status.
pub(super) const STATUS: &str = "raw 0x00 0x01";

/// Chassis Control (28.3).
pub(super) fn control(switch: Switch) -> String {
    let code = match switch {
        Switch::Off => 0,
        Switch::On => 1,
        Switch::Cycle => 2,
        Switch::Reset => 3,
        Switch::Nmi => 4,
        Switch::SoftOff => 5,
    };
    format!("raw 0x00 0x02 0x{code:02x}")
}

/// Get System Boot Options, parameter 5: the boot flags.
pub(super) fn reading() -> String {
    "raw 0x00 0x09 0x05 0x00 0x00".to_owned()
}

/// Set System Boot Options, and read them back.
///
/// Parameter 3 tells the BMC not to drop the flags when no power command follows within 60 seconds, parameter 0 that
/// a change is in progress. Many BMCs refuse both; the flags themselves are what counts.
pub(super) fn setting(order: BootOrder) -> [String; 5] {
    let (flags, device) = match order.device {
        // All zero takes the override away; a valid flag with device 0 would only pin the UEFI bit.
        BootDevice::Default => (0, 0),
        device => {
            let flags = 0x80 | u8::from(order.persistent) << 6 | u8::from(order.uefi) << 5;
            (flags, device_code(device))
        }
    };
    [
        "raw 0x00 0x08 0x03 0x08".to_owned(),
        "raw 0x00 0x08 0x00 0x01".to_owned(),
        format!("raw 0x00 0x08 0x05 0x{flags:02x} 0x{device:02x} 0x00 0x00 0x00"),
        "raw 0x00 0x08 0x00 0x00".to_owned(),
        reading(),
    ]
}

fn device_code(device: BootDevice) -> u8 {
    match device {
        BootDevice::Default => 0x00,
        BootDevice::Net => 0x04,
        BootDevice::Hd => 0x08,
        BootDevice::Cd => 0x14,
        BootDevice::Setup => 0x18,
        BootDevice::Floppy => 0x3c,
    }
}

/// Reads the answer to [`reading`]: version, parameter number, flags, device. None when it is something else.
pub(super) fn read_flags(bytes: &[u8]) -> Option<BootState> {
    let [_version, parameter, flags, device, ..] = *bytes else { return None };
    if parameter & 0x7f != 5 {
        return None;
    }
    let device = match device >> 2 & 0x0f {
        0x1 => BootDevice::Net,
        // A disk, a disk in safe mode, a disk served by the BMC.
        0x2 | 0x3 | 0xb => BootDevice::Hd,
        0x5 | 0x8 => BootDevice::Cd,
        0x6 => BootDevice::Setup,
        0x7 | 0xf => BootDevice::Floppy,
        _ => return Some(BootState::Inactive),
    };
    Some(if flags & 0x80 == 0 { BootState::Unmarked(device) } else { BootState::Device(device) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_the_standard() {
        let order = |device, uefi, persistent| setting(BootOrder { device, uefi, persistent })[2].clone();
        assert_eq!(order(BootDevice::Net, false, false), "raw 0x00 0x08 0x05 0x80 0x04 0x00 0x00 0x00");
        assert_eq!(order(BootDevice::Hd, true, true), "raw 0x00 0x08 0x05 0xe0 0x08 0x00 0x00 0x00");
        assert_eq!(order(BootDevice::Default, true, true), "raw 0x00 0x08 0x05 0x00 0x00 0x00 0x00 0x00");
    }

    #[test]
    fn answers_are_read_whatever_they_are() {
        for (bytes, expected) in [
            (&[1, 5, 0x80, 4, 0, 0, 0][..], Some(BootState::Device(BootDevice::Net))),
            (&[1, 0x85, 0xe0, 8, 0, 0, 0], Some(BootState::Device(BootDevice::Hd))),
            (&[1, 5, 0x00, 4, 0, 0, 0], Some(BootState::Unmarked(BootDevice::Net))),
            (&[1, 5, 0x80, 0, 0, 0, 0], Some(BootState::Inactive)),
            (&[1, 5, 0, 0, 0, 0, 0], Some(BootState::Inactive)),
            (&[1, 5, 0x80, 0x3c], Some(BootState::Device(BootDevice::Floppy))),
            (&[1, 3, 0x80, 4], None),
            (&[1, 5], None),
            (&[], None),
        ] {
            assert_eq!(read_flags(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn every_device_reads_back_as_what_was_set() {
        for device in [BootDevice::Net, BootDevice::Hd, BootDevice::Cd, BootDevice::Setup, BootDevice::Floppy]
        {
            assert_eq!(
                read_flags(&[1, 5, 0x80, device_code(device)]),
                Some(BootState::Device(device)),
                "{device:?}"
            );
        }
    }
}
