//! What a machine can be told to do from memory, its disks not being part of it: run commands, show a shell, wait, or
//! switch itself off.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "task")]
pub enum Task {
    /// Run a command line with the shell of the initrd; what it says becomes an event.
    Run {
        /// The command line.
        command: String,
    },
    /// A root shell on the console, until somebody leaves it.
    Shell,
    /// Wait until the server has something else for this machine.
    Standby,
    /// Switch the machine off.
    Shutdown,
}

/// Steps in their order, at least one; only the last is another one than [`Task::Run`]. Written as `nodeset` takes
/// it: `shell`, `runcmd=lsblk,shutdown`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Task>", into = "Vec<Task>")]
pub struct Tasks(Vec<Task>);

/// Why a text is not a list of steps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// A word that no step has.
    #[error("Unknown state {0} requested")]
    Unknown(String),
    /// No command after `runcmd=`.
    #[error("runcmd= needs a command: runcmd='lsblk -o NAME,SIZE'")]
    NoCommand,
    /// A character that is no part of a command line.
    #[error("a command is one line of text")]
    NotText,
    /// Something after a step that ends the work.
    #[error("nothing can come after {0}: only runcmd= can be followed by another step")]
    NotLast(String),
    /// No step at all.
    #[error("there is nothing to do in it")]
    Nothing,
}

/// Words that begin a step.
const WORDS: [&str; 5] = ["runcmd", "shell", "standby", "shutdown", "boot"];
/// Longest list, in bytes; it is kept with the node.
const MAX_BYTES: usize = 4096;

impl Tasks {
    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Task] {
        &self.0
    }

    /// Whether somebody has to end the work: a shell that is left, a machine that waits.
    #[must_use]
    pub fn is_endless(&self) -> bool {
        matches!(self.0.last(), Some(Task::Shell | Task::Standby))
    }
}

impl TryFrom<Vec<Task>> for Tasks {
    type Error = TaskError;

    fn try_from(steps: Vec<Task>) -> Result<Self, TaskError> {
        let before_last = steps.len().checked_sub(1).ok_or(TaskError::Nothing)?;
        if let Some(step) = steps[..before_last].iter().find(|step| !matches!(step, Task::Run { .. })) {
            return Err(TaskError::NotLast(step.to_string()));
        }
        for step in &steps {
            match step {
                Task::Run { command } if command.trim().is_empty() => return Err(TaskError::NoCommand),
                Task::Run { command } if command.contains(char::is_control) => {
                    return Err(TaskError::NotText);
                }
                Task::Run { .. } | Task::Shell | Task::Standby | Task::Shutdown => {}
            }
        }
        let tasks = Self(steps);
        if tasks.to_string().len() > MAX_BYTES { Err(TaskError::NotText) } else { Ok(tasks) }
    }
}

impl From<Tasks> for Vec<Task> {
    fn from(tasks: Tasks) -> Self {
        tasks.0
    }
}

/// A comma begins the next step only when the word of a step comes after it; others belong to the command.
fn split(text: &str) -> Vec<&str> {
    let begins_step = |rest: &str| {
        let word = rest.split([',', '=']).next().unwrap_or_default();
        WORDS.contains(&word)
    };
    let mut parts = Vec::new();
    let mut begin = 0;
    for (at, _) in text.match_indices(',') {
        if begins_step(&text[at + 1..]) {
            parts.push(&text[begin..at]);
            begin = at + 1;
        }
    }
    parts.push(&text[begin..]);
    parts
}

impl FromStr for Tasks {
    type Err = TaskError;

    fn from_str(text: &str) -> Result<Self, TaskError> {
        let mut parts = split(text);
        // What comes after the work unless something else is said: the machine starts from its own disk.
        if parts.len() > 1 && parts.last() == Some(&"boot") {
            parts.pop();
        }
        let step = |part: &str| match part.split_once('=') {
            Some(("runcmd", command)) => Ok(Task::Run { command: command.to_owned() }),
            None if part == "runcmd" => Err(TaskError::NoCommand),
            None if part == "shell" => Ok(Task::Shell),
            None if part == "standby" => Ok(Task::Standby),
            None if part == "shutdown" => Ok(Task::Shutdown),
            Some(_) | None => Err(TaskError::Unknown(part.to_owned())),
        };
        parts.into_iter().map(step).collect::<Result<Vec<_>, _>>()?.try_into()
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { command } => write!(f, "runcmd={command}"),
            Self::Shell => f.write_str("shell"),
            Self::Standby => f.write_str("standby"),
            Self::Shutdown => f.write_str("shutdown"),
        }
    }
}

impl fmt::Display for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(",")?;
            }
            step.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str) -> Task {
        Task::Run { command: command.to_owned() }
    }

    #[test]
    fn steps_are_read_as_typed_and_written_so_that_they_are_read_again() {
        for (text, expected) in [
            ("shell", vec![Task::Shell]),
            ("runcmd=lsblk", vec![run("lsblk")]),
            ("runcmd=lsblk -o NAME,SIZE,shutdown", vec![run("lsblk -o NAME,SIZE"), Task::Shutdown]),
            ("runcmd=a=b,runcmd=c,standby", vec![run("a=b"), run("c"), Task::Standby]),
            ("runcmd=a,boot", vec![run("a")]),
            ("runcmd=echo a,shells", vec![run("echo a,shells")]),
        ] {
            let tasks: Tasks = text.parse().unwrap();
            assert_eq!(tasks.steps(), expected, "{text}");
            assert_eq!(tasks.to_string().parse::<Tasks>().unwrap(), tasks);
        }
    }

    #[test]
    fn what_is_no_list_of_steps_is_refused_with_the_reason() {
        for (text, expected) in [
            ("install", "Unknown state install requested"),
            ("shell=now", "Unknown state shell=now requested"),
            ("runcmd", "runcmd= needs a command: runcmd='lsblk -o NAME,SIZE'"),
            ("runcmd= ", "runcmd= needs a command: runcmd='lsblk -o NAME,SIZE'"),
            ("runcmd=a\nb", "a command is one line of text"),
            ("shell,runcmd=a", "nothing can come after shell: only runcmd= can be followed by another step"),
        ] {
            assert_eq!(text.parse::<Tasks>().unwrap_err().to_string(), expected, "{text:?}");
        }
        Tasks::try_from(vec![Task::Shell, Task::Shell]).unwrap_err();
        Tasks::try_from(vec![]).unwrap_err();
    }
}
