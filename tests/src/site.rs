//! A management node in the lab: the daemon with a configuration and folders of its own, driven through the CLI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use sysclone_exec::{Runner, System, Tool};

use crate::lab::{Network, Process, Readiness, wait};

/// Making keys and a database takes moments; more means that it hangs.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The programs under test.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Folder with `syscloned` and `sysclone`.
    pub bin: PathBuf,
    /// Folder that sysclone-image-builder made.
    pub boot: PathBuf,
}

/// A running daemon and the way to command it.
#[derive(Debug)]
pub struct Site<'net> {
    network: &'net Network,
    programs: Programs,
    logs: PathBuf,
    starts: u32,
    daemon: Process,
}

/// Where a node stands, as `nodestat --json` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// State word.
    pub state: String,
    /// Phase of the installation.
    pub phase: Option<String>,
    /// Bytes done and bytes in all.
    pub progress: Option<(u64, u64)>,
    /// `name@generation`.
    pub image: Option<String>,
    /// Why it failed, or what it waits for.
    pub reason: Option<String>,
}

impl<'net> Site<'net> {
    /// Configures and starts the daemon in `network`, with `identity` as its key to golden clients; logs go to
    /// `logs`.
    ///
    /// # Errors
    /// The daemon does not come up.
    pub fn start(network: &'net Network, programs: &Programs, identity: &Path, logs: &Path) -> Result<Self> {
        let folder = network.scratch();
        fs::create_dir_all(folder.join("run")).context("creating the run folder")?;
        let config = format!(
            "state_dir = '{state}'\nrun_dir = '{run}'\nboot_dir = '{boot}'\nlog = 'info'\n\n\
             [listen]\naddress = '{address}'\ninterface = '{interface}'\n\n[ssh]\nidentity = '{identity}'\n",
            state = folder.join("state").display(),
            run = folder.join("run").display(),
            boot = programs.boot.display(),
            address = Network::SERVER,
            interface = Network::BRIDGE,
            identity = identity.display(),
        );
        fs::write(folder.join("sysclone.toml"), config).context("writing the configuration")?;
        let daemon = run_daemon(network, programs, &logs.join("syscloned-0.log"))?;
        Ok(Self { network, programs: programs.clone(), logs: logs.to_owned(), starts: 1, daemon })
    }

    /// Ends the daemon as a crash would and starts it again on the same state.
    ///
    /// # Errors
    /// It does not come up again.
    pub fn crash_and_restart(&mut self) -> Result<()> {
        self.daemon.kill()?;
        let log = self.logs.join(format!("syscloned-{}.log", self.starts));
        self.starts += 1;
        self.daemon = run_daemon(self.network, &self.programs, &log)?;
        Ok(())
    }

    /// The folder that holds the database, the keys and the image store.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.network.scratch().join("state")
    }

    /// The folder of what machines boot.
    #[must_use]
    pub fn boot(&self) -> &Path {
        &self.programs.boot
    }

    /// Starts the daemon again with other boot files.
    ///
    /// # Errors
    /// It does not come up again.
    pub fn restart_with_boot(&mut self, boot: &Path) -> Result<()> {
        let (path, before) =
            (self.network.scratch().join("sysclone.toml"), self.boot().display().to_string());
        let config = fs::read_to_string(&path).context("reading the configuration")?;
        let after =
            config.replace(&format!("boot_dir = '{before}'"), &format!("boot_dir = '{}'", boot.display()));
        fs::write(&path, after).context("writing the configuration")?;
        self.programs.boot = boot.to_owned();
        self.crash_and_restart()
    }

    /// What the daemon has logged since its last start.
    #[must_use]
    pub fn log(&self) -> &crate::lab::Transcript {
        self.daemon.output()
    }

    /// Runs `sysclone` with these words and returns what it prints.
    ///
    /// # Errors
    /// It ends with a failure.
    pub fn cli(&self, words: &[&str]) -> Result<String> {
        self.daemon.check_running()?;
        let program = self.programs.bin.join("sysclone");
        let Some(program) = program.to_str() else { bail!("{} is not a plain path", program.display()) };
        let command =
            self.network.command(Tool("env")).arg(format!("SYSCLONE_SOCKET={}", self.socket().display()));
        let output = System.run(&command.arg(program).args(words)).context("commanding the server")?;
        Ok(output.text())
    }

    /// Runs `sysclone` with these words for up to `limit`, giving each line it prints to `say`.
    ///
    /// # Errors
    /// It fails or takes too long.
    pub fn cli_aloud(&self, words: &[&str], limit: Duration, say: &dyn Fn(&str)) -> Result<()> {
        let mut command = Command::new(self.programs.bin.join("sysclone"));
        command.env("SYSCLONE_SOCKET", self.socket()).args(words);
        let name = words.first().copied().unwrap_or("sysclone");
        let process = Process::start(name, &mut command, &self.logs.join(format!("{name}.log")))?;
        let mut said = 0;
        let status = wait::until(name, limit, || {
            // Ended first, then read: what it printed last is not missed.
            let ended = process.ended()?;
            let text = process.output().text();
            let whole = if ended.is_some() { text.len() } else { text.rfind('\n').map_or(0, |end| end + 1) };
            text[said..whole].lines().for_each(say);
            said = whole;
            Ok(ended)
        })?;
        if !status.success() {
            bail!("sysclone {}: {status}; its last lines:\n{}", words.join(" "), process.output().tail());
        }
        Ok(())
    }

    /// Where a node stands.
    ///
    /// # Errors
    /// The server does not say.
    pub fn status(&self, node: &str) -> Result<Status> {
        let text = self.cli(&["nodestat", node, "--json"])?;
        let mut all: Vec<Status> =
            serde_json::from_str(&text).with_context(|| format!("reading {text:?}"))?;
        if all.len() != 1 {
            bail!("{} nodes are called {node}", all.len());
        }
        Ok(all.remove(0))
    }

    fn socket(&self) -> PathBuf {
        self.network.scratch().join("run/api.sock")
    }
}

fn run_daemon(network: &Network, programs: &Programs, log: &Path) -> Result<Process> {
    let notify = network.scratch().join("notify.sock");
    match fs::remove_file(&notify) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context("notify socket");
        }
        _ => {}
    }
    let readiness = Readiness::at(&notify)?;
    let mut command = network.background(&programs.bin.join("syscloned"));
    command.arg("--config").arg(network.scratch().join("sysclone.toml")).env("NOTIFY_SOCKET", &notify);
    let daemon = Process::start("syscloned", &mut command, log)?;
    readiness.wait(&daemon, START_LIMIT)?;
    Ok(daemon)
}
