//! A question to the person at the terminal.

use std::io::{self, BufRead as _, IsTerminal as _};

use anyhow::Context as _;
use tokio::sync::oneshot;

use crate::cli::console::Console;

/// Whether there is somebody to ask. xCAT's scripts run without a terminal, and are asked nothing.
pub(super) fn possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether the answer is yes. A thread of its own waits for it, so that Ctrl-C ends the program meanwhile.
pub(super) async fn agreed(question: &str, console: &mut Console) -> anyhow::Result<bool> {
    console.note(&format!("{question} [y/N] "))?;
    let (answered, answer) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line).map(|_| line);
        // Ctrl-C came first.
        let _ = answered.send(read);
    });
    let line = answer.await.context("waiting for an answer")?.context("reading the answer")?;
    Ok(is_yes(&line))
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(is_yes("y\n") && is_yes(" YES\n"));
        for no in ["", "\n", "n\n", "yess\n"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }
}
