//! xCAT's words for power and boot order.

use std::fmt;
use std::str::FromStr;

use super::fields::{BootDevice, BootState, PowerAction, PowerState, Task};
use super::{BootOrder, BootRequest};

/// A word that is no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsupported command {verb} {word}")]
pub struct WordError {
    verb: &'static str,
    word: String,
}

impl FromStr for PowerAction {
    type Err = WordError;

    fn from_str(word: &str) -> Result<Self, WordError> {
        match word {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            "softoff" => Ok(Self::SoftOff),
            "reset" => Ok(Self::Reset),
            "boot" => Ok(Self::Boot),
            "cycle" => Ok(Self::Cycle),
            "stat" | "state" | "status" => Ok(Self::Stat),
            "nmi" => Ok(Self::Nmi),
            _ => Err(WordError { verb: "power", word: word.to_owned() }),
        }
    }
}

impl PowerAction {
    /// The word that it is typed and answered as.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::SoftOff => "softoff",
            Self::Reset => "reset",
            Self::Boot => "boot",
            Self::Cycle => "cycle",
            Self::Stat => "stat",
            Self::Nmi => "nmi",
        }
    }
}

impl BootDevice {
    /// The word that it is typed as.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Hd => "hd",
            Self::Cd => "cd",
            Self::Floppy => "floppy",
            Self::Setup => "setup",
            Self::Default => "default",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Net => "Network",
            Self::Hd => "Hard Drive",
            Self::Cd => "CD/DVD",
            Self::Floppy => "Floppy",
            Self::Setup => "BIOS Setup",
            Self::Default => "BIOS default",
        }
    }
}

impl FromStr for BootRequest {
    type Err = WordError;

    /// Reads the device only; how long and how are options.
    fn from_str(word: &str) -> Result<Self, WordError> {
        let device = match word {
            "stat" | "state" | "status" => return Ok(Self::Stat),
            "net" | "network" => BootDevice::Net,
            "hd" => BootDevice::Hd,
            "cd" => BootDevice::Cd,
            "floppy" => BootDevice::Floppy,
            "setup" => BootDevice::Setup,
            word if word.starts_with("def") => BootDevice::Default,
            _ => return Err(WordError { verb: "setboot", word: word.to_owned() }),
        };
        Ok(Self::Set(BootOrder { device, uefi: false, persistent: false }))
    }
}

impl fmt::Display for PowerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Other(word) => word,
        })
    }
}

impl fmt::Display for BootState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inactive | Self::Unmarked(_) => "boot override inactive",
            Self::Device(device) => device.title(),
        })
    }
}

impl Task {
    /// The verb that does it.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Power(_) => "rpower",
            Self::Boot(_) => "rsetboot",
            Self::Netboot => "rnetboot",
        }
    }
}

impl fmt::Display for Task {
    /// As it would be typed, without the nodes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Power(action) => write!(f, "rpower {}", action.word()),
            Self::Netboot => f.write_str("rnetboot"),
            Self::Boot(BootRequest::Stat) => f.write_str("rsetboot stat"),
            Self::Boot(BootRequest::Set(order)) => {
                let uefi = if order.uefi { " -u" } else { "" };
                let persistent = if order.persistent { " -p" } else { "" };
                write!(f, "rsetboot {}{uefi}{persistent}", order.device.word())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_xcats() {
        for (word, action) in [
            ("on", Some(PowerAction::On)),
            ("state", Some(PowerAction::Stat)),
            ("status", Some(PowerAction::Stat)),
            ("nmi", Some(PowerAction::Nmi)),
            ("suspend", None),
        ] {
            assert_eq!(word.parse::<PowerAction>().ok(), action, "{word}");
        }
        assert_eq!("x".parse::<PowerAction>().unwrap_err().to_string(), "unsupported command power x");
        assert_eq!("usb".parse::<BootRequest>().unwrap_err().to_string(), "unsupported command setboot usb");
        for word in ["def", "default"] {
            let order = BootOrder { device: BootDevice::Default, uefi: false, persistent: false };
            assert_eq!(word.parse(), Ok(BootRequest::Set(order)));
        }
    }

    #[test]
    fn tasks_read_as_typed() {
        let order = BootOrder { device: BootDevice::Net, uefi: true, persistent: true };
        assert_eq!(Task::Boot(BootRequest::Set(order)).to_string(), "rsetboot net -u -p");
        assert_eq!(Task::Power(PowerAction::Boot).to_string(), "rpower boot");
    }
}
