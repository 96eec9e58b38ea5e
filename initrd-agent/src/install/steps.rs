//! One phase after the other: announced, timed, written down for the supervisor, and not begun when the job was
//! withdrawn.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use sysclone_protocol::agent::{AgentEventKind, Phase};

use super::reporter::Reporter;
use crate::session::{DiskState, Session};

/// Where an installation is.
pub struct Steps {
    reporter: Reporter,
    session: Session,
    file: PathBuf,
}

impl Steps {
    /// Steps of `session`, kept in `file`.
    #[must_use]
    pub fn new(reporter: Reporter, session: Session, file: &Path) -> Self {
        Self { reporter, session, file: file.to_owned() }
    }

    /// The server's ear.
    #[must_use]
    pub fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// Runs one phase.
    ///
    /// # Errors
    /// The job was withdrawn, or what `work` returns.
    pub fn phase<T>(
        &mut self,
        phase: Phase,
        work: impl FnOnce(&Reporter) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.check()?;
        let word = phase_word(phase);
        self.session.phase = phase;
        self.session.disk_state = self.session.disk_state.max(DiskState::during(phase));
        self.session.save(&self.file).with_context(|| format!("writing {}", self.file.display()))?;
        if phase == Phase::Clear {
            // The server must know before the first write that from here on this machine has been written to.
            let reply = self.reporter.ask(phase, AgentEventKind::Started).context("asking to clear disks")?;
            anyhow::ensure!(!reply.abort, "the job was withdrawn on the server");
        } else {
            self.reporter.tell(phase, AgentEventKind::Started);
        }
        tracing::info!("phase {word} started");
        let began = Instant::now();
        let outcome = work(&self.reporter)?;
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.reporter.tell(phase, AgentEventKind::Done { millis });
        tracing::info!("phase {word} done in {}.{:03} s", millis / 1000, millis % 1000);
        Ok(outcome)
    }

    /// Whether the work may go on.
    ///
    /// # Errors
    /// The job was withdrawn.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.reporter.withdrawn(), "the job was withdrawn on the server");
        Ok(())
    }
}

/// The phase as it is written on the wire.
#[must_use]
pub(super) fn phase_word(phase: Phase) -> String {
    match serde_json::to_value(phase) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => format!("{phase:?}").to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_named_as_on_the_wire() {
        assert_eq!(
            (phase_word(Phase::Pull), phase_word(Phase::Bootloader)),
            ("pull".into(), "bootloader".into())
        );
    }
}
