//! Runs commands for real.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;

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
        let mut child =
            prepared(command).spawn().map_err(|source| ExecError::Start { line: line.clone(), source })?;
        let (status, stdout, stderr) = wait(&mut child, command, &line)?;
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

type Ended = (std::process::ExitStatus, Vec<u8>, Vec<u8>);

fn wait(child: &mut Child, command: &Command, line: &str) -> Result<Ended, ExecError> {
    let pipe = |source| ExecError::Pipe { line: line.to_owned(), source };
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let (mut out, mut err) =
        (child.stdout.take().expect("stdout is piped"), child.stderr.take().expect("stderr is piped"));
    let input = command.stdin.clone();
    // A program may end without reading all its input; that is its own affair, not an error of ours.
    thread::spawn(move || drop(stdin.write_all(&input)));
    let (sender, ended) = mpsc::channel();
    let errors = thread::spawn(move || read_all(&mut err));
    thread::spawn(move || drop(sender.send(read_all(&mut out))));
    match ended.recv_timeout(command.timeout) {
        Ok(stdout) => {
            let stderr = errors.join().expect("the reader does not panic").map_err(pipe)?;
            Ok((child.wait().map_err(pipe)?, stdout.map_err(pipe)?, stderr))
        }
        Err(_) => {
            child.kill().map_err(pipe)?;
            child.wait().map_err(pipe)?;
            let stderr = errors.join().expect("the reader does not panic").unwrap_or_default();
            Err(ExecError::Timeout { line: line.to_owned(), timeout: command.timeout, stderr: tail(&stderr) })
        }
    }
}

fn read_all(pipe: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes)?;
    Ok(bytes)
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
const SHORT: std::time::Duration = std::time::Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    const CAT: Tool = Tool("cat");
    const SLEEP: Tool = Tool("sleep");
    const LS: Tool = Tool("ls");

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
