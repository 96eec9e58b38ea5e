//! Starts the worker, collects dead children, and holds the machine when the worker failed.
//!
//! Process 1 must never end, or the kernel panics and the reason is lost. So it does next to nothing itself: the work
//! is done by a child, and whatever kills the child is reported by this process. A failed machine is not restarted:
//! it keeps the reason on its console and keeps trying to tell the server, unless `sysclone.hold=MINUTES` says when to
//! give up. (The ticket is spent by then, so the next boot is from the local disk, never a second installation.)

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, WaitStatus, wait};
use rustix::system::{RebootCommand, reboot};
use sysclone_exec::{Command, Tool, start_attached};
use sysclone_protocol::agent::{AgentEvent, AgentEventKind};

use super::mounts::mount_kernel_file_systems;
use crate::client::{Client, Patience};
use crate::console::{LOG_FILE, Place, start_logging};
use crate::install::CA_FILE;
use crate::session::{self, Failure, Session};

/// Exit status of a worker that has written down why it failed.
pub const WORKER_FAILED: u8 = 3;
/// How long a machine that restarts to go on tries to say why; the network boot says that it did, anyway.
const TOLD_BEFORE_RESTART: Duration = Duration::from_secs(30);
const SELF: Tool = Tool("/proc/self/exe");
const BUSYBOX: Tool = Tool("busybox");
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs as process 1. Does not return while the machine is up.
pub fn run_init() -> ! {
    let complaints = mount_kernel_file_systems();
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    start_logging(Place::Consoles, has_word(&cmdline, "sysclone.debug"));
    for complaint in complaints {
        tracing::error!(complaint, "the initrd is not as it should be");
    }
    tracing::info!("agent {} started", env!("CARGO_PKG_VERSION"));
    let ended = run_worker();
    go_on_after(&ended);
    let session = match settle_session(&ended) {
        Some(session) => {
            let told = session.clone();
            std::thread::spawn(move || deliver_failure(&told));
            Some(session)
        }
        None => None,
    };
    hold(session.is_some_and(|session| session.allow_shell), &cmdline)
}

fn run_worker() -> String {
    // The kernel's own messages would be mixed with ours on the same console; warnings still come through.
    drop(std::fs::write("/proc/sys/kernel/printk", "4 4 1 7"));
    let command = Command::new(SELF).arg("install").env("PATH", PATH).env("HOME", "/root");
    match start_attached(&command) {
        Ok(child) => {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            wait_for_child(pid)
        }
        Err(error) => format!("it could not be started: {:#}", anyhow::Error::new(error)),
    }
}

/// Waits until `wanted` has ended and says how; any other child is just collected.
fn wait_for_child(wanted: Option<Pid>) -> String {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == wanted => return ending(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return format!("it was lost: {error}"),
        }
    }
}

