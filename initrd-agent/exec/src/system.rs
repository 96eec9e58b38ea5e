//! Runs commands for real.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::Runner;
use crate::command::{Command, ExecError, Output, Tool};

/// How much of the end of a failed program's error output is kept.
const STDERR_TAIL: usize = 1024;

/// Starts programs on this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Runner for System {
    fn run(&self, command: &Command) -> Result<Output, ExecError> {
        let line = command.line();
        tracing::debug!(command = line, "run");
        // A group of its own, so that what it starts can be ended with it.
        let child = prepared(command).process_group(0).spawn();
        let child = child.map_err(|source| ExecError::Start { line: line.clone(), source })?;
        let (status, stdout, stderr) = wait(child, command, &line)?;
        let code = status.code().unwrap_or(-1);
        if command.accepted.contains(&code) && status.signal().is_none() {
            return Ok(Output { stdout, stderr, status: code });
        }
        let status = match status.signal() {
            Some(signal) => format!("signal {signal}"),
            None => format!("exit status {code}"),
        };
        Err(ExecError::Failed { line, status, stderr: tail(&stderr) })
    }
}

/// Starts a program on this process's own standard input, output and error and does not wait for it: for a
/// supervisor's worker and a person's shell. Timeout and accepted statuses of `command` have no meaning here.
///
/// # Errors
/// The program is not there or could not be started.
pub fn start_attached(command: &Command) -> Result<Child, ExecError> {
    let line = command.line();
    tracing::debug!(command = line, "start");
    let mut process = prepared(command);
    process.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    process.spawn().map_err(|source| ExecError::Start { line, source })
}

/// Starts a program that is fed through its standard input while it runs, in a process group of its own, so that what
/// ends this process does not end it; its output goes nowhere.
///
/// # Errors
/// The program is not there or could not be started.
pub fn start_fed(command: &Command) -> Result<(Child, ChildStdin), ExecError> {
    let line = command.line();
    tracing::debug!(command = line, "start");
    let mut process = prepared(command);
    process.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = process.spawn().map_err(|source| ExecError::Start { line, source })?;
    let stdin = child.stdin.take().expect("standard input is piped");
    Ok((child, stdin))
}

fn prepared(command: &Command) -> std::process::Command {
    let mut process = match &command.root {
        None => std::process::Command::new(&command.program),
        Some(root) => {
            let mut chroot = std::process::Command::new("chroot");
            chroot.arg(root).arg(&command.program);
            chroot
        }
    };
    process.args(&command.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if command.clear_env {
        process.env_clear();
        process.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
    }
    if let Some(dir) = &command.dir {
        process.current_dir(dir);
    }
    process.env("LC_ALL", "C").envs(command.env.iter().map(|(k, v)| (k, v)));
    process
}

type Ended = (ExitStatus, Vec<u8>, Vec<u8>);

/// What a program left running may hold its pipes open for this long after it ended; then what came is all there is.
const LEFT_BEHIND: Duration = Duration::from_secs(2);

/// Something that a running program did.
enum News {
    Ended(io::Result<ExitStatus>),
    PipeClosed(io::Result<()>),
}

/// What came out of a pipe so far; its reader may outlive the run when somebody else holds the other end.
type Gathered = Arc<Mutex<Vec<u8>>>;

fn wait(mut child: Child, command: &Command, line: &str) -> Result<Ended, ExecError> {
    let pipe = |source| ExecError::Pipe { line: line.to_owned(), source };
    let group = group_of(&child);
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let (out, err) =
        (child.stdout.take().expect("stdout is piped"), child.stderr.take().expect("stderr is piped"));
    let input = command.stdin.clone();
    // A program may end without reading all its input; that is its own affair, not an error of ours.
    thread::spawn(move || drop(stdin.write_all(&input)));
    let (sender, news) = mpsc::channel();
    let (stdout, stderr) = (gather(out, sender.clone()), gather(err, sender.clone()));
    thread::spawn(move || drop(sender.send(News::Ended(child.wait()))));
    let status = follow(&news, command.timeout).map_err(pipe)?;
    let Some(status) = status else {
        end(group);
        // The killed program's pipes close at once, and its last words are in them; whoever left its group may hold
        // them for ever.
        drop(follow(&news, LEFT_BEHIND));
        let stderr = tail(&taken(&stderr));
        return Err(ExecError::Timeout { line: line.to_owned(), timeout: command.timeout, stderr });
    };
    Ok((status, taken(&stdout), taken(&stderr)))
}

/// Waits until the program has ended and its pipes are closed; none when that takes longer than `limit`.
fn follow(news: &Receiver<News>, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let mut deadline = Instant::now() + limit;
    let (mut status, mut open_pipes) = (None, 2);
    loop {
        if status.is_some() && open_pipes == 0 {
            return Ok(status);
        }
        match news.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(News::Ended(ended)) => {
                status = Some(ended?);
                deadline = deadline.min(Instant::now() + LEFT_BEHIND);
            }
            Ok(News::PipeClosed(closed)) => {
                closed?;
                open_pipes -= 1;
            }
            Err(_) => return Ok(status),
        }
    }
}

