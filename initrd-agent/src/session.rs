//! What the installing process has learnt and how it ended, kept in the machine's memory, so that its supervisor can
//! tell the server even when the installer was killed.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sysclone_protocol::agent::{AgentEvent, AgentEventKind, Phase};
use sysclone_protocol::names::Secret;

/// Where it is kept: a file system in memory that only root reads.
pub const FILE: &str = "/run/sysclone/session.json";

/// The state of an installation as its supervisor needs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// `https://address:port` of the server.
    pub server: String,
    /// Bearer token.
    pub token: Secret,
    /// Whether a failure may leave a root shell on the console.
    pub allow_shell: bool,
    /// Phase it is in.
    pub phase: Phase,
    /// What the disks hold.
    pub disk_state: DiskState,
    /// How it failed.
    #[serde(default)]
    pub failure: Option<Failure>,
}

/// Why an installation failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What failed, outermost first, on one line.
    pub reason: String,
    /// Command and tail of its error output, when a program failed.
    pub detail: Option<String>,
}

/// What the target disks hold at a moment of the installation, in the order in which it comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskState {
    /// Nothing was written.
    Untouched,
    /// What was on them is being removed or is gone.
    Cleared,
    /// Tables and volumes, no data.
    Partitioned,
    /// Part of the image.
    Incomplete,
    /// The whole image; the machine may or may not start from it.
    Written,
    /// Nobody knows: commands of the administrator ran.
    Unknown,
}

impl DiskState {
    /// The state while `phase` runs.
    #[must_use]
    pub fn during(phase: Phase) -> Self {
        match phase {
            Phase::Start | Phase::Probe | Phase::Plan | Phase::Capture | Phase::Boot | Phase::Unknown => {
                Self::Untouched
            }
            Phase::Clear => Self::Cleared,
            Phase::Partition | Phase::Assemble | Phase::Format | Phase::Mount => Self::Partitioned,
            Phase::Pull => Self::Incomplete,
            Phase::Identity | Phase::Bootloader | Phase::Verify | Phase::Finish => Self::Written,
            Phase::Task => Self::Unknown,
        }
    }

    /// In words, for reports and consoles.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Untouched => "untouched",
            Self::Cleared => "cleared, no partitions",
            Self::Partitioned => "partitioned, no data",
            Self::Incomplete => "incomplete: part of the image is written",
            Self::Written => "image written, not yet made bootable and verified",
            Self::Unknown => "as the commands left them",
        }
    }
}

impl Session {
    /// The failure as the server is told, if there was one.
    #[must_use]
    pub fn failed_event(&self) -> Option<AgentEvent> {
        let Failure { reason, detail } = self.failure.clone()?;
        let disk_state = self.disk_state.words().to_owned();
        Some(AgentEvent { phase: self.phase, kind: AgentEventKind::Failed { reason, detail, disk_state } })
    }

    /// Whether a worker that died without a word left something that another one can go on with. Somebody who wants a
    /// shell wants to look at it instead.
    #[must_use]
    pub fn may_go_on(&self) -> bool {
        self.failure.is_none() && !self.allow_shell && matches!(self.phase, Phase::Pull | Phase::Identity)
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        let new = path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        io::Write::write_all(&mut file, &text)?;
        std::fs::rename(&new, path)
    }

    /// Reads the file; none when there is none.
    ///
    /// # Errors
    /// It is there but cannot be read.
    pub fn load(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(phase: Phase) -> Session {
        Session {
            server: "https://10.0.0.1:8443".into(),
            token: Secret::new("t".into()),
            allow_shell: false,
            phase,
            disk_state: DiskState::during(phase),
            failure: None,
        }
    }

    #[test]
    fn a_session_survives_its_process_and_only_root_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("session.json");
        assert!(Session::load(&path).unwrap().is_none());
        session(Phase::Pull).save(&path).unwrap();
        let mut again = Session::load(&path).unwrap().unwrap();
        assert_eq!((again.phase, again.token.reveal()), (Phase::Pull, "t"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(again.failed_event().is_none());
        again.failure = Some(Failure { reason: "no room".into(), detail: None });
        let AgentEventKind::Failed { reason, disk_state, .. } = again.failed_event().unwrap().kind else {
            panic!()
        };
        assert_eq!(
            (reason.as_str(), disk_state.as_str()),
            ("no room", "incomplete: part of the image is written")
        );
    }

    #[test]
    fn only_a_worker_that_died_over_the_files_is_replaced() {
        assert!(session(Phase::Pull).may_go_on() && session(Phase::Identity).may_go_on());
        for phase in [Phase::Plan, Phase::Clear, Phase::Format, Phase::Bootloader, Phase::Finish] {
            assert!(!session(phase).may_go_on(), "{phase:?}");
        }
        let failed = Failure { reason: "no room".into(), detail: None };
        assert!(!Session { failure: Some(failed), ..session(Phase::Pull) }.may_go_on());
        assert!(!Session { allow_shell: true, ..session(Phase::Pull) }.may_go_on());
    }

    #[test]
    fn disks_are_untouched_until_they_are_cleared() {
        for phase in [Phase::Start, Phase::Probe, Phase::Plan] {
            assert_eq!(DiskState::during(phase), DiskState::Untouched);
        }
        assert_eq!(DiskState::during(Phase::Clear), DiskState::Cleared);
        assert_eq!(DiskState::during(Phase::Mount), DiskState::Partitioned);
        assert_eq!(DiskState::during(Phase::Verify), DiskState::Written);
    }
}