fn ending(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("it ended with status {code}"),
        (None, Some(signal)) => format!("it was killed by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

/// Restarts the machine when its worker died in a phase that another one can go on with. The server counts, and does
/// not let a machine do so for ever.
fn go_on_after(ended: &str) {
    let Ok(Some(session)) = Session::load(Path::new(session::FILE)) else { return };
    if !session.may_go_on() {
        return;
    }
    let text = format!("the installing process died ({ended}); the machine restarts to go on");
    tracing::error!("{text}");
    let event = AgentEvent { phase: session.phase, kind: AgentEventKind::Warning { text } };
    if let Err(error) = tell(&session, &event, Patience::For(TOLD_BEFORE_RESTART)) {
        tracing::warn!("the server could not be told: {error:#}");
    }
    restart();
}

/// The session, with a failure in it even when the worker could not write one.
fn settle_session(ended: &str) -> Option<Session> {
    let mut session = match Session::load(Path::new(session::FILE)) {
        Ok(Some(session)) => session,
        Ok(None) => {
            tracing::error!(ended, "installation failed before the server knew this machine");
            return None;
        }
        Err(error) => {
            tracing::error!(ended, %error, "installation failed and its session cannot be read");
            return None;
        }
    };
    if session.failure.is_none() {
        let reason = format!("the installing process died: {ended}");
        tracing::error!("installation failed: {reason}; disks: {}", session.disk_state.words());
        session.failure = Some(Failure { reason, detail: None });
    }
    Some(session)
}

/// Tells the server about a failed installation, for as long as it takes.
pub fn deliver_failure(session: &Session) {
    let Some(event) = session.failed_event() else { return };
    match tell(session, &event, Patience::Endless) {
        Ok(()) => tracing::info!("the server was told about the failure"),
        Err(error) => tracing::error!("the server could not be told about the failure: {error:#}"),
    }
}

fn tell(session: &Session, event: &AgentEvent, patience: Patience) -> anyhow::Result<()> {
    let ca = std::fs::read_to_string(CA_FILE)?;
    let client = Client::new(&session.server, &ca, patience)?;
    client.with_token(session.token.clone()).event(event)?;
    Ok(())
}

/// Keeps the machine up. With `shell`, a root shell runs on the console, again whenever it is left.
fn hold(shell: bool, cmdline: &str) -> ! {
    if let Some(minutes) = value_of(cmdline, "sysclone.hold").and_then(|text| text.parse::<u64>().ok()) {
        tracing::info!(minutes, "this machine restarts when the time is over");
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(minutes * 60));
            restart();
        });
    }
    if !shell {
        tracing::info!("this machine now waits to be looked at; its log is above");
    }
    loop {
        if shell {
            tracing::info!("root shell on the console; the log is {LOG_FILE}, `reboot -f` restarts");
            drop(std::io::stdout().flush());
            match start_attached(&console_shell()) {
                Ok(child) => {
                    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                    tracing::debug!(ended = wait_for_child(pid), "shell");
                }
                Err(error) => tracing::error!("{:#}", anyhow::Error::new(error)),
            }
        }
        // Children of dead workers are collected for as long as the machine stands.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// A root shell that has the console as its terminal.
pub(crate) fn console_shell() -> Command {
    Command::new(BUSYBOX).args(["setsid", "cttyhack", "sh"]).env("PATH", PATH)
}

/// A kernel that hangs on its way out, as some do when they stop their other processors, is to end in a restart all the
/// same: its watchdog sees that it hangs, and a panic restarts it.
fn watch_the_end() {
    for (setting, value) in [("softlockup_panic", "1"), ("hardlockup_panic", "1"), ("panic", "5")] {
        drop(std::fs::write(Path::new("/proc/sys/kernel").join(setting), value));
    }
}

/// Restarts the machine at once. Everything is written before.
pub(crate) fn restart() {
    rustix::fs::sync();
    watch_the_end();
    if let Err(error) = reboot(RebootCommand::Restart) {
        tracing::error!(%error, "the kernel does not restart this machine; switch it off and on");
    }
}

/// Switches the machine off at once. Everything is written before.
pub(crate) fn switch_off() {
    rustix::fs::sync();
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        tracing::error!(%error, "the kernel does not switch this machine off");
    }
}

/// The value of the last `word=value` on a kernel command line.
fn value_of<'a>(cmdline: &'a str, word: &str) -> Option<&'a str> {
    cmdline.split_ascii_whitespace().rev().find_map(|w| w.strip_prefix(word)?.strip_prefix('='))
}

fn has_word(cmdline: &str, word: &str) -> bool {
    cmdline.split_ascii_whitespace().any(|w| w == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_command_line_are_found_whole() {
        let line = "quiet sysclone.hold=5 sysclone.holdx=9 sysclone.debugger sysclone.hold=7";
        assert_eq!(value_of(line, "sysclone.hold"), Some("7"));
        assert_eq!(value_of(line, "sysclone.hol"), None);
        assert!(!has_word(line, "sysclone.debug") && has_word(line, "quiet"));
    }
}