/// Reads a pipe to its end on a thread of its own.
fn gather(mut pipe: impl Read + Send + 'static, sender: Sender<News>) -> Gathered {
    let gathered = Gathered::default();
    let shared = Arc::clone(&gathered);
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        let closed = loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(n) => shared.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        // Nobody listens any more when the run is over.
        drop(sender.send(News::PipeClosed(closed)));
    });
    gathered
}

fn taken(gathered: &Gathered) -> Vec<u8> {
    std::mem::take(&mut gathered.lock().unwrap_or_else(PoisonError::into_inner))
}

fn group_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Ends a program and everything that it started and that stayed in its process group.
fn end(group: Option<Pid>) {
    let killed = group.map(|group| kill_process_group(group, Signal::KILL));
    if let Some(Err(error)) = killed.filter(|answer| *answer != Err(Errno::SRCH)) {
        tracing::warn!(%error, "a program that ran too long could not be ended");
    }
}

fn tail(stderr: &[u8]) -> String {
    let start = stderr.len().saturating_sub(STDERR_TAIL);
    String::from_utf8_lossy(&stderr[start..]).trim().replace('\n', " | ")
}

/// Of `tools`, those that no directory in `PATH` holds. Checked at start, so that a missing tool is named before
/// any work begins.
#[must_use]
pub fn missing_tools(tools: &[Tool]) -> Vec<Tool> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |tool: &Tool| std::env::split_paths(&path).any(|dir| is_program(&dir.join(tool.0)));
    tools.iter().copied().filter(|tool| !found(tool)).collect()
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Kept short so that tests of the deadline are quick.
#[cfg(test)]
const SHORT: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    const CAT: Tool = Tool("cat");
    const SLEEP: Tool = Tool("sleep");
    const LS: Tool = Tool("ls");
    const SH: Tool = Tool("sh");

    fn shell(script: &str) -> Command {
        Command::new(SH).arg("-c").arg(script)
    }

    #[test]
    fn input_and_output_are_passed_through() {
        let output = System.run(&Command::new(CAT).stdin("hello")).unwrap();
        assert_eq!(output.text(), "hello");
    }

    #[test]
    fn a_failure_carries_command_status_and_error_output() {
        let error = System.run(&Command::new(LS).arg("/no such place")).unwrap_err().to_string();
        assert!(error.starts_with("ls \"/no such place\": exit status 2: "), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }

    #[test]
    fn an_accepted_status_is_not_a_failure() {
        assert_eq!(System.run(&Command::new(LS).arg("/no such place").accept(2)).unwrap().status, 2);
    }

    #[test]
    fn a_program_stands_where_it_is_told_to() {
        let output = System.run(&Command::new(LS).in_dir("/proc").args(["-d", "self"])).unwrap();
        assert_eq!(output.text().trim(), "self");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let error = System.run(&Command::new(SLEEP).arg("1000").timeout(SHORT)).unwrap_err();
        assert!(matches!(error, ExecError::Timeout { .. }), "{error}");
    }

    /// Whether a process runs (a zombie does not).
    fn runs(pid: &str) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    #[test]
    fn what_a_hanging_program_started_is_ended_with_it() {
        // Standard output is closed, only the grandchild holds the error output.
        let dir = tempfile::tempdir().unwrap();
        let script = "sleep 1000 >/dev/null & echo $! > pid; exec sleep 1000 >/dev/null";
        let began = Instant::now();
        let error = System.run(&shell(script).in_dir(dir.path()).timeout(SHORT)).unwrap_err();
        assert!(matches!(error, ExecError::Timeout { .. }), "{error}");
        assert!(began.elapsed() < LEFT_BEHIND, "{:?}", began.elapsed());
        let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
        // It was killed; on a busy machine it gets to end a little later.
        while runs(pid.trim()) {
            assert!(began.elapsed() < 2 * LEFT_BEHIND, "{pid} still runs");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_deadline_holds_although_somebody_left_the_group_with_the_pipes() {
        let dir = tempfile::tempdir().unwrap();
        let script = "setsid sleep 30 & echo $! > pid; echo last words >&2; exec sleep 1000";
        let began = Instant::now();
        let error = System.run(&shell(script).in_dir(dir.path()).timeout(SHORT)).unwrap_err();
        assert!(matches!(&error, ExecError::Timeout { stderr, .. } if stderr == "last words"), "{error}");
        assert!(began.elapsed() < 2 * LEFT_BEHIND, "{:?}", began.elapsed());
        let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[test]
    fn a_program_that_leaves_a_daemon_behind_has_ended() {
        let output = System.run(&shell("setsid sleep 8 & echo done")).unwrap();
        assert_eq!(output.text(), "done\n");
    }

    #[test]
    fn an_attached_program_runs_on_its_own() {
        let mut child = start_attached(&Command::new(SLEEP).arg("0")).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(matches!(start_attached(&Command::new(Tool("no-such-tool"))), Err(ExecError::Start { .. })));
    }

    #[test]
    fn missing_tools_are_named() {
        assert_eq!(missing_tools(&[CAT, Tool("no-such-tool")]), [Tool("no-such-tool")]);
    }
}
