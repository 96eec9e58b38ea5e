//! Programs on nodes, through ssh. The only place of the server that starts programs: `sysclone_exec` blocks and gathers
//! output whole, while the output of a node is read line by line for as long as its program runs.
//!
//! Arguments are a list, the server's own remote commands are constants; only what an administrator typed as a command
//! is ever a shell's text.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::app::App;
use crate::wire::remote::Files;

/// How much of the end of the error output goes into an error.
const STDERR_TAIL: usize = 1024;
/// How long one of the short commands may take, sending the agent included. Emulated machines are slow.
const SHORT: Duration = Duration::from_secs(300);
/// ssh's own status for "I could not connect".
pub(super) const NOT_CONNECTED: i32 = 255;

/// Why a command on a node failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SshError {
    /// There is no ssh on this machine, or it cannot be started.
    #[error("cannot start ssh: is openssh-client installed on this server?")]
    Start(#[source] std::io::Error),
    /// The node was not reached, or did not let us in.
    #[error(
        "cannot reach {node} by ssh as {target} (port {port}{identity}): {said}; \
         check the node's ip, that it is up, and that this server's key is in its authorized_keys"
    )]
    Unreachable {
        /// The node.
        node: String,
        /// `user@host`.
        target: String,
        /// The port.
        port: u16,
        /// `, key /path`, or nothing.
        identity: String,
        /// The end of ssh's error output.
        said: String,
    },
    /// Another machine answers, or the node was installed anew.
    #[error(
        "the ssh host key of {node} is not the one that is known: if it was installed anew, \
         `ssh-keygen -R {node} -f {}` on this server and try again", known_hosts.display()
    )]
    HostKey {
        /// The node.
        node: String,
        /// Where the known one is.
        known_hosts: PathBuf,
    },
    /// The command ended badly.
    #[error("{what} failed on {node} ({status}): {said}")]
    Command {
        /// What was being done.
        what: &'static str,
        /// The node.
        node: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its error output.
        said: String,
    },
    /// The command did not end.
    #[error("{what} on {node} took more than {} s", SHORT.as_secs())]
    TooLong {
        /// What was being done.
        what: &'static str,
        /// The node.
        node: String,
    },
    /// The connection to ssh itself broke.
    #[error("{what} on {node}")]
    Pipe {
        /// What was being done.
        what: &'static str,
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A command for a node: what it does in words, and its constant text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RemoteCommand {
    pub(crate) what: &'static str,
    pub(crate) text: &'static str,
}

/// How one node is reached.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    /// Its name; host keys are kept under it.
    pub(crate) node: String,
    /// Address or name.
    pub(super) host: String,
    pub(super) user: String,
    pub(super) port: u16,
    pub(super) identity: Option<PathBuf>,
    pub(super) known_hosts: PathBuf,
}

impl Remote {
    /// How a node is reached.
    ///
    /// # Errors
    /// There is no such node, or its definition is wrong.
    pub(crate) fn of(app: &App, name: &str) -> Result<Self, String> {
        let snapshot = app.known.now();
        let node = snapshot
            .node(name)
            .ok_or_else(|| format!("Could not find an object named '{name}' of type 'node'."))?
            .map_err(|error| error.to_string())?;
        let ssh = &app.config.ssh;
        Ok(Self {
            node: name.to_owned(),
            host: node.ip.map_or_else(|| name.to_owned(), |ip| ip.to_string()),
            user: ssh.user.clone(),
            port: ssh.port,
            identity: ssh.identity.clone(),
            known_hosts: app.config.state_dir.join("known_hosts"),
        })
    }

    /// What ssh and scp both have to know.
    fn options(&self) -> Vec<OsString> {
        let mut known_hosts = OsString::from("UserKnownHostsFile=");
        known_hosts.push(&self.known_hosts);
        let options: [OsString; 10] = [
            "BatchMode=yes".into(),
            "ConnectTimeout=20".into(),
            "ServerAliveInterval=15".into(),
            "ServerAliveCountMax=8".into(),
            "StrictHostKeyChecking=accept-new".into(),
            "GlobalKnownHostsFile=/dev/null".into(),
            known_hosts,
            format!("HostKeyAlias={}", self.node).into(),
            "ForwardAgent=no".into(),
            "LogLevel=ERROR".into(),
        ];
        let mut words: Vec<OsString> = Vec::new();
        for option in options {
            words.extend(["-o".into(), option]);
        }
        if let Some(identity) = &self.identity {
            words.extend(["-o".into(), "IdentitiesOnly=yes".into(), "-i".into(), identity.into()]);
        }
        words
    }

