//! What all cases share: the server with one captured image, and how to look at it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use sysclone_exec::{Runner, System, Tool};
use sysclone_tests::cycle::{self, TARGET, TARGET_MAC};
use sysclone_tests::golden::Golden;
use sysclone_tests::lab::{Bus, Disk, Machine, Network, Spec};
use sysclone_tests::site::Site;
use sysclone_tests::steps::Steps;

const CURL: Tool = Tool("curl");

/// Memory of the smallest machine that can be installed.
const LEAST_MEMORY_MIB: u32 = 512;

/// Powering a golden client off.
const OFF_LIMIT: Duration = Duration::from_secs(180);

pub(crate) struct World<'net> {
    pub(crate) steps: Steps,
    pub(crate) network: &'net Network,
    pub(crate) site: Site<'net>,
    pub(crate) golden: Golden,
    pub(crate) logs: PathBuf,
    /// The ticket of the last installation that failed.
    pub(crate) burnt_ticket: Option<String>,
}

/// One line of `events --json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) node: Option<String>,
    pub(crate) kind: String,
    pub(crate) text: String,
}

impl World<'_> {
    /// The golden client's disk, as it was left when the client was shut down after its capture.
    pub(crate) fn golden_disk(&self) -> PathBuf {
        self.network.scratch().join("golden.img")
    }

    pub(crate) fn target_disk(&self) -> PathBuf {
        self.network.scratch().join("target.img")
    }

    /// Boots the golden client, captures it and shuts it down.
    pub(crate) fn capture(&mut self) -> Result<()> {
        self.steps.run("defining network and nodes", || cycle::define(&self.site))?;
        let (machine, ssh) = self.steps.run("booting node golden", || {
            cycle::boot_golden(self.network, &self.golden, &self.golden_disk(), &self.logs)
        })?;
        self.steps.run("capturing node golden", || cycle::capture(&self.site, &self.steps))?;
        self.steps.run("shutting down node golden", || {
            // The connection may break before the command has answered.
            drop(ssh.run("systemctl poweroff"));
            machine.wait_exit(OFF_LIMIT).map(drop)
        })
    }

    /// A blank disk for the target; one that an earlier case has left is replaced.
    pub(crate) fn blank(&self, name: &str, size_bytes: u64) -> Result<Disk> {
        Disk::blank(&self.network.scratch().join(name), size_bytes, Bus::Nvme)
    }

    /// Switches the target on with these disks.
    pub(crate) fn start_target(&self, disks: Vec<Disk>, log: &str) -> Result<Machine> {
        let logs = self.logs.join(log);
        std::fs::create_dir_all(&logs).context("creating the log folder")?;
        cycle::target(disks, &logs).restart_ends().start(self.network)
    }

    /// The target with these disks and the least memory that an installation is promised to need.
    pub(crate) fn small_target(&self, disks: Vec<Disk>, log: &str) -> Spec {
        cycle::target(disks, &self.logs.join(log)).memory_mib(LEAST_MEMORY_MIB)
    }

    /// Arms the target, switches it on, and waits until its installation has failed; returns the reason.
    pub(crate) fn failed_install(&mut self, disks: Vec<Disk>, log: &str) -> Result<String> {
        cycle::arm(&self.site)?;
        let machine = self.start_target(disks, log)?;
        let status = cycle::follow(&self.site, &machine, &["failed", "rebooting", "booted"], &self.steps)?;
        ensure!(status.state == "failed", "the node is {}, it should have failed", status.state);
        self.burnt_ticket = ticket_in(&machine.console().text());
        let reason = status.reason.unwrap_or_default();
        self.steps.say(&format!("  {reason}"));
        Ok(reason)
    }

    /// All events so far.
    pub(crate) fn events(&self) -> Result<Vec<Event>> {
        let text = self.site.cli(&["events", "--json"])?;
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("reading {line}")))
            .collect()
    }

    /// Waits for an event of this kind, on `node` when given, whose text holds all of `words`.
    pub(crate) fn expect_event(&self, kind: &str, words: &[&str]) -> Result<Event> {
        let found = |event: &Event| event.kind == kind && words.iter().all(|word| event.text.contains(word));
        sysclone_tests::lab::wait::until(
            &format!("an event {kind} with {words:?}"),
            Duration::from_secs(120),
            || Ok(self.events()?.into_iter().find(|event| found(event))),
        )
    }

    /// The target's loader configuration, as the boot server shows it to `asker`.
    pub(crate) fn loader_config(&self, asker: Ipv4Addr) -> Result<String> {
        let mac = TARGET_MAC.replace(':', "-");
        let url = format!("http://{}:8080/boot/pxelinux.cfg/01-{mac}", Network::SERVER);
        let curl = self.network.command(CURL).args(["--silent", "--show-error", "--fail", "--interface"]);
        let output = System.run(&curl.arg(asker.to_string()).arg(url)).context("fetching a boot file")?;
        Ok(output.text())
    }

    /// Posts JSON to the agents' side of the server; returns the status and the answer.
    pub(crate) fn post(&self, path: &str, body: &serde_json::Value) -> Result<(u16, String)> {
        let url = format!("https://{}:8443{path}", Network::SERVER);
        // Who may do what is the matter here; that agents trust the server's certificate is proved by the clones.
        let args =
            ["--silent", "--show-error", "--insecure", "--data", "@-", "--write-out", "\n%{http_code}"];
        let curl =
            self.network.command(CURL).args(args).args(["--header", "content-type: application/json", &url]);
        let output = System.run(&curl.stdin(body.to_string())).context("posting as an agent")?.text();
        let Some((answer, status)) = output.rsplit_once('\n') else { bail!("curl said {output:?}") };
        Ok((status.parse().context("status code")?, answer.to_owned()))
    }

    /// The events of the target so far.
    pub(crate) fn target_events(&self) -> Result<usize> {
        Ok(self.events()?.iter().filter(|event| event.node.as_deref() == Some(TARGET)).count())
    }
}

/// The ticket in a kernel command line.
pub(crate) fn ticket_in(text: &str) -> Option<String> {
    let word = text.split_ascii_whitespace().find_map(|word| word.strip_prefix("sysclone.ticket="));
    word.map(str::to_owned)
}

/// Whether nothing was ever written to a blank disk.
pub(crate) fn is_untouched(disk: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata(disk).with_context(|| format!("looking at {}", disk.display()))?.blocks() == 0)
}
