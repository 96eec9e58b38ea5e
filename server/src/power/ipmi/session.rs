//! One run of ipmitool is one session with a BMC, in which several commands are sent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sysclone_exec::{Command, ExecError, Output, Runner, Tool};

use crate::power::error::PowerError;
use crate::power::machine::Tools;
use crate::power::target::Bmc;

const IPMITOOL: Tool = Tool("ipmitool");

/// How long ipmitool waits for an answer before it asks again, and how often it asks. A busy BMC takes a second or
/// two, and does twice what it is asked twice: a second reset takes the first one's boot override with it. So nothing is
/// asked again early.
const ANSWER_SECONDS: &str = "5";
const TRIES: &str = "3";
/// For all of a session. Slow BMCs need seconds for each command.
const SESSION_LIMIT: Duration = Duration::from_secs(45);
/// Longest password of IPMI 2.0 (13.31).
const MAX_PASSWORD: usize = 20;

/// Cipher suites, best first: 17 is HMAC-SHA256 with AES, 3 is HMAC-SHA1 with AES, which every BMC must know. Asking
/// a BMC which it has (what ipmitool does unasked) takes some of them many seconds.
const SUITES: [&str; 2] = ["17", "3"];

/// A way to one BMC.
pub(super) struct Session {
    bmc: Bmc,
    runner: Arc<dyn Runner>,
    home: PathBuf,
    /// The suite that worked.
    suite: Option<&'static str>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    last: Vec<u8>,
    failed: bool,
    refusal: Option<String>,
}

impl Answer {
    /// The last command's bytes.
    pub(super) fn last(&self) -> &[u8] {
        &self.last
    }

    /// Whether a command was refused.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// The BMC's last refusal, in ipmitool's words.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    fn read(output: &Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let refusals: Vec<&str> =
            stderr.lines().filter_map(|line| line.split_once("rsp=").map(|(_, code)| code)).collect();
        // In ipmitool's `exec` a refused last command leaves the answer of the one before it as the last line.
        let last = if last_was_refused(&stderr) { Vec::new() } else { last_bytes(&output.text()) };
        Self {
            last,
            failed: output.status != 0,
            refusal: refusals.last().map(|code| code.replace("):", "").trim().to_owned()),
        }
    }
}

/// Whether the last request in the log of `-v` was refused.
fn last_was_refused(log: &str) -> bool {
    log.rfind("RAW REQ ").is_some_and(|at| log[at..].contains("Unable to send RAW command"))
}

/// ` 01 05 80 04 00 00 00` as bytes; answers without data are empty lines.
fn last_bytes(text: &str) -> Vec<u8> {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let bytes: Result<Vec<u8>, _> =
        line.split_ascii_whitespace().map(|word| u8::from_str_radix(word, 16)).collect();
    bytes.unwrap_or_default()
}

/// Why there was no session.
enum NoSession {
    /// The BMC does not know the cipher suite.
    Suite,
    Other(PowerError),
}

impl Session {
    pub(super) fn new(bmc: Bmc, tools: &Tools) -> Self {
        Self { bmc, runner: Arc::clone(&tools.runner), home: tools.ipmi_home.clone(), suite: None }
    }

    /// Address and port, for messages.
    pub(super) fn place(&self) -> String {
        format!("{} port {}", self.bmc.host, self.bmc.port)
    }

    /// The error for a BMC that answered no.
    pub(super) fn refused(&self, what: &str, answer: &Answer) -> PowerError {
        PowerError::Refused {
            place: self.place(),
            what: what.to_owned(),
            said: answer.refusal().unwrap_or("its answer makes no sense").to_owned(),
        }
    }

    /// Sends commands, in one session.
    pub(super) async fn run(&mut self, commands: &[String]) -> Result<Answer, PowerError> {
        if self.bmc.password.reveal().len() > MAX_PASSWORD {
            let text = format!("bmcpassword is longer than the {MAX_PASSWORD} bytes that IPMI can send");
            return Err(PowerError::Definition(text));
        }
        let suites = match self.suite {
            Some(suite) => vec![suite],
            None => SUITES.to_vec(),
        };
        let mut nothing_fits = String::new();
        for suite in suites {
            let output = self.output(self.command(suite, commands)).await?;
            match self.check(&output) {
                Ok(()) => {
                    self.suite = Some(suite);
                    return Ok(Answer::read(&output));
                }
                Err(NoSession::Suite) => nothing_fits = format!("it knows no cipher suite of {SUITES:?}"),
                Err(NoSession::Other(error)) => return Err(error),
            }
        }
        Err(PowerError::Refused { place: self.place(), what: "a session".into(), said: nothing_fits })
    }