    fn arguments(&self, command: &str) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["-T".into()];
        words.extend(self.options());
        words.extend(["-p".into(), self.port.to_string().into(), "-l".into(), (&self.user).into()]);
        words.extend(["--".into(), (&self.host).into(), command.into()]);
        words
    }

    /// ssh, about to run a shell's text on the node. Dropped, it is killed.
    pub(super) fn ssh(&self, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(self.arguments(command)).kill_on_drop(true);
        ssh
    }

    /// scp, about to copy files to the node or, with `pull`, from it. Dropped, it is killed.
    pub(super) fn scp(&self, files: &Files) -> Command {
        let mut scp = Command::new("scp");
        scp.kill_on_drop(true).stdin(Stdio::null()).arg("-q");
        for (wanted, flag) in [(files.recursive, "-r"), (files.preserve, "-p")] {
            if wanted {
                scp.arg(flag);
            }
        }
        scp.args(self.options()).args(["-P", &self.port.to_string(), "--"]);
        let there = |path: &Path| {
            let mut word = OsString::from(format!("{}@{}:", self.user, self.host));
            word.push(path);
            word
        };
        if files.pull {
            scp.args(files.sources.iter().map(|path| there(path))).arg(&files.target);
        } else {
            scp.args(&files.sources).arg(there(&files.target));
        }
        scp
    }

    /// Starts a command.
    pub(crate) fn start(&self, command: RemoteCommand) -> Result<Running, SshError> {
        tracing::debug!(node = self.node, command = command.text, "ssh");
        let mut child = self
            .ssh(command.text)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(SshError::Start)?;
        let stdout = child.stdout.take().expect("standard output was asked for");
        let stderr = child.stderr.take().expect("standard error was asked for");
        // Read all the time, so that a talkative program never waits for us.
        let said = tokio::spawn(tail(stderr));
        Ok(Running { child, lines: BufReader::new(stdout).lines(), said, command, remote: self.clone() })
    }

    /// Runs a command that ends soon; answers its output.
    pub(super) async fn output(&self, command: RemoteCommand, input: &[u8]) -> Result<String, SshError> {
        let mut running = self.start(command)?;
        let work = async {
            // Both at once: a program that fails early closes its input before it has taken everything.
            let sent = running.send(input).await;
            let mut output = String::new();
            while let Some(line) = running.line().await? {
                output.push_str(&line);
                output.push('\n');
            }
            running.end().await?;
            sent?;
            Ok(output)
        };
        let too_long = || SshError::TooLong { what: command.what, node: self.node.clone() };
        tokio::time::timeout(SHORT, work).await.map_err(|_| too_long())?
    }
}

/// A command that runs. Dropped, its ssh is killed, and what it runs on the node ends when it next writes.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: JoinHandle<String>,
    command: RemoteCommand,
    remote: Remote,
}

impl Running {
    /// Gives the command its whole input.
    pub(crate) async fn send(&mut self, input: &[u8]) -> Result<(), SshError> {
        let mut stdin = self.child.stdin.take().expect("input is given once");
        let write = async {
            stdin.write_all(input).await?;
            stdin.shutdown().await
        };
        write.await.map_err(|source| self.broken(source))
    }

    /// Gives the command a document and keeps its input open, so that it learns from the end of it when we are gone.
    pub(crate) async fn send_open(&mut self, document: &[u8]) -> Result<(), SshError> {
        let stdin = self.child.stdin.as_mut().expect("its end is not given before the end of the command");
        let write = async {
            stdin.write_all(document).await?;
            stdin.write_all(b"\n").await?;
            stdin.flush().await
        };
        write.await.map_err(|source| self.broken(source))
    }

    /// The next line of output; none at its end.
    pub(crate) async fn line(&mut self) -> Result<Option<String>, SshError> {
        self.lines.next_line().await.map_err(|source| self.broken(source))
    }

    /// Waits for the end; an error unless it was a good one.
    pub(crate) async fn end(&mut self) -> Result<(), SshError> {
        let status = self.child.wait().await.map_err(|source| self.broken(source))?;
        let said = (&mut self.said).await.unwrap_or_default();
        match status.code() {
            Some(0) => Ok(()),
            Some(NOT_CONNECTED) => Err(self.remote.unreachable(said)),
            Some(_) | None => {
                let node = self.remote.node.clone();
                Err(SshError::Command { what: self.command.what, node, status, said })
            }
        }
    }

    fn broken(&self, source: std::io::Error) -> SshError {
        SshError::Pipe { what: self.command.what, node: self.remote.node.clone(), source }
    }
}

impl Remote {
    /// What ssh's own failure means.
    pub(super) fn unreachable(&self, said: String) -> SshError {
        let Self { node, host, user, port, identity, known_hosts } = self;
        if said.contains("Host key verification failed") {
            return SshError::HostKey { node: node.clone(), known_hosts: known_hosts.clone() };
        }
        SshError::Unreachable {
            node: node.clone(),
            target: format!("{user}@{host}"),
            port: *port,
            identity: identity.as_ref().map(|path| format!(", key {}", path.display())).unwrap_or_default(),
            said,
        }
    }
}

/// The end of a program's error output on one line.
pub(super) async fn tail(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        let surplus = kept.len().saturating_sub(STDERR_TAIL);
        kept.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&kept);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { "it said nothing".to_owned() } else { lines.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_a_list_that_ends_with_host_and_command() {
        let remote = Remote {
            node: "golden".into(),
            host: "10.0.0.5".into(),
            user: "root".into(),
            port: 2222,
            identity: Some("/etc/key file".into()),
            known_hosts: "/var/lib/sysclone/known_hosts".into(),
        };
        let words = remote.arguments("uname -m");
        let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(words[words.len() - 7..], ["-p", "2222", "-l", "root", "--", "10.0.0.5", "uname -m"]);
        for wanted in
            ["BatchMode=yes", "StrictHostKeyChecking=accept-new", "HostKeyAlias=golden", "/etc/key file"]
        {
            assert!(words.contains(&wanted), "{wanted}");
        }
    }
}
