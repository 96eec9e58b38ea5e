//! Brings up the one interface that the machine was booted from, with the address that the loader was given.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sysclone_exec::{Command, Runner, Tool};
use sysclone_protocol::cmdline::Uplink;
use sysclone_protocol::names::Mac;

use crate::drivers::{Modules, wait_for};

/// busybox's, which can all that is needed here.
pub(crate) const IP: Tool = Tool("ip");
/// Firmware and switches may take a minute before a port forwards; drivers of large adapters nearly as long.
const NIC_APPEARS: Duration = Duration::from_secs(90);
/// After this long without a carrier the installation goes on regardless: some drivers never report one, and the
/// server is waited for in any case.
const LINK_COMES: Duration = Duration::from_secs(60);

/// Finds the interface, gives it the address of `args` and waits for its link. Returns the interface's name.
///
/// # Errors
/// The interface is not there, or the kernel refused the address.
pub fn start(args: &Uplink, modules: Option<&Modules>, runner: &dyn Runner) -> anyhow::Result<String> {
    let (address, prefix) = args.address.context(
        "the kernel command line has no sysclone.ip=…; give the node an ip in its definition on the server",
    )?;
    let name = wait_for(modules, NIC_APPEARS, || choose(args.boot_mac, &list(Path::new("/sys/class/net"))));
    let Some(name) = name else { bail!(missing(args.boot_mac, &list(Path::new("/sys/class/net")))) };
    for command in commands(&name, (address, prefix), args.gateway) {
        runner.run(&command).with_context(|| format!("configuring {name}"))?;
    }
    let carrier = Path::new("/sys/class/net").join(&name).join("carrier");
    let up = wait_for(None, LINK_COMES, || {
        std::fs::read_to_string(&carrier).is_ok_and(|text| text.trim() == "1").then_some(())
    });
    match up {
        Some(()) => tracing::info!("network {name} is up with {address}/{prefix}"),
        None => tracing::warn!(nic = name, "the interface shows no link; is the cable in?"),
    }
    Ok(name)
}

/// An Ethernet interface of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interface {
    name: String,
    mac: Mac,
}

/// Real Ethernet interfaces (ARPHRD_ETHER with a device behind them).
fn list(class: &Path) -> Vec<Interface> {
    let Ok(entries) = std::fs::read_dir(class) else { return Vec::new() };
    let interface = |entry: std::fs::DirEntry| {
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).ok();
        let ethernet = read("type")?.trim() == "1" && entry.path().join("device").exists();
        let mac = read("address")?.trim().parse().ok()?;
        ethernet.then(|| Interface { name: entry.file_name().to_string_lossy().into_owned(), mac })
    };
    let mut found: Vec<Interface> = entries.flatten().filter_map(interface).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The interface with this address; without one, the only interface there is.
fn choose(mac: Option<Mac>, interfaces: &[Interface]) -> Option<String> {
    let chosen = match (mac, interfaces) {
        (Some(mac), all) => all.iter().find(|interface| interface.mac == mac),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    chosen.map(|interface| interface.name.clone())
}

fn missing(mac: Option<Mac>, interfaces: &[Interface]) -> String {
    let seen: Vec<String> = interfaces.iter().map(|i| format!("{} {}", i.name, i.mac)).collect();
    let seen =
        if seen.is_empty() { "none (is its driver in the initrd?)".to_owned() } else { seen.join(", ") };
    match mac {
        Some(mac) => format!(
            "no network interface has the address {mac} that this machine was booted from; found: {seen}"
        ),
        None => format!(
            "the kernel command line has no BOOTIF=… and there is not exactly one interface; found: {seen}"
        ),
    }
}

fn commands(name: &str, (address, prefix): (Ipv4Addr, u8), gateway: Option<Ipv4Addr>) -> Vec<Command> {
    let ip = || Command::new(IP);
    let mut commands = vec![
        ip().args(["link", "set", "dev", "lo", "up"]),
        ip().args(["addr", "flush", "dev", name]),
        ip().args(["addr", "add", &format!("{address}/{prefix}"), "brd", "+", "dev", name]),
        ip().args(["link", "set", "dev", name, "up"]),
    ];
    if let Some(gateway) = gateway {
        commands.push(ip().args(["route", "add", "default", "via", &gateway.to_string(), "dev", name]));
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(name: &str, last: u8) -> Interface {
        Interface { name: name.into(), mac: Mac([2, 0, 0, 0, 0, last]) }
    }

    #[test]
    fn the_interface_that_booted_is_chosen_and_no_other() {
        let both = [nic("eth0", 1), nic("eth1", 2)];
        assert_eq!(choose(Some(both[1].mac), &both).as_deref(), Some("eth1"));
        assert_eq!(choose(Some(Mac([9; 6])), &both), None);
        assert_eq!(choose(None, &both), None);
        assert_eq!(choose(None, &both[..1]).as_deref(), Some("eth0"));
        assert!(
            missing(Some(Mac([9; 6])), &both)
                .ends_with("found: eth0 02:00:00:00:00:01, eth1 02:00:00:00:00:02")
        );
    }

    #[test]
    fn only_ethernet_with_a_device_counts() {
        let class = tempfile::tempdir().unwrap();
        for (name, kind, device, mac) in [
            ("eth0", "1", true, "52:54:00:00:00:01"),
            ("lo", "772", false, "00:00:00:00:00:00"),
            ("br0", "1", false, "52:54:00:00:00:02"),
            ("ib0", "32", true, "80:00:02:08:fe:80"),
        ] {
            let folder = class.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("type"), format!("{kind}\n")).unwrap();
            std::fs::write(folder.join("address"), format!("{mac}\n")).unwrap();
            if device {
                std::fs::create_dir(folder.join("device")).unwrap();
            }
        }
        assert_eq!(
            list(class.path()),
            [Interface { name: "eth0".into(), mac: "52:54:00:00:00:01".parse().unwrap() }]
        );
    }

    #[test]
    fn the_address_is_set_before_the_link_and_the_route_after() {
        let lines: Vec<String> =
            commands("eth0", ("10.77.0.12".parse().unwrap(), 24), Some("10.77.0.1".parse().unwrap()))
                .iter()
                .map(Command::line)
                .collect();
        assert_eq!(
            lines,
            [
                "ip link set dev lo up",
                "ip addr flush dev eth0",
                "ip addr add 10.77.0.12/24 brd + dev eth0",
                "ip link set dev eth0 up",
                "ip route add default via 10.77.0.1 dev eth0",
            ]
        );
    }
}
