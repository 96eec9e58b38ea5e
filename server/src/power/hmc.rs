//! A logical partition behind an HMC or IVM, by ssh: `lssyscfg`, `chsysstate` and, for a network boot, `lpar_netboot`.
//!
//! What is sent is a shell's text on the other side, so every name goes there quoted. Options are those of the HMC's
//! manual pages and of IBM's `IVM chsysstate command`, which knows no profile.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sysclone_exec::{Command, ExecError, Output, Runner, Tool};

use super::error::PowerError;
use super::fields::{PowerState, Switch};
use super::target::{Console, Lpar};

const SSH: Tool = Tool("ssh");

/// A question to the HMC takes seconds, on a busy one many.
const SHORT: Duration = Duration::from_secs(60);
/// Off, on to Open Firmware, finding the adapter and asking the network take minutes each on large machines.
const NETBOOT: Duration = Duration::from_secs(1200);
/// A network boot with one more try.
pub(super) const NETBOOT_LIMIT: Duration = Duration::from_secs(2 * 1200 + 120);

/// How this server's ssh is used.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) identity: Option<PathBuf>,
    pub(super) known_hosts: PathBuf,
}

/// A partition.
pub(super) struct Hmc {
    lpar: Lpar,
    login: Login,
    runner: Arc<dyn Runner>,
}

impl Hmc {
    pub(super) fn new(lpar: Lpar, login: Login, runner: Arc<dyn Runner>) -> Self {
        Self { lpar, login, runner }
    }

    pub(super) async fn state(&mut self) -> Result<PowerState, PowerError> {
        Ok(match self.look().await?.0.as_str() {
            "Running" => PowerState::On,
            "Not Activated" => PowerState::Off,
            other => PowerState::Other(other.to_owned()),
        })
    }

    pub(super) async fn switch(&mut self, switch: Switch) -> Result<(), PowerError> {
        let operation: &[&str] = match switch {
            Switch::On if self.lpar.console == Console::Ivm => &["-o", "on"],
            Switch::On => &["-o", "on", "-f", &self.lpar.profile],
            Switch::Off => &["-o", "shutdown", "--immed"],
            Switch::SoftOff => &["-o", "osshutdown"],
            Switch::Reset | Switch::Cycle => &["-o", "shutdown", "--immed", "--restart"],
            Switch::Nmi => &["-o", "dumprestart"],
        };
        let id = self.lpar.id.to_string();
        let mut words = vec!["chsysstate", "-r", "lpar", "-m", &self.lpar.system, "--id", &id];
        words.extend(operation);
        self.run(&words, SHORT).await.map(drop)
    }

    /// Boots it from the network, whatever it does now; answers the HMC's last words. Asked once more when the network
    /// did not answer, not when the request itself is wrong.
    pub(super) async fn netboot(&mut self) -> Result<String, PowerError> {
        let (_, name) = self.look().await?;
        let Some(boot) = self.lpar.boot else {
            return Err(PowerError::Definition(
                "mac and ip have to be set, and a network with that ip: lpar_netboot is told all three"
                    .into(),
            ));
        };
        let mac = boot.mac.to_string().replace([':', '-'], "");
        let [server, client, gateway, mask] =
            [boot.server, boot.client, boot.gateway, boot.mask].map(|ip| ip.to_string());
        let words = [
            "lpar_netboot",
            "-t",
            "ent",
            "-f",
            "-i",
            "-s",
            "auto",
            "-d",
            "auto",
            "-m",
            &mac,
            "-S",
            &server,
            "-C",
            &client,
            "-G",
            &gateway,
            // Without it the firmware takes the mask of the address's class, and may not find the server.
            "-K",
            &mask,
            &name,
            &self.lpar.profile,
            &self.lpar.system,
        ];
        let said = match self.run(&words, NETBOOT).await {
            Err(PowerError::Hmc { said, advice, .. }) if advice == NO_ANSWER => {
                tracing::warn!(lpar = name, said, "network boot failed, asking once more");
                self.run(&words, NETBOOT).await?
            }
            done => done?,
        };
        let mut lines = said.lines().rev().map(|line| line.trim_matches(['#', ' ']));
        let last = lines.find(|line| !line.is_empty() && *line != FINISHED);
        Ok(last.unwrap_or("network boot was started").to_owned())
    }

    /// State and name of the partition.
    async fn look(&self) -> Result<(String, String), PowerError> {
        let filter = format!("lpar_ids={}", self.lpar.id);
        let words =
            ["lssyscfg", "-r", "lpar", "-m", &self.lpar.system, "--filter", &filter, "-F", "state,name"];
        let said = self.run(&words, SHORT).await?;
        match said.trim().split_once(',') {
            Some((state, name)) => Ok((state.to_owned(), name.trim_matches('"').to_owned())),
            None => Err(self.failed("lssyscfg", said.trim().to_owned())),
        }
    }

