//! A QEMU machine, by its control socket (QMP). Started with `-S -no-shutdown -qmp unix:PATH,server=on,wait=off`, the
//! machine can be switched on and off as often as one likes while the process stays.
//!
//! QEMU has no boot override for one boot: the order in which firmware tries the devices (`bootindex`) holds until it
//! is changed, so `rsetboot` swaps the device's place with that of the first one.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::BootDevice;
use super::error::PowerError;
use super::fields::{BootOrder, BootState, PowerState, Switch};

/// QEMU answers at once, or not at all.
const LIMIT: Duration = Duration::from_secs(20);

/// How often QEMU is asked whether a reset is done, which takes it milliseconds.
const POLL: Duration = Duration::from_millis(20);

/// Where QEMU keeps the devices of a machine.
const DEVICES: [&str; 2] = ["/machine/peripheral", "/machine/peripheral-anon"];

/// A machine that QEMU emulates.
pub(super) struct Qemu {
    socket: PathBuf,
    stream: Option<BufReader<UnixStream>>,
}

/// A device that firmware can boot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bootable {
    path: String,
    device: BootDevice,
    /// Place in the order; none comes last.
    index: Option<i64>,
}

impl Qemu {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, stream: None }
    }

    pub(super) async fn state(&mut self) -> Result<PowerState, PowerError> {
        let status = self.execute("query-status", json!({})).await?;
        Ok(match status["status"].as_str().unwrap_or_default() {
            "running" => PowerState::On,
            // Not started yet or reset while stopped; switched off by its operating system.
            "prelaunch" | "shutdown" => PowerState::Off,
            other => PowerState::Other(other.to_owned()),
        })
    }

    pub(super) async fn switch(&mut self, switch: Switch) -> Result<(), PowerError> {
        let commands: &[&str] = match switch {
            // After a shutdown the machine must be reset before it can run again.
            Switch::On if self.state().await? == PowerState::Off => &["stop", "system_reset", "cont"],
            Switch::On => &["cont"],
            Switch::Off => &["stop", "system_reset"],
            Switch::SoftOff => &["system_powerdown"],
            Switch::Reset => &["system_reset"],
            Switch::Cycle => &["stop", "system_reset", "cont"],
            Switch::Nmi => &["inject-nmi"],
        };
        for command in commands {
            self.execute(command, json!({})).await?;
        }
        if switch == Switch::Off {
            self.wait_off().await?;
        }
        Ok(())
    }

    /// A reset is done some time after it was answered.
    async fn wait_off(&mut self) -> Result<(), PowerError> {
        let wait = async {
            while self.state().await? != PowerState::Off {
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        };
        let late = PowerError::TimeLimit { seconds: LIMIT.as_secs() };
        tokio::time::timeout(LIMIT, wait).await.unwrap_or(Err(late))
    }

    pub(super) async fn boot_order(&mut self) -> Result<BootState, PowerError> {
        let devices = self.bootables().await?;
        Ok(first(&devices).map_or(BootState::Inactive, |first| BootState::Device(first.device)))
    }

    pub(super) async fn set_boot_order(&mut self, order: BootOrder) -> Result<BootState, PowerError> {
        if matches!(order.device, BootDevice::Default | BootDevice::Setup) {
            return Err(PowerError::Unsupported {
                what: format!("setboot {}", order.device.word()),
                method: "qemu",
                advice: "QEMU keeps one order and no default; name a device",
            });
        }
        let devices = self.bootables().await?;
        let mine: Vec<Bootable> = devices.iter().filter(|d| d.device == order.device).cloned().collect();
        let (Some(first), Some(mine)) = (first(&devices), first(&mine)) else {
            let said = format!("it has no such device among {} that can boot", devices.len());
            return Err(self.refused(&format!("boot device {}", order.device.word()), &said));
        };
        if first != mine {
            // No two devices may have one index, so the first one gives its place up before it is taken.
            let (low, high) = (first.index.unwrap_or(0), mine.index.unwrap_or_else(|| last(&devices) + 1));
            self.set_index(&mine.path, -1).await?;
            self.set_index(&first.path, high).await?;
            self.set_index(&mine.path, low).await?;
        }
        self.boot_order().await
    }

    async fn set_index(&mut self, path: &str, index: i64) -> Result<(), PowerError> {
        let arguments = json!({ "path": path, "property": "bootindex", "value": index });
        self.execute("qom-set", arguments).await.map(drop)
    }

    async fn bootables(&mut self) -> Result<Vec<Bootable>, PowerError> {
        let mut found = Vec::new();
        for parent in DEVICES {
            let children = self.execute("qom-list", json!({ "path": parent })).await?;
            for child in children.as_array().into_iter().flatten() {
                let kind = child["type"].as_str().unwrap_or_default();
                let Some(device) = device_of(kind) else { continue };
                let path = format!("{parent}/{}", child["name"].as_str().unwrap_or_default());
                let index = self.execute("qom-get", json!({ "path": path, "property": "bootindex" })).await?;
                let index = index.as_i64().filter(|index| *index >= 0);
                found.push(Bootable { path, device, index });
            }
        }
        Ok(found)
    }

    async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, PowerError> {
        match tokio::time::timeout(LIMIT, self.exchange(command, arguments)).await {
            Ok(answer) => answer,
            Err(_) => Err(PowerError::TimeLimit { seconds: LIMIT.as_secs() }),
        }
    }

    async fn exchange(&mut self, command: &str, arguments: Value) -> Result<Value, PowerError> {
        if self.stream.is_none() {
            let stream = UnixStream::connect(&self.socket).await.map_err(|e| self.silent(&e))?;
            self.stream = Some(BufReader::new(stream));
            self.read().await?;
            self.ask("qmp_capabilities", &json!({})).await?;
        }
        self.ask(command, &arguments).await
    }

    async fn ask(&mut self, command: &str, arguments: &Value) -> Result<Value, PowerError> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        let stream = self.stream.as_mut().expect("it is connected");
        let written = stream.get_mut().write_all(line.as_bytes()).await;
        written.map_err(|error| self.silent(&error))?;
        loop {
            let mut answer = self.read().await?;
            if let Some(error) = answer.get("error") {
                let said = error["desc"].as_str().unwrap_or("without a reason").to_owned();
                return Err(self.refused(command, &said));
            }
            // Events come between answers.
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
        }
    }

    async fn read(&mut self) -> Result<Value, PowerError> {
        let mut line = String::new();
        let stream = self.stream.as_mut().expect("it is connected");
        let read = stream.read_line(&mut line).await;
        match read.and_then(|_| Ok(serde_json::from_str(&line)?)) {
            Ok(value) => Ok(value),
            Err(error) => Err(self.refused("to go on", &error.to_string())),
        }
    }

    fn silent(&self, error: &std::io::Error) -> PowerError {
        PowerError::Unreachable {
            place: self.socket.display().to_string(),
            said: error.to_string(),
            service: "QEMU process with -qmp unix:<qmpsocket>,server=on",
        }
    }

    fn refused(&self, what: &str, said: &str) -> PowerError {
        PowerError::Refused {
            place: self.socket.display().to_string(),
            what: what.to_owned(),
            said: said.to_owned(),
        }
    }
}

