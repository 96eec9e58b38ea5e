//! Where output goes, and how a run ends.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// All was done.
    Done,
    /// Something, perhaps one node of many, failed.
    Failed,
    /// It was asked for wrongly; nothing was done.
    Usage,
    /// A person stopped it.
    Interrupted,
}

impl Exit {
    /// [`Exit::Failed`] when `failed`.
    pub(super) fn failed_if(failed: bool) -> Self {
        if failed { Self::Failed } else { Self::Done }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            // What a shell reports for a program that SIGINT ended.
            Exit::Interrupted => 130,
        })
    }
}

/// Something was asked for wrongly.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// Nobody reads the output any more.
#[derive(Debug, thiserror::Error)]
#[error("the output was closed")]
pub(super) struct Closed;

/// Standard output and standard error, or a test's buffers.
pub(super) struct Console {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    /// Whether standard output is a terminal.
    pub(super) out_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub(super) err_is_terminal: bool,
}

impl Console {
    pub(super) fn of_process() -> Self {
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            out_is_terminal: io::stdout().is_terminal(),
            err_is_terminal: io::stderr().is_terminal(),
        }
    }

    /// Writes data as it is.
    ///
    /// # Errors
    /// [`Closed`] when nobody reads it any more.
    pub(super) fn data(&mut self, text: &str) -> anyhow::Result<()> {
        written(self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()))
    }

    /// Writes bytes as they are; [`Console::flush`] ends them.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Sends on what was written.
    ///
    /// # Errors
    /// [`Closed`] when nobody reads it any more.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        written(self.out.flush())
    }

    /// Writes a line of data, without control characters.
    ///
    /// # Errors
    /// [`Closed`] when nobody reads it any more.
    pub(super) fn line(&mut self, text: &str) -> anyhow::Result<()> {
        self.data(&format!("{}\n", plain(text)))
    }

    /// Writes a document as data.
    ///
    /// # Errors
    /// [`Closed`] when nobody reads it any more.
    pub(super) fn json(&mut self, document: &impl serde::Serialize) -> anyhow::Result<()> {
        self.data(&format!("{}\n", serde_json::to_string_pretty(document)?))
    }

    /// Writes text for people, who may have gone, beside the data.
    ///
    /// # Errors
    /// [`Closed`] when nobody reads it any more.
    pub(super) fn note(&mut self, text: &str) -> anyhow::Result<()> {
        written(self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush()))
    }

    /// Writes a line about something that failed.
    ///
    /// # Errors
    /// [`Closed`] when nobody reads it any more.
    pub(super) fn error(&mut self, text: &str) -> anyhow::Result<()> {
        self.note(&format!("Error: {}\n", plain(text)))
    }

    /// Writes a line about something that failed on one node.
    ///
    /// # Errors
    /// [`Closed`] when nobody reads it any more.
    pub(super) fn node_error(&mut self, node: &str, text: &str) -> anyhow::Result<()> {
        self.note(&format!("{node}: Error: {}\n", plain(text)))
    }
}

/// Replaces control characters. Host names, error output and other texts come from machines that may be hostile, and
/// a terminal obeys what such characters say.
pub(super) fn plain(text: &str) -> String {
    let seen =
        |c: char| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(seen).collect()
}

fn written(result: io::Result<()>) -> anyhow::Result<()> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Closed.into(),
        _ => anyhow::Error::from(error).context("writing the output"),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A place for output that a test can look into.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A console whose output and error output are kept.
    pub(crate) fn kept(terminal: bool) -> (Console, Kept, Kept) {
        let (out, err) = (Kept::default(), Kept::default());
        let console = Console {
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            out_is_terminal: terminal,
            err_is_terminal: terminal,
        };
        (console, out, err)
    }

    #[test]
    fn texts_from_outside_cannot_command_the_terminal() {
        let (mut console, out, err) = kept(true);
        console.line("n1\x1b[2J\u{9b}31m\r\u{8}").unwrap();
        console.error("tab\there").unwrap();
        assert_eq!(out.text(), "n1\u{fffd}[2J\u{fffd}31m\u{fffd}\u{fffd}\n");
        assert_eq!(err.text(), "Error: tab\there\n");
    }
}
