//! The report role: a clone that runs from its own disk says so, once.

mod root;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use sysclone_protocol::agent::BootReport;
use sysclone_protocol::names::Secret;

use crate::client::{Client, Patience};
use crate::clone_config::{CONFIG_FILE, CloneConfig, NOTE_FILE, RC_LINE, UNIT_LINK};
use crate::console::{Place, start_logging};
use crate::identity::remove_file;
use crate::update::{UpdateConfig, install_catch_up};

/// Start scripts that may hold the report's line.
const RC_LOCAL: &[&str] = &["/etc/rc.d/rc.local", "/etc/rc.local"];

/// Reports this clone to its server, for as long as it takes, then removes the token and what starts the report.
#[must_use]
pub fn run(debug: bool) -> ExitCode {
    start_logging(Place::Stderr, debug);
    match report(Path::new(CONFIG_FILE)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Shows which generation this clone is of.
#[must_use]
pub fn show() -> ExitCode {
    match std::fs::read_to_string(NOTE_FILE) {
        Ok(note) => {
            print!("{note}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{NOTE_FILE}: {error}; this machine is not a sysclone clone");
            ExitCode::FAILURE
        }
    }
}

fn report(file: &Path) -> anyhow::Result<()> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::info!("{} is not there: this clone has reported before", file.display());
            return Ok(());
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    let config: CloneConfig = toml::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
    let client =
        Client::new(&config.server, &config.ca_pem, Patience::Endless)?.with_token(config.token.clone());
    let report = boot_report(&config)?;
    let reply = client.report(&report).with_context(|| format!("reporting to {}", config.server))?;
    if let Some(token) = reply.node_token {
        keep_token(&config, token).context("keeping the token for later updates")?;
    }
    tracing::info!("reported {} of {} to {}", config.image, config.node, config.server);
    clean_up(file)
}

fn keep_token(config: &CloneConfig, token: Secret) -> std::io::Result<()> {
    let CloneConfig { server, node, ca_pem, .. } = config.clone();
    UpdateConfig { server, token, node, ca_pem }.save()?;
    install_catch_up()
}

fn boot_report(config: &CloneConfig) -> anyhow::Result<BootReport> {
    let uname = rustix::system::uname();
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("reading {path}"));
    let root = root::find(&read("/proc/self/mountinfo")?).context("no device is mounted at /")?;
    let disk = root::disk_of(Path::new("/sys"), &root.number);
    let disks = crate::disk::inventory()?.disks;
    let facts = disks.into_iter().find(|facts| Some(&facts.name) == disk.as_ref());
    Ok(BootReport {
        node: config.node.clone(),
        job: config.job.clone(),
        image: config.image.clone(),
        kernel: uname.release().to_string_lossy().into_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
        root_device: root.source,
        root_disk: facts.and_then(|facts| facts.serial.or(facts.wwn)),
        hostname: uname.nodename().to_string_lossy().into_owned(),
    })
}

/// The token is worth nothing any more; a clone should not keep what it does not need.
fn clean_up(config: &Path) -> anyhow::Result<()> {
    for path in [&config.to_string_lossy(), UNIT_LINK] {
        remove_file(path).with_context(|| format!("removing {path}"))?;
    }
    for path in RC_LOCAL {
        remove_rc_line(Path::new(path)).with_context(|| format!("removing the report from {path}"))?;
    }
    Ok(())
}

fn remove_rc_line(path: &Path) -> std::io::Result<()> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(()) };
    if !text.lines().any(|line| line == RC_LINE) {
        return Ok(());
    }
    let kept: String = text.split_inclusive('\n').filter(|line| line.trim_end() != RC_LINE).collect();
    std::fs::write(path, kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_without_a_token_has_reported_before() {
        report(Path::new("/nonexistent/clone.toml")).unwrap();
    }

    #[test]
    fn only_our_line_leaves_the_start_script() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rc.local");
        std::fs::write(&path, format!("#!/bin/sh\ntouch /x\n{RC_LINE}\nexit 0\n")).unwrap();
        remove_rc_line(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "#!/bin/sh\ntouch /x\nexit 0\n");
        remove_rc_line(&dir.path().join("absent")).unwrap();
    }
}
