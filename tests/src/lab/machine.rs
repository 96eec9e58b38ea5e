//! One emulated machine: a PC, or a POWER machine with Open Firmware.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::disk::{Bus, Disk};
use super::firmware::Uefi;
use super::network::Network;
use super::process::{Exit, Process};
use super::qmp::Qmp;
use super::transcript::Transcript;

const QEMU_PC: &str = "qemu-system-x86_64";
const QEMU_POWER: &str = "qemu-system-ppc64";

/// Emulation has none of what these turn off, and says so by not starting.
const PSERIES: &str = "pseries,cap-htm=off,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off";

/// A machine to be built.
#[derive(Debug, Clone)]
#[must_use = "a specification does nothing until it is started"]
pub struct Spec {
    name: String,
    cpus: u32,
    memory_mib: u32,
    is_power: bool,
    chipset: &'static str,
    cpu: &'static str,
    disks: Vec<Disk>,
    nics: Vec<String>,
    netboot: bool,
    behind_bmc: bool,
    restart_ends: bool,
    uefi: Option<Uefi>,
    logs: Option<PathBuf>,
}

/// A machine that is switched on; switched off when dropped.
#[derive(Debug)]
pub struct Machine {
    name: String,
    qemu: Process,
    qmp: Qmp,
    taps: Vec<String>,
}

impl Machine {
    /// Starts to describe a machine: 2 CPUs, 1 GiB, no disk, no network card, booting from disk.
    pub fn spec(name: &str) -> Spec {
        Spec {
            name: name.to_owned(),
            cpus: 2,
            memory_mib: 1024,
            is_power: false,
            chipset: "q35",
            cpu: "qemu64",
            disks: Vec::new(),
            nics: Vec::new(),
            netboot: false,
            behind_bmc: false,
            restart_ends: false,
            uefi: None,
            logs: None,
        }
    }

    /// Its serial console.
    #[must_use]
    pub fn console(&self) -> &Transcript {
        self.qemu.output()
    }

