//! A libvirt domain, by `virsh`: it knows how to reach hypervisors and to log in to them.
//!
//! libvirt has no boot override for one boot. `rsetboot` moves a device to the front of the domain's `<os>` section,
//! where it stays until it is changed.

use std::sync::Arc;
use std::time::Duration;

use sysclone_exec::{Command, ExecError, Runner, Tool};

use super::BootDevice;
use super::error::PowerError;
use super::fields::{BootOrder, BootState, PowerState, Switch};
use super::target::Domain;

const VIRSH: Tool = Tool("virsh");

/// Reaching a hypervisor by ssh takes seconds.
const LIMIT: Duration = Duration::from_secs(45);

/// A domain.
pub(super) struct Virsh {
    domain: Domain,
    runner: Arc<dyn Runner>,
}

impl Virsh {
    pub(super) fn new(domain: Domain, runner: Arc<dyn Runner>) -> Self {
        Self { domain, runner }
    }

    pub(super) async fn state(&mut self) -> Result<PowerState, PowerError> {
        Ok(match self.run(&["domstate"], None).await?.trim() {
            // libvirt's words for all that still occupies the machine's memory.
            "running" | "idle" | "in shutdown" => PowerState::On,
            "shut off" | "crashed" => PowerState::Off,
            other => PowerState::Other(other.to_owned()),
        })
    }

    pub(super) async fn switch(&mut self, switch: Switch) -> Result<(), PowerError> {
        let commands: &[&str] = match switch {
            Switch::On if matches!(self.state().await?, PowerState::Other(_)) => &["resume"],
            Switch::On => &["start"],
            Switch::Off => &["destroy"],
            Switch::SoftOff => &["shutdown"],
            Switch::Reset => &["reset"],
            Switch::Cycle => &["destroy", "start"],
            Switch::Nmi => &["inject-nmi"],
        };
        for command in commands {
            self.run(&[command], None).await?;
        }
        Ok(())
    }

    pub(super) async fn boot_order(&mut self) -> Result<BootState, PowerError> {
        let xml = self.run(&["dumpxml", "--inactive"], None).await?;
        let first = boot_lines(&xml).first().and_then(|line| device_in(line));
        Ok(first.map_or(BootState::Inactive, BootState::Device))
    }

    pub(super) async fn set_boot_order(&mut self, order: BootOrder) -> Result<BootState, PowerError> {
        let Some(word) = libvirt_word(order.device) else {
            return Err(PowerError::Unsupported {
                what: format!("setboot {}", order.device.word()),
                method: "kvm",
                advice: "libvirt keeps one order and no default; name a device",
            });
        };
        let xml = self.run(&["dumpxml", "--inactive", "--security-info"], None).await?;
        let Some(changed) = with_first(&xml, word) else {
            return Err(PowerError::Refused {
                place: self.domain.uri.clone(),
                what: format!("boot device {word}"),
                said: "the domain has an order of its devices (<boot order=…>) instead of one in <os>".into(),
            });
        };
        self.run(&["define", "/dev/stdin"], Some(changed)).await?;
        self.boot_order().await
    }

    /// Runs one virsh command on the domain, or on what is given on standard input.
    async fn run(&self, words: &[&str], input: Option<String>) -> Result<String, PowerError> {
        let mut command = Command::new(VIRSH).args(["-q", "-c", &self.domain.uri]).args(words).timeout(LIMIT);
        command = match input {
            Some(input) => command.stdin(input),
            None => command.args(["--domain", &self.domain.name]),
        };
        let runner = Arc::clone(&self.runner);
        let ran = tokio::task::spawn_blocking(move || runner.run(&command)).await;
        let error = match ran.expect("running a program does not panic") {
            Ok(output) => return Ok(output.text()),
            Err(error) => error,
        };
        let place = self.domain.uri.clone();
        Err(match error {
            ExecError::Start { .. } => PowerError::Program { program: "virsh", package: "libvirt-clients" },
            ExecError::Timeout { timeout, .. } => PowerError::TimeLimit { seconds: timeout.as_secs() },
            ExecError::Failed { stderr, .. } if stderr.contains("failed to connect") => {
                PowerError::Unreachable { place, said: stderr, service: "libvirt" }
            }
            ExecError::Failed { stderr, .. } => {
                PowerError::Refused { place, what: words.join(" "), said: stderr }
            }
            other => PowerError::Refused { place, what: words.join(" "), said: other.to_string() },
        })
    }
}

fn libvirt_word(device: BootDevice) -> Option<&'static str> {
    match device {
        BootDevice::Net => Some("network"),
        BootDevice::Hd => Some("hd"),
        BootDevice::Cd => Some("cdrom"),
        BootDevice::Floppy => Some("fd"),
        BootDevice::Setup | BootDevice::Default => None,
    }
}

fn device_in(line: &str) -> Option<BootDevice> {
    [BootDevice::Net, BootDevice::Hd, BootDevice::Cd, BootDevice::Floppy]
        .into_iter()
        .find(|device| libvirt_word(*device).is_some_and(|word| line.contains(&format!("'{word}'"))))
}

/// The `<boot dev='…'/>` lines. libvirt prints its documents itself, one element on a line and with single quotes.
fn boot_lines(xml: &str) -> Vec<&str> {
    xml.lines().filter(|line| line.trim_start().starts_with("<boot dev=")).collect()
}

/// The document with one device before the others; none when it has no such order.
fn with_first(xml: &str, word: &str) -> Option<String> {
    let line = format!("    <boot dev='{word}'/>\n");
    let others = boot_lines(xml);
    let at = xml.find(*others.first()?)?;
    let kept: String = xml[at..].split_inclusive('\n').filter(|kept| kept.trim() != line.trim()).collect();
    Some(format!("{}{line}{kept}", &xml[..at]))
}

#[cfg(test)]
mod tests {
    use sysclone_exec::Script;

    use super::*;

    /// From `virsh -c test:///default dumpxml test`, with a second boot device.
    const XML: &str = "<domain type='test'>\n  <name>test</name>\n  <os>\n    <type arch='i686'>hvm</type>\n    \
                       <boot dev='hd'/>\n    <boot dev='network'/>\n  </os>\n</domain>\n";

    #[test]
    fn a_device_moves_to_the_front_and_the_others_stay() {
        let changed = with_first(XML, "network").unwrap();
        assert_eq!(boot_lines(&changed), ["    <boot dev='network'/>", "    <boot dev='hd'/>"]);
        assert_eq!(with_first(&changed, "hd").unwrap(), XML);
        assert_eq!(with_first("<domain><os/></domain>", "hd"), None);
    }

    #[tokio::test]
    async fn a_cycle_is_two_commands_on_one_domain() {
        let script = Arc::new(Script::lenient());
        let domain = Domain { uri: "qemu:///system".into(), name: "n1".into() };
        let mut virsh = Virsh::new(domain, Arc::clone(&script) as Arc<dyn Runner>);
        virsh.switch(Switch::Cycle).await.unwrap();
        assert_eq!(
            script.lines(),
            [
                "virsh -q -c qemu:///system destroy --domain n1",
                "virsh -q -c qemu:///system start --domain n1"
            ]
        );
    }
}
