//! A command as a value: what to run, with what input, for how long.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A program that this project may start. Declared as constants, so that all can be checked before work begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tool(pub &'static str);

/// How long a command may take when nothing else is said. Emulated machines start programs slowly, and one large
/// mkfs may take minutes, so the value only stops what hangs.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// One run of a program, not yet started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) clear_env: bool,
    pub(crate) stdin: Vec<u8>,
    pub(crate) timeout: Duration,
    pub(crate) root: Option<PathBuf>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) accepted: Vec<i32>,
}

impl Command {
    /// A run of `tool`, found by `PATH`.
    #[must_use]
    pub fn new(tool: Tool) -> Self {
        Self {
            program: tool.0.into(),
            args: Vec::new(),
            env: Vec::new(),
            clear_env: false,
            stdin: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            root: None,
            dir: None,
            accepted: vec![0],
        }
    }

    /// A run of this very file: a program that the machine's administrator put where it is.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        Self { program: path.into(), ..Self::new(Tool("")) }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable. Secrets travel here or on standard input, never as arguments.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Gives the program these bytes on standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Ends the program when it runs longer than this.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs the program inside `root` (chroot) with a plain environment.
    #[must_use]
    pub fn in_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self.clear_env = true;
        self
    }

    /// Runs the program with `dir` as its working directory, for tools that write where they stand.
    #[must_use]
    pub fn in_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Accepts this exit status as well as 0 (for tools such as fsck that use it to say more).
    #[must_use]
    pub fn accept(mut self, status: i32) -> Self {
        self.accepted.push(status);
        self
    }

    /// The command as one readable line, for logs, errors and golden files.
    #[must_use]
    pub fn line(&self) -> String {
        let quote = |word: &OsStr| {
            let text = word.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
            if !text.is_empty() && text.chars().all(plain) { text.into_owned() } else { format!("{text:?}") }
        };
        let mut words = vec![quote(&self.program)];
        words.extend(self.args.iter().map(|a| quote(a)));
        if let Some(root) = &self.root {
            words.insert(0, format!("[in {}]", root.display()));
        }
        words.join(" ")
    }
}

/// What a program that ended well said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Exit status (one of the accepted ones).
    pub status: i32,
}

impl Output {
    /// Standard output as text, bytes that are not UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The program is not there or could not be started.
    #[error("{line}: cannot be started")]
    Start {
        /// The command.
        line: String,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Reading or writing its pipes failed.
    #[error("{line}: lost contact")]
    Pipe {
        /// The command.
        line: String,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// It ran too long and was ended.
    #[error("{line}: not finished after {} s, ended: {stderr}", timeout.as_secs())]
    Timeout {
        /// The command.
        line: String,
        /// The limit.
        timeout: Duration,
        /// Last 1 KiB of its error output.
        stderr: String,
    },
    /// It ended with a status that says failure.
    #[error("{line}: {status}: {stderr}")]
    Failed {
        /// The command.
        line: String,
        /// `exit status 5`, `signal 9`.
        status: String,
        /// Last 1 KiB of its error output.
        stderr: String,
    },
    /// A test's script has no answer for it.
    #[error("{line}: no recorded answer")]
    Unscripted {
        /// The command.
        line: String,
    },
}
