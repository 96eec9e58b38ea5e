//! The life of one deployment as a pure function: which state follows which, and why. No clock, no database.
//!
//! ```text
//! armed ─► booting ─► installing{phase} ─► finishing ─► rebooting ─► booted
//!   └────────┴──► withdrawn   ▲  │  └───────────┴─────────┴──► failed{phase, reason}
//!                             │  ▼
//!                        resuming{phase}
//!
//! armed ─► booting ─► running ─► done        work from memory; failed and withdrawn as above
//! ```
//! A node without a deployment is `defined`. Only the clone's own report makes it `booted`. The phase of an
//! installation never goes back, so one that is past `plan` says for ever that disks were written to.

use sysclone_protocol::agent::Phase;

/// Where a deployment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its ticket waits for the node's network boot.
    Armed,
    /// A loader fetched the node's configuration.
    Booting,
    /// The agent has the order; the ticket is burnt.
    Installing(Phase),
    /// The machine restarted in this phase; a new ticket of the same deployment waits for its agent.
    Resuming(Phase),
    /// All is written and read back; unmounting and flushing.
    Finishing,
    /// The agent restarts the machine.
    Rebooting,
    /// The clone reported from its own disk.
    Booted,
    /// The agent works from memory.
    Working,
    /// It has done all it was told to.
    Worked,
    /// It ended badly.
    Failed {
        /// Phase it failed in.
        phase: Phase,
        /// One line, outermost first.
        reason: String,
    },
    /// Taken back before the node took it up; as if it had never been.
    Withdrawn,
}

/// What happens to a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A loader fetched the configuration with the ticket.
    LoaderSeen,
    /// The machine boots from the network although its agent should be at work.
    BootedAgain {
        /// Whether it was not interrupted too often.
        may_resume: bool,
    },
    /// The agent gave a valid ticket and installs.
    Enrolled,
    /// The agent gave a valid ticket and works from memory.
    TasksTaken,
    /// All steps of the work from memory are done.
    Worked,
    /// The agent began a phase.
    PhaseStarted(Phase),
    /// The agent failed.
    AgentFailed {
        /// In this phase.
        phase: Phase,
        /// One line.
        reason: String,
    },
    /// The agent wrote everything and restarts the machine.
    Installed,
    /// The clone runs from its own disk.
    BootReported,
    /// Somebody took the deployment back.
    Withdrawn {
        /// Who or what.
        by: String,
    },
}

/// A step that a deployment cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not possible while the node is {state}")]
pub struct IllegalMove {
    what: &'static str,
    state: String,
}