fn first(devices: &[Bootable]) -> Option<&Bootable> {
    devices.iter().min_by_key(|device| device.index.unwrap_or(i64::MAX))
}

fn last(devices: &[Bootable]) -> i64 {
    devices.iter().filter_map(|device| device.index).max().unwrap_or(-1)
}

/// `child<virtio-net-pci>` is a network card, and so on. Controllers and bridges boot nothing.
fn device_of(kind: &str) -> Option<BootDevice> {
    let kind = kind.strip_prefix("child<")?.strip_suffix('>')?;
    let starts = |names: &[&str]| names.iter().any(|name| kind.starts_with(name));
    if starts(&[
        "virtio-net",
        "e1000",
        "rtl8139",
        "vmxnet3",
        "igb",
        "ne2k",
        "i82",
        "pcnet",
        "tulip",
        "spapr-vlan",
    ]) {
        Some(BootDevice::Net)
    } else if starts(&["ide-cd", "scsi-cd"]) {
        Some(BootDevice::Cd)
    } else if starts(&["virtio-blk", "ide-hd", "scsi-hd", "scsi-block", "nvme", "usb-storage"])
        && kind != "nvme-ns"
    {
        Some(BootDevice::Hd)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_by_their_type() {
        for (kind, device) in [
            ("child<virtio-net-pci>", Some(BootDevice::Net)),
            ("child<e1000e>", Some(BootDevice::Net)),
            ("child<nvme>", Some(BootDevice::Hd)),
            ("child<scsi-cd>", Some(BootDevice::Cd)),
            ("child<virtio-scsi-pci>", None),
            ("child<ich9-ahci>", None),
            ("string", None),
        ] {
            assert_eq!(device_of(kind), device, "{kind}");
        }
    }
}
