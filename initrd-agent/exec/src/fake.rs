//! Recorded answers in place of real programs.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::Runner;
use crate::command::{Command, ExecError, Output};

/// Answers commands by their line, in the order the answers were given, and remembers what was run.
#[derive(Debug, Default)]
pub struct Script {
    answers: Mutex<VecDeque<(String, String)>>,
    lines: Mutex<Vec<String>>,
    lenient: bool,
}

impl Script {
    /// A script that fails every command it has no answer for.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A script that answers every unknown command with an empty success; for plans whose commands are judged by
    /// [`Script::lines`] afterwards.
    #[must_use]
    pub fn lenient() -> Self {
        Self { lenient: true, ..Self::default() }
    }

    /// Adds an answer for the next command whose line starts with `prefix`.
    #[must_use]
    pub fn on(self, prefix: &str, stdout: &str) -> Self {
        self.answers.lock().expect("no holder panics").push_back((prefix.to_owned(), stdout.to_owned()));
        self
    }

    /// The lines of all commands run so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no holder panics").clone()
    }
}

impl Runner for Script {
    fn run(&self, command: &Command) -> Result<Output, ExecError> {
        let line = command.line();
        self.lines.lock().expect("no holder panics").push(line.clone());
        let mut answers = self.answers.lock().expect("no holder panics");
        match answers.iter().position(|(prefix, _)| line.starts_with(prefix.as_str())) {
            Some(found) => {
                let (_, stdout) = answers.remove(found).expect("the position was just found");
                Ok(Output { stdout: stdout.into_bytes(), ..Output::default() })
            }
            None if self.lenient => Ok(Output::default()),
            None => Err(ExecError::Unscripted { line }),
        }
    }
}