impl State {
    /// The state's word, as `nodestat` shows it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Armed => "armed",
            Self::Booting => "booting",
            Self::Installing(_) => "installing",
            Self::Resuming(_) => "resuming",
            Self::Finishing => "finishing",
            Self::Rebooting => "rebooting",
            Self::Booted => "booted",
            Self::Working => "running",
            Self::Worked => "done",
            Self::Failed { .. } => "failed",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// The phase that belongs to the state.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        match self {
            Self::Installing(phase) | Self::Resuming(phase) | Self::Failed { phase, .. } => Some(*phase),
            Self::Finishing => Some(Phase::Finish),
            Self::Armed
            | Self::Booting
            | Self::Rebooting
            | Self::Booted
            | Self::Working
            | Self::Worked
            | Self::Withdrawn => None,
        }
    }

    /// Whether the agent's ticket may still be used.
    #[must_use]
    pub fn awaits_ticket(&self) -> bool {
        match self {
            Self::Armed | Self::Booting | Self::Resuming(_) => true,
            Self::Installing(_)
            | Self::Finishing
            | Self::Rebooting
            | Self::Booted
            | Self::Working
            | Self::Worked
            | Self::Failed { .. }
            | Self::Withdrawn => false,
        }
    }

    /// Whether an agent is at work on the node.
    #[must_use]
    pub fn is_running(&self) -> bool {
        match self {
            Self::Installing(_) | Self::Finishing | Self::Working => true,
            Self::Armed
            | Self::Booting
            | Self::Resuming(_)
            | Self::Rebooting
            | Self::Booted
            | Self::Worked
            | Self::Failed { .. }
            | Self::Withdrawn => false,
        }
    }

    /// What the node waits for, for people.
    #[must_use]
    pub fn waits_for(&self) -> Option<&'static str> {
        match self {
            Self::Armed => Some("waits for a network boot of the node"),
            Self::Booting => Some("waits for the agent on the node to enrol"),
            Self::Resuming(_) => {
                Some("the machine restarted in its installation; waits for the agent to go on with it")
            }
            Self::Rebooting => Some("waits for the clone to start from its own disk"),
            Self::Installing(_)
            | Self::Finishing
            | Self::Booted
            | Self::Working
            | Self::Worked
            | Self::Failed { .. }
            | Self::Withdrawn => None,
        }
    }

    /// The state after `input`; none when nothing changes (a message that came twice).
    ///
    /// # Errors
    /// The move is not possible from here.
    pub fn after(&self, input: &Input) -> Result<Option<Self>, IllegalMove> {
        match input {
            Input::LoaderSeen => self.after_loader(),
            Input::BootedAgain { may_resume } => Ok(self.after_restart(*may_resume)),
            Input::Enrolled => self.after_enrolment(),
            Input::TasksTaken => self.after_tasks_taken(),
            Input::Worked => self.after_work(),
            Input::PhaseStarted(phase) => self.after_phase(*phase),
            Input::AgentFailed { phase, reason } => self.after_failure(*phase, reason),
            Input::Installed => self.after_installed(),
            Input::BootReported => self.after_report(),
            Input::Withdrawn { by } => Ok(self.after_withdrawal(by)),
        }
    }

    fn after_loader(&self) -> Result<Option<Self>, IllegalMove> {
        match self {
            Self::Armed => Ok(Some(Self::Booting)),
            Self::Booting | Self::Resuming(_) => Ok(None),
            Self::Installing(_)
            | Self::Finishing
            | Self::Rebooting
            | Self::Booted
            | Self::Working
            | Self::Worked
            | Self::Failed { .. }
            | Self::Withdrawn => Err(self.illegal("a network boot with the ticket")),
        }
    }

    fn after_enrolment(&self) -> Result<Option<Self>, IllegalMove> {
        match self {
            Self::Armed | Self::Booting => Ok(Some(Self::Installing(Phase::Start))),
            Self::Resuming(phase) => Ok(Some(Self::Installing(*phase))),
            Self::Installing(_)
            | Self::Finishing
            | Self::Rebooting
            | Self::Booted
            | Self::Working
            | Self::Worked
            | Self::Failed { .. }
            | Self::Withdrawn => Err(self.illegal("enrolling")),
        }
    }

    fn after_tasks_taken(&self) -> Result<Option<Self>, IllegalMove> {
        if self.awaits_ticket() { Ok(Some(Self::Working)) } else { Err(self.illegal("beginning to work")) }
    }

    fn after_work(&self) -> Result<Option<Self>, IllegalMove> {
        match self {
            Self::Working => Ok(Some(Self::Worked)),
            Self::Worked => Ok(None),
            Self::Armed
            | Self::Booting
            | Self::Resuming(_)
            | Self::Installing(_)
            | Self::Finishing
            | Self::Rebooting
            | Self::Booted
            | Self::Failed { .. }
            | Self::Withdrawn => Err(self.illegal("the end of work from memory")),
        }
    }

    fn after_restart(&self, may_resume: bool) -> Option<Self> {
        let failed = |phase, why| {
            let reason = format!(
                "the machine restarted before the installation was over{why}, what is on its disks is \
                 incomplete: run nodeset again"
            );
            Some(Self::Failed { phase, reason })
        };
        match self {
            // From here on the disk may start by itself, and what a running clone has changed must not be undone.
            Self::Installing(phase) if *phase >= Phase::Bootloader => failed(*phase, ""),
            Self::Finishing => failed(Phase::Finish, ""),
            Self::Installing(phase) if may_resume => Some(Self::Resuming(*phase)),
            Self::Installing(phase) => failed(*phase, " once too often"),
            Self::Working => {
                let reason = "the machine restarted before its work was done: run nodeset again".to_owned();
                Some(Self::Failed { phase: Phase::Task, reason })
            }
            Self::Armed
            | Self::Booting
            | Self::Resuming(_)
            | Self::Rebooting
            | Self::Booted
            | Self::Worked
            | Self::Failed { .. }
            | Self::Withdrawn => None,
        }
    }

    fn after_phase(&self, next: Phase) -> Result<Option<Self>, IllegalMove> {
        let Self::Installing(now) = self else {
            return match (self, next) {
                // A repeated message after the last phase began changes nothing.
                (Self::Finishing, _) | (Self::Working, Phase::Start | Phase::Task) => Ok(None),
                _ => Err(self.illegal("a phase of an installation")),
            };
        };
        match next {
            // Phases that this version does not know are some agent's own business.
            Phase::Unknown => Ok(None),
            Phase::Capture | Phase::Boot | Phase::Task => Err(self.illegal("a phase of another role")),
            Phase::Finish => Ok(Some(Self::Finishing)),
            // Disks are cleared once in the life of a deployment.
            Phase::Clear | Phase::Partition | Phase::Assemble | Phase::Format if next < *now => {
                Err(self.illegal("making the disks anew"))
            }
            next if next > *now => Ok(Some(Self::Installing(next))),
            _repeated => Ok(None),
        }
    }

    fn after_failure(&self, phase: Phase, reason: &str) -> Result<Option<Self>, IllegalMove> {
        match self {
            Self::Installing(_) | Self::Finishing | Self::Rebooting | Self::Working => {
                Ok(Some(Self::Failed { phase, reason: reason.to_owned() }))
            }
            Self::Failed { .. } => Ok(None),
            Self::Armed
            | Self::Booting
            | Self::Resuming(_)
            | Self::Booted
            | Self::Worked
            | Self::Withdrawn => Err(self.illegal("a failure")),
        }
    }

    fn after_installed(&self) -> Result<Option<Self>, IllegalMove> {
        match self {
            Self::Finishing | Self::Installing(Phase::Verify) => Ok(Some(Self::Rebooting)),
            Self::Rebooting => Ok(None),
            Self::Installing(_)
            | Self::Armed
            | Self::Booting
            | Self::Resuming(_)
            | Self::Booted
            | Self::Working
            | Self::Worked
            | Self::Failed { .. }
            | Self::Withdrawn => Err(self.illegal("the end of an installation")),
        }
    }

    fn after_report(&self) -> Result<Option<Self>, IllegalMove> {
        match self {
            Self::Rebooting => Ok(Some(Self::Booted)),
            Self::Booted => Ok(None),
            Self::Armed
            | Self::Booting
            | Self::Resuming(_)
            | Self::Installing(_)
            | Self::Finishing
            | Self::Working
            | Self::Worked
            | Self::Failed { .. }
            | Self::Withdrawn => Err(self.illegal("a boot report")),
        }
    }

    fn after_withdrawal(&self, by: &str) -> Option<Self> {
        match self {
            Self::Armed | Self::Booting | Self::Working => Some(Self::Withdrawn),
            Self::Installing(phase) | Self::Resuming(phase) => {
                Some(Self::Failed { phase: *phase, reason: withdrawn(by) })
            }
            Self::Finishing => Some(Self::Failed { phase: Phase::Finish, reason: withdrawn(by) }),
            Self::Rebooting | Self::Booted | Self::Worked | Self::Failed { .. } | Self::Withdrawn => None,
        }
    }

    fn illegal(&self, what: &'static str) -> IllegalMove {
        let state = match self.phase() {
            Some(phase) => format!("{} ({})", self.word(), phase_word(phase)),
            None => self.word().to_owned(),
        };
        IllegalMove { what, state }
    }
}

fn withdrawn(by: &str) -> String {
    format!("withdrawn by {by}; what is on the node's disks is incomplete")
}

/// The word of a phase, as it is on the wire and in the database.
#[must_use]
pub fn phase_word(phase: Phase) -> String {
    let word = serde_json::to_value(phase).ok();
    word.as_ref().and_then(|word| word.as_str()).unwrap_or("unknown").to_owned()
}

/// Reads [`phase_word`] back; a word of a later version is [`Phase::Unknown`].
#[must_use]
pub fn parse_phase(word: &str) -> Phase {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).unwrap_or(Phase::Unknown)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