    async fn run(&self, words: &[&str], limit: Duration) -> Result<String, PowerError> {
        let mut known_hosts = std::ffi::OsString::from("UserKnownHostsFile=");
        known_hosts.push(&self.login.known_hosts);
        let mut command = Command::new(SSH).args(["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]);
        command = command.args(["-o", "ServerAliveInterval=15", "-o", "StrictHostKeyChecking=accept-new"]);
        command = command.args(["-o", "GlobalKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o"]);
        command = command.arg(known_hosts);
        if let Some(identity) = &self.login.identity {
            command = command.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(identity);
        }
        let Lpar { host, port, user, .. } = &self.lpar;
        let text = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        command = command.args(["-p", &port.to_string(), "-l", user, "--", host, &text]).timeout(limit);
        // The HMC's commands explain themselves on either output, so a bad end is judged with both.
        command = (1..=255).fold(command, Command::accept);
        let runner = Arc::clone(&self.runner);
        let ran = tokio::task::spawn_blocking(move || runner.run(&command)).await;
        match ran.expect("running a program does not panic") {
            Ok(output) => self.judged(words[0], &output),
            Err(ExecError::Start { .. }) => {
                Err(PowerError::Program { program: "ssh", package: "openssh-client" })
            }
            Err(ExecError::Timeout { timeout, .. }) => {
                Err(PowerError::TimeLimit { seconds: timeout.as_secs() })
            }
            Err(ExecError::Failed { stderr, .. }) => Err(self.failed(words[0], stderr)),
            Err(other) => Err(self.failed(words[0], other.to_string())),
        }
    }

    /// The answer of a command that ended. `lpar_netboot` tells its end by lines; its status is not relied on.
    fn judged(&self, what: &str, output: &Output) -> Result<String, PowerError> {
        let text = output.text();
        let failures: Vec<&str> = text.lines().map(str::trim).filter(|line| is_failure(line)).collect();
        let ended = what != "lpar_netboot" || [PROCEEDING, FINISHED].iter().any(|end| text.contains(end));
        if failures.is_empty() && output.status == 0 && ended {
            return Ok(text);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let words = errors.lines().chain(text.lines().filter(|line| !line.trim_start().starts_with('#')));
        let mut said: Vec<&str> = words.map(str::trim).filter(|line| !line.is_empty()).collect();
        // What it did last says how far it came.
        said.extend(text.lines().map(str::trim).rfind(|line| line.starts_with('#')));
        let error = self.failed(what, if failures.is_empty() { said } else { failures }.join("; "));
        match error {
            // ssh's own status: the connection was lost under way.
            PowerError::Hmc { place, what, said, advice }
                if output.status == NOT_CONNECTED && advice != NO_LOGIN =>
            {
                Err(PowerError::Unsure { place, what, said })
            }
            error => Err(error),
        }
    }

    /// What ssh or the HMC said, with what to do.
    fn failed(&self, what: &str, said: String) -> PowerError {
        let Lpar { console, host, port, .. } = &self.lpar;
        let place = format!("{} {host}", console.name());
        if said.contains("Host key verification failed") {
            let entry = if *port == 22 { host.clone() } else { format!("[{host}]:{port}") };
            return PowerError::HmcKey { place, entry, known_hosts: self.login.known_hosts.clone() };
        }
        if ["connect to host", "Could not resolve"].iter().any(|text| said.contains(text)) {
            return PowerError::Away { place, said };
        }
        let advice =
            ADVICE.iter().find(|(text, _)| said.contains(text)).map_or(NO_ANSWER, |(_, advice)| advice);
        let advice =
            if advice == NO_ANSWER && what != "lpar_netboot" { "see the HMC's own log" } else { advice };
        PowerError::Hmc { place, what: what.to_owned(), said, advice }
    }
}

/// What is advised when nothing is wrong with the request itself.
const NO_ANSWER: &str =
    "look at the node's console, the VLAN of its adapter and `sysclone events` for its DHCP request";

const NO_LOGIN: &str = "give it this server's public key (that of ssh.identity) with mkauthkeys, and say whose it is: mkdef -t passwd -o hmc username=... (-o ivm for mgt=ivm)";
/// ssh's own status.
const NOT_CONNECTED: i32 = 255;

/// Texts of ssh and of the HMC's commands, and what the administrator does next.
const ADVICE: &[(&str, &str)] = &[
    ("Permission denied", NO_LOGIN),
    (
        "can not find mac address",
        "compare mac with the adapters that `lpar_netboot -M -n -t ent` lists on the HMC",
    ),
    ("No network adapters found", "add a network adapter to the partition's profile"),
    ("Unable to obtain network adapter information", "add a network adapter to the partition's profile"),
    ("No results were found", "compare id with `lssyscfg -r lpar -F lpar_id,name` on the HMC"),
    ("managed system", "compare parent with `lssyscfg -r sys -F name` on the HMC"),
    ("was not found", "compare id, pprofile and parent with lssyscfg on the HMC"),
    ("profile", "compare pprofile with `lssyscfg -r prof` on the HMC"),
];

/// The lines with which `lpar_netboot` ends well.
const PROCEEDING: &str = "Network boot proceeding";
const FINISHED: &str = "Finished.";

/// A line with which `lpar_netboot` fails, some with a space before the colon. `lpar_netboot Status:` is progress.
fn is_failure(line: &str) -> bool {
    line.strip_prefix("lpar_netboot").is_some_and(|rest| rest.trim_start().starts_with(':'))
}

/// One word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ',' | '=' | '/' | ':');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_of_the_other_shell() {
        for (word, expected) in [("a-1", "a-1"), ("", "''"), ("a b", "'a b'"), ("$(x);'", r"'$(x);'\'''")] {
            assert_eq!(quoted(word), expected);
        }
    }
}