    /// Types on its serial console.
    ///
    /// # Errors
    /// The machine is off.
    pub fn send(&mut self, text: &str) -> Result<()> {
        self.qemu.send(text)
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// The machine is off.
    pub fn reset(&mut self) -> Result<()> {
        self.qmp.execute("system_reset").map(drop)
    }

    /// Pulls the plug.
    ///
    /// # Errors
    /// It does not end.
    pub fn power_off(mut self) -> Result<()> {
        self.qmp.execute("quit")?;
        self.wait_exit(Duration::from_secs(30)).map(drop)
    }

    /// Waits until it switches itself off (or restarts, when made with [`Spec::restart_ends`]).
    ///
    /// # Errors
    /// It still runs when the deadline passes.
    pub fn wait_exit(&self, limit: Duration) -> Result<Exit> {
        self.qemu.wait_exit(limit)
    }

    /// Fails when it is off, with the end of its console.
    ///
    /// # Errors
    /// It is off.
    pub fn check_running(&self) -> Result<()> {
        self.qemu.check_running()
    }

    /// Bytes that its network cards have got since it was switched on, as the host counts them.
    ///
    /// # Errors
    /// The host does not say.
    pub fn bytes_received(&self, network: &Network) -> Result<u64> {
        self.taps.iter().try_fold(0, |sum, tap| Ok(sum + network.bytes_sent_to(tap)?))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Spec {
    /// Number of CPUs.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Memory in MiB.
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// CPU model by QEMU's name.
    pub fn cpu(mut self, model: &'static str) -> Self {
        self.cpu = model;
        self
    }

    /// Chipset by QEMU's name (`q35`, `pc`).
    pub fn chipset(mut self, chipset: &'static str) -> Self {
        self.chipset = chipset;
        self
    }

    /// A POWER9 machine with Open Firmware instead of a PC.
    pub fn power(mut self) -> Self {
        self.is_power = true;
        self.cpu("power9").chipset(PSERIES)
    }

    /// Adds a disk.
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// Adds a network card with this MAC address.
    pub fn nic(mut self, mac: &str) -> Self {
        self.nics.push(mac.to_owned());
        self
    }

    /// Boots from the network card's ROM first, then from the disks. Without it the cards have no ROM.
    pub fn netboot(mut self) -> Self {
        self.netboot = true;
        self
    }

    /// Off until a BMC switches it on by the control socket `<name>.bmc` in the network's scratch folder. Its firmware
    /// tries the disks first and then the network cards, until the BMC says otherwise.
    pub fn behind_bmc(mut self) -> Self {
        self.behind_bmc = true;
        self.netboot = true;
        self
    }

    /// Ends the machine where it would restart, so that its disks can be looked at in between.
    pub fn restart_ends(mut self) -> Self {
        self.restart_ends = true;
        self
    }

    /// Runs UEFI firmware instead of a BIOS.
    pub fn uefi(mut self, firmware: Uefi) -> Self {
        self.uefi = Some(firmware);
        self
    }

    /// Puts the console log there instead of the network's scratch folder.
    pub fn logs(mut self, folder: &Path) -> Self {
        self.logs = Some(folder.to_owned());
        self
    }

    /// Switches it on.
    ///
    /// # Errors
    /// QEMU cannot be started.
    pub fn start(self, network: &Network) -> Result<Machine> {
        let control = network.scratch().join(format!("{}.qmp", self.name));
        let log = self.logs.as_deref().unwrap_or(network.scratch()).join(format!("{}.console", self.name));
        if let Some(logs) = &self.logs {
            std::fs::create_dir_all(logs).with_context(|| format!("creating {}", logs.display()))?;
        }
        let taps = self.nics.iter().map(|_| network.add_tap()).collect::<Result<Vec<_>>>()?;
        let mut command = network.background(Path::new(if self.is_power { QEMU_POWER } else { QEMU_PC }));
        command.args(self.arguments(&taps, &control));
        if self.behind_bmc {
            let bmc = network.scratch().join(format!("{}.bmc", self.name));
            command.args([
                "-S",
                "-no-shutdown",
                "-qmp",
                &format!("unix:{},server=on,wait=off", bmc.display()),
            ]);
        }
        let qemu = Process::start(&self.name, &mut command, &log)?;
        let qmp = Qmp::connect(&control, || qemu.check_running())
            .with_context(|| format!("switching on {}", self.name))?;
        Ok(Machine { name: self.name, qemu, qmp, taps })
    }

    fn arguments(&self, taps: &[String], control: &Path) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        let mut add = |option: &str, value: String| args.extend([option.into(), OsString::from(value)]);
        add("-name", self.name.clone());
        // graphics=off sends what the firmware and its network ROM print to the serial console too.
        let more = self.uefi.as_ref().map_or("", Uefi::machine);
        add("-machine", format!("{},graphics=off{more}", self.chipset));
        for (option, value) in self.uefi.iter().flat_map(Uefi::options) {
            add(option, value);
        }
        add("-accel", "tcg,thread=multi".to_owned());
        add("-cpu", self.cpu.to_owned());
        add("-smp", self.cpus.to_string());
        add("-m", self.memory_mib.to_string());
        add("-display", "none".to_owned());
        add("-serial", "stdio".to_owned());
        add("-qmp", format!("unix:{},server=on,wait=off", control.display()));
        add("-object", "rng-random,id=rng0,filename=/dev/urandom".to_owned());
        add("-device", "virtio-rng-pci,rng=rng0".to_owned());
        for (index, disk) in self.disks.iter().enumerate() {
            let file = disk.path.display().to_string().replace(',', ",,");
            // The images live for one run, so the host need not flush them.
            let options = "if=none,format=raw,cache=unsafe,discard=unmap,detect-zeroes=unmap";
            add("-drive", format!("{options},id=disk{index},file={file}"));
            for device in disk_devices(disk, index) {
                add("-device", device);
            }
        }
        for (index, (mac, tap)) in self.nics.iter().zip(taps).enumerate() {
            let boot = match (self.netboot, &self.uefi) {
                (false, _) => "romfile=".to_owned(),
                (true, None) if self.behind_bmc => format!("bootindex={}", AFTER_DISKS + index),
                (true, None) => format!("bootindex={index}"),
                // OVMF has drivers of its own, and under Secure Boot starts no ROM that is not signed.
                (true, Some(_)) => format!("romfile=,bootindex={index}"),
            };
            add("-netdev", format!("tap,id=net{index},ifname={tap},script=no,downscript=no"));
            // GRUB on Open Firmware finds no network behind a virtio card.
            let card = if self.is_power { "e1000" } else { "virtio-net-pci" };
            add("-device", format!("{card},netdev=net{index},mac={mac},{boot}"));
        }
        args.push("-nodefaults".into());
        if self.restart_ends {
            args.push("-no-reboot".into());
        }
        args
    }
}

/// Boot order of the first disk: behind all network cards that a machine may have.
const FIRST_DISK: usize = 10;
/// Boot order of the first network card of a machine that boots from its disks: behind all of these.
const AFTER_DISKS: usize = 20;

fn disk_devices(disk: &Disk, index: usize) -> Vec<String> {
    let common = format!("drive=disk{index},serial={},bootindex={}", disk.serial, FIRST_DISK + index);
    match disk.bus {
        Bus::Virtio => vec![format!("virtio-blk-pci,{common}")],
        Bus::Nvme => vec![format!("nvme,{common}")],
        Bus::Sata => {
            vec![format!("ich9-ahci,id=ahci{index}"), format!("ide-hd,bus=ahci{index}.0,{common}")]
        }
        Bus::Scsi => {
            vec![format!("virtio-scsi-pci,id=scsi{index}"), format!("scsi-hd,bus=scsi{index}.0,{common}")]
        }
    }
}
