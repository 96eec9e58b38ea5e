//! The only place that starts external programs. Every run logs its argument list, has a deadline, and on failure
//! carries the command, its status and the tail of its error output. No shell is involved, but where the command is a
//! shell's own: one that an administrator wrote.

mod command;
mod fake;
mod system;

pub use command::{Command, ExecError, Output, Tool};
pub use fake::Script;
pub use system::{System, missing_tools, start_attached, start_fed};

/// Something that runs commands: the real [`System`], or a [`Script`] of recorded answers in tests.
pub trait Runner: Send + Sync {
    /// Runs `command` to its end.
    ///
    /// # Errors
    /// The program could not be started, did not end in time, or ended with a status that was not accepted.
    fn run(&self, command: &Command) -> Result<Output, ExecError>;
}
