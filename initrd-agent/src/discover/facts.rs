//! What a machine is beyond what an installation has to know, from `/sys` and `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sysclone_exec::{Command, Runner, Tool};
use sysclone_protocol::discover::{Machine, Port};
use sysclone_protocol::inventory::{Inventory, Nic};

/// Only where the site put it into the initrd.
const IPMITOOL: Tool = Tool("ipmitool");
/// BMCs answer in a second, or not at all.
const BMC_ANSWERS: Duration = Duration::from_secs(10);
/// Set by UEFI firmware when it verified what it started (specification 2.10, section 3.3).
const SECURE_BOOT: &str = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Attributes of the variable come before its one byte.
const VARIABLE_ATTRIBUTES: usize = 4;

/// Reads the machine under `root`, of which the inventory is known.
pub(super) fn machine(root: &Path, inventory: Inventory, runner: &dyn Runner) -> Machine {
    let dmi = |name: &str| text(&root.join("sys/class/dmi/id").join(name));
    let (cpu_model, cpus) = processors(&text(&root.join("proc/cpuinfo")).unwrap_or_default());
    Machine {
        vendor: dmi("sys_vendor"),
        product: dmi("product_name").or_else(|| inventory.model.clone()),
        cpu_model,
        cpus,
        secure_boot: fs::read(root.join(SECURE_BOOT))
            .ok()
            .and_then(|bytes| Some(*bytes.get(VARIABLE_ATTRIBUTES)? == 1)),
        ports: inventory.nics.iter().map(|nic| port(root, nic)).collect(),
        bmc: root.join("dev/ipmi0").exists().then(|| bmc(runner)).flatten(),
        inventory,
    }
}

/// Model and number of the processors that the kernel runs on.
fn processors(cpuinfo: &str) -> (Option<String>, u32) {
    let field = |line: &str| {
        line.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
    };
    let fields: Vec<_> = cpuinfo.lines().filter_map(field).collect();
    // x86 and POWER name it differently.
    let model = fields.iter().find(|(name, _)| name == "model name" || name == "cpu");
    let count = fields.iter().filter(|(name, _)| name == "processor").count();
    (model.map(|(_, value)| value.clone()), u32::try_from(count).unwrap_or(u32::MAX))
}

fn port(root: &Path, nic: &Nic) -> Port {
    let folder = root.join("sys/class/net").join(&nic.name);
    let device = fs::canonicalize(folder.join("device")).unwrap_or_default();
    let pci = device.iter().rev().filter_map(|part| part.to_str()).find(|part| is_pci(part));
    Port {
        mac: nic.mac,
        pci: pci.map(str::to_owned),
        // The kernel says -1 without a link.
        speed_mbits: text(&folder.join("speed")).and_then(|speed| speed.parse().ok()),
    }
}

/// `0000:00:1f.2`.
fn is_pci(part: &str) -> bool {
    let bytes = part.as_bytes();
    bytes.len() == 12 && bytes[4] == b':' && bytes[7] == b':' && bytes[10] == b'.'
}

/// The address of the BMC behind this machine's own interface to it.
fn bmc(runner: &dyn Runner) -> Option<String> {
    let command = Command::new(IPMITOOL).args(["lan", "print"]).timeout(BMC_ANSWERS);
    let output =
        runner.run(&command).inspect_err(|error| tracing::info!(%error, "the BMC cannot be asked")).ok()?;
    address(&output.text())
}

/// ipmitool has no form for programs.
fn address(said: &str) -> Option<String> {
    let fields = said.lines().filter_map(|line| line.split_once(':'));
    let mut addresses = fields.filter(|(name, _)| name.trim() == "IP Address").map(|(_, value)| value.trim());
    addresses.find(|value| *value != "0.0.0.0").map(str::to_owned)
}

fn text(path: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(path).ok()?).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysclone_exec::System;

    #[test]
    fn a_machine_is_read_from_its_kernels_files() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        write(
            "proc/cpuinfo",
            b"processor\t: 0\nmodel name\t: Fast 1\n\nprocessor\t: 1\nmodel name\t: Fast 1\n",
        );
        write("sys/class/dmi/id/product_name", b"PC\n");
        write(SECURE_BOOT, &[6, 0, 0, 0, 1]);
        let device = root.path().join("sys/devices/pci0000:00/0000:00:03.0/virtio0");
        fs::create_dir_all(&device).unwrap();
        write("sys/class/net/eth0/speed", b"-1\n");
        std::os::unix::fs::symlink(&device, root.path().join("sys/class/net/eth0/device")).unwrap();
        let nic =
            Nic { name: "eth0".into(), mac: "02:00:00:00:00:01".parse().unwrap(), driver: None, link: false };
        let inventory = Inventory { nics: vec![nic], ..Inventory::default() };
        let machine = machine(root.path(), inventory, &System);
        assert_eq!((machine.cpu_model.as_deref(), machine.cpus), (Some("Fast 1"), 2));
        assert_eq!((machine.product.as_deref(), machine.secure_boot), (Some("PC"), Some(true)));
        assert_eq!(
            (machine.ports[0].pci.as_deref(), machine.ports[0].speed_mbits),
            (Some("0000:00:03.0"), None)
        );
        assert_eq!(machine.bmc, None, "there is none here");
    }

    #[test]
    fn power_machines_name_their_processors_otherwise() {
        let said = "processor\t: 0\ncpu\t\t: POWER9, altivec supported\nclock\t\t: 1000MHz\n";
        assert_eq!(processors(said), (Some("POWER9, altivec supported".into()), 1));
    }

    #[test]
    fn the_address_of_a_bmc_is_found() {
        let said = "IP Address Source       : DHCP Address\nIP Address              : 10.0.1.9\nSubnet Mask  : 255.0.0.0\n";
        assert_eq!(address(said).as_deref(), Some("10.0.1.9"));
        assert_eq!(address("IP Address              : 0.0.0.0\n"), None);
    }
}
