//! A program that runs beside the test: its output in a log, its end observed, ended with the value that owns it.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::cleanup::{self, Guard};
use super::transcript::Transcript;
use super::wait;

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);

/// A program running in the background.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    child: Arc<Mutex<Child>>,
    stdin: ChildStdin,
    transcript: Transcript,
    _ended_on_drop: Guard,
}

/// How a program ended.
pub type Exit = ExitStatus;

impl Process {
    /// Starts `command`; what it prints goes to `log` and can be waited for.
    ///
    /// # Errors
    /// The program or its log cannot be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let (output, writer) = std::io::pipe().context("making a pipe")?;
        let errors = writer.try_clone().context("making a pipe")?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(writer)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {name}: {command:?}"))?;
        // The command keeps the pipe's writing end; only the program may hold it, or its end is never seen.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let stdin = child.stdin.take().expect("stdin is piped");
        let pid = Pid::from_child(&child);
        let child = Arc::new(Mutex::new(child));
        let (victim, label) = (Arc::clone(&child), name.to_owned());
        let guard = cleanup::guard(move || cleanup::report(&label, end(&victim, pid)));
        let transcript = Transcript::follow(name, output, log)?;
        Ok(Self { name: name.to_owned(), pid, child, stdin, transcript, _ended_on_drop: guard })
    }

    /// What it prints.
    #[must_use]
    pub fn output(&self) -> &Transcript {
        &self.transcript
    }

    /// Types `text` on its standard input (a machine's serial console).
    ///
    /// # Errors
    /// The program has closed it.
    pub fn send(&mut self, text: &str) -> Result<()> {
        self.stdin.write_all(text.as_bytes()).with_context(|| format!("writing to {}", self.name))
    }

    /// Process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn ended(&self) -> Result<Option<Exit>> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.try_wait().with_context(|| format!("asking for {}", self.name))
    }

    /// Fails when it has ended, with its last lines.
    ///
    /// # Errors
    /// It has ended.
    pub fn check_running(&self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended ({status}); its last lines:\n{}", self.name, self.transcript.tail())
            }
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It still runs when the deadline passes.
    pub fn wait_exit(&self, limit: Duration) -> Result<Exit> {
        wait::until(&format!("the end of {}", self.name), limit, || self.ended())
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.kill().with_context(|| format!("killing {}", self.name))?;
        child.wait().map(drop).with_context(|| format!("waiting for {}", self.name))
    }
}

/// Asks the program to end, and ends it when it does not.
fn end(child: &Mutex<Child>, pid: Pid) -> Result<()> {
    let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    kill_process(pid, Signal::TERM).context("asking it to end")?;
    if wait::until("its end", GRACE, || Ok(child.try_wait()?)).is_err() {
        child.kill().context("ending it")?;
        child.wait().context("waiting for its end")?;
    }
    Ok(())
}

/// Where a daemon says that it is ready (sd_notify(3)).
#[derive(Debug)]
pub struct Readiness {
    socket: UnixDatagram,
}

impl Readiness {
    /// Listens on `path`, which the daemon gets as `NOTIFY_SOCKET`.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn at(path: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(path).with_context(|| format!("binding {}", path.display()))?;
        socket.set_nonblocking(true).context("preparing the notify socket")?;
        Ok(Self { socket })
    }

    /// Waits until `process` says `READY=1`.
    ///
    /// # Errors
    /// It ends first, or the deadline passes.
    pub fn wait(&self, process: &Process, limit: Duration) -> Result<()> {
        let mut message = [0; 4096];
        wait::until(&format!("{} being ready", process.name), limit, || {
            process.check_running()?;
            let count = match self.socket.recv(&mut message) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error).context("reading the notify socket"),
            };
            let text = String::from_utf8_lossy(&message[..count]);
            Ok(text.lines().any(|line| line == "READY=1").then_some(()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_program_is_heard_written_to_and_ended_with_its_value() {
        let dir = tempfile::tempdir().unwrap();
        let mut cat = Process::start("cat", &mut Command::new("cat"), &dir.path().join("log")).unwrap();
        cat.send("hello\n").unwrap();
        cat.output().expect("hello", SOON).unwrap();
        cat.check_running().unwrap();
        let place = format!("/proc/{}", cat.pid());
        assert!(Path::new(&place).exists());
        drop(cat);
        assert!(!Path::new(&place).exists());
    }

    #[test]
    fn a_program_that_ended_is_shown_with_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("ls");
        let ls = Process::start("ls", command.arg("/no such place"), &dir.path().join("log")).unwrap();
        assert_eq!(ls.wait_exit(SOON).unwrap().code(), Some(2));
        ls.output().expect("No such file", SOON).unwrap();
        assert!(ls.check_running().unwrap_err().to_string().contains("No such file"));
    }
}