    fn command(&self, suite: &str, commands: &[String]) -> Command {
        let port = self.bmc.port.to_string();
        let (host, user) = (self.bmc.host.as_str(), self.bmc.user.as_str());
        let script = commands.iter().map(|line| format!("{line}\n")).collect::<String>();
        Command::new(IPMITOOL)
            .args(["-v", "-I", "lanplus", "-H", host, "-p", &port, "-U", user, "-E", "-C", suite])
            .args(["-N", ANSWER_SECONDS, "-R", TRIES, "exec", "/dev/stdin"])
            .env("IPMITOOL_PASSWORD", self.bmc.password.reveal())
            .env("HOME", &self.home)
            .stdin(script)
            .timeout(SESSION_LIMIT)
            .accept(1)
    }

    async fn output(&self, command: Command) -> Result<Output, PowerError> {
        let runner = Arc::clone(&self.runner);
        let ran = tokio::task::spawn_blocking(move || runner.run(&command)).await;
        let error = match ran.expect("running a program does not panic") {
            Ok(output) => return Ok(output),
            Err(error) => error,
        };
        Err(match error {
            ExecError::Start { .. } => PowerError::Program { program: "ipmitool", package: "ipmitool" },
            ExecError::Timeout { timeout, .. } => PowerError::TimeLimit { seconds: timeout.as_secs() },
            other => {
                PowerError::Refused { place: self.place(), what: "a session".into(), said: other.to_string() }
            }
        })
    }

    /// Whether a session came to be.
    fn check(&self, output: &Output) -> Result<(), NoSession> {
        let log = String::from_utf8_lossy(&output.stderr);
        if !log.contains("Unable to establish") {
            return Ok(());
        }
        let said = |part: &str| {
            log.lines().find(|line| line.contains(part)).map(|line| line.trim_matches(['>', ' ']))
        };
        let place = self.place();
        Err(if said("open session response").is_some() {
            NoSession::Suite
        } else if let Some(said) = said("RAKP") {
            let user = self.bmc.user.clone();
            NoSession::Other(PowerError::Login { place, user, said: said.to_owned() })
        } else if let Some(said) = said("does not support IPMI v2") {
            let said = format!("{said}; update its firmware, or switch RMCP+ on");
            NoSession::Other(PowerError::Refused { place, what: "a session".into(), said })
        } else {
            let said = said("lookup").unwrap_or("it is silent").to_owned();
            NoSession::Other(PowerError::Unreachable { place, said, service: "IPMI over LAN" })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stdout: &str, stderr: &str, status: i32) -> Answer {
        Answer::read(&Output { stdout: stdout.into(), stderr: stderr.into(), status })
    }

    #[test]
    fn the_last_answer_counts_and_refusals_before_it_do_not() {
        let log = "RAW REQ (channel=0x0 netfn=0x0 lun=0x0 cmd=0x8 data_len=2)\n\
                   Unable to send RAW command (channel=0x0 netfn=0x0 lun=0x0 cmd=0x8 rsp=0xcc): Invalid data field in request\n\
                   RAW REQ (channel=0x0 netfn=0x0 lun=0x0 cmd=0x9 data_len=3)\nRAW RSP (7 bytes)\n";
        let answer = answer("\n\n 01 05 80 04 00 00 00\n", log, 1);
        assert_eq!(answer.last(), [1, 5, 0x80, 4, 0, 0, 0]);
        assert_eq!(answer.refusal(), Some("0xcc Invalid data field in request"));
    }

    #[test]
    fn an_earlier_answer_is_not_taken_for_the_last_one() {
        let log = "RAW REQ (a)\nRAW RSP (3 bytes)\nRAW REQ (b)\n\
                   Unable to send RAW command (channel=0x0 netfn=0x0 lun=0x0 cmd=0x9 rsp=0xff): Unspecified error\n";
        let answer = answer(" 01 05 80 04\n", log, 1);
        assert!(answer.last().is_empty() && answer.failed());
    }

    #[test]
    fn the_password_is_not_an_argument() {
        let bmc = Bmc {
            host: "10.0.0.9".into(),
            port: 623,
            user: "admin".into(),
            password: sysclone_protocol::names::Secret::new("geheim".into()),
        };
        let runner = Arc::new(sysclone_exec::Script::lenient());
        let ssh =
            crate::power::hmc::Login { identity: None, known_hosts: "/var/lib/sysclone/known_hosts".into() };
        let tools = Tools { runner, ipmi_home: "/var/lib/sysclone/ipmitool".into(), ssh };
        let line = Session::new(bmc, &tools).command("17", &["raw 0x00 0x01".to_owned()]).line();
        assert_eq!(
            line,
            "ipmitool -v -I lanplus -H 10.0.0.9 -p 623 -U admin -E -C 17 -N 5 -R 3 exec /dev/stdin"
        );
    }
}
