//! Moves a job from state to state: the pure function of [`crate::state`] inside a transaction, with its event.

use super::DeployError;
use super::pin::unpin_deploy;
use crate::app::App;
use crate::db::{Job, NewEvent, Tx, Work};
use crate::state::{Input, State, phase_word};

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// Where it stands now.
    pub state: State,
    /// Whether that is new.
    pub changed: bool,
}

/// Applies `input` to a job and records it. `note` is what the event says beside the state. Committed when this
/// returns.
///
/// # Errors
/// There is no such job, the move is not possible, or the database failed; then nothing changed.
pub async fn advance(
    app: &App,
    job: &str,
    input: &Input,
    (actor, note): (&str, &str),
) -> Result<Advance, DeployError> {
    let mut tx = app.db.write().await?;
    let job = tx.job(job).await?.ok_or(DeployError::Gone)?;
    let Some(state) = job.state.after(input)? else {
        return Ok(Advance { state: job.state, changed: false });
    };
    let progress = app.progress.get(&job.id).unwrap_or_default();
    write_state(&mut tx, &job, &state, (progress, actor, note)).await?;
    tx.commit().await?;
    app.progress.clear(&job.id);
    if job.state.is_running() && !state.is_running() {
        unpin_deploy(app, &job).await;
    }
    Ok(Advance { state, changed: true })
}

/// Writes a state that `job` moved to, with its event, into a transaction.
pub(super) async fn write_state(
    tx: &mut Tx<'_>,
    job: &Job,
    state: &State,
    (progress, actor, note): ((u64, u64), &str, &str),
) -> Result<(), DeployError> {
    tx.set_state(&job.id, state, progress).await?;
    let text = describe(job, state, note);
    let kind = match state {
        State::Failed { .. } => "node-failed",
        State::Booted => "node-booted",
        State::Worked => "node-done",
        State::Armed
        | State::Booting
        | State::Installing(_)
        | State::Resuming(_)
        | State::Finishing
        | State::Rebooting
        | State::Working
        | State::Withdrawn => "node-state",
    };
    tx.event(NewEvent { node: Some(job.node.as_str()), actor, kind, text }).await?;
    Ok(())
}

fn describe(job: &Job, state: &State, note: &str) -> String {
    let work = &job.work;
    let sentence = match state {
        State::Armed => format!("armed with {work}"),
        State::Booting => "booting: fetched its network boot configuration".to_owned(),
        State::Installing(phase) => format!("installing {work}: {}", phase_word(*phase)),
        State::Resuming(phase) => {
            format!("the machine restarted in {}; it may go on with {work} where it was", phase_word(*phase))
        }
        State::Finishing => format!("finishing {work}"),
        State::Rebooting => format!("{work} is on the disk; rebooting"),
        State::Booted => format!("booted {work} from its own disk"),
        State::Working => format!("runs from memory: {work}"),
        State::Worked => format!("done: {work}"),
        State::Failed { phase, reason } => format!("failed in {}: {reason}", phase_word(*phase)),
        State::Withdrawn => match work {
            Work::Install(image) => format!("the deployment of {image} was withdrawn"),
            Work::Tasks(tasks) => format!("{tasks} was withdrawn"),
        },
    };
    if note.is_empty() { sentence } else { format!("{sentence} ({note})") }
}
