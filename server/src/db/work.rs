//! What jobs are about and where they stand, as they are stored.

use std::fmt;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use sysclone_protocol::names::ImageRef;
use sysclone_protocol::task::Tasks;

use super::DbError;
use super::jobs::wrong;
use crate::state::{State, parse_phase};

/// What a job is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// To install this generation.
    Install(ImageRef),
    /// To work from memory.
    Tasks(Tasks),
}

impl Work {
    /// The image, when one is installed.
    #[must_use]
    pub fn image(&self) -> Option<&ImageRef> {
        match self {
            Self::Install(image) => Some(image),
            Self::Tasks(_) => None,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Install(image) => image.fmt(f),
            Self::Tasks(tasks) => tasks.fmt(f),
        }
    }
}

pub(super) fn read_work(row: &SqliteRow) -> Result<Work, DbError> {
    if let Some(tasks) = row.try_get::<Option<String>, _>("tasks")? {
        return Ok(Work::Tasks(tasks.parse().map_err(|_| wrong("list of tasks", &tasks))?));
    }
    let image: String = row.try_get("image")?;
    let name = image.parse().map_err(|_| wrong("image name", &image))?;
    Ok(Work::Install(ImageRef { name, generation: row.try_get("generation")? }))
}

pub(super) fn read_state(row: &SqliteRow) -> Result<State, DbError> {
    let word: String = row.try_get("state")?;
    let phase: Option<String> = row.try_get("phase")?;
    let phase = || parse_phase(phase.as_deref().unwrap_or_default());
    Ok(match word.as_str() {
        "armed" => State::Armed,
        "booting" => State::Booting,
        "installing" => State::Installing(phase()),
        "resuming" => State::Resuming(phase()),
        "finishing" => State::Finishing,
        "rebooting" => State::Rebooting,
        "booted" => State::Booted,
        "running" => State::Working,
        "done" => State::Worked,
        "failed" => {
            let reason: Option<String> = row.try_get("reason")?;
            State::Failed { phase: phase(), reason: reason.unwrap_or_default() }
        }
        "withdrawn" => State::Withdrawn,
        other => return Err(wrong("state", other)),
    })
}
