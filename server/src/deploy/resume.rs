//! A machine that boots from the network in the middle of its installation: the same deployment is offered again, a
//! few times, with a ticket of its own. What the agent then does is decided by what it finds on the disks.

use jiff::{SignedDuration, Timestamp};

use super::DeployError;
use super::advance::write_state;
use super::pin::unpin_deploy;
use crate::app::App;
use crate::db::{Job, Work};
use crate::state::{Input, State};
use crate::trust::{TokenHash, random};

/// Interruptions after which an installation goes on. A machine that restarts more often in one installation has
/// something that a person must look at.
const RESUMES: u32 = 3;

/// Takes note of the network boot and answers the job as it then stands: waiting for its new ticket, or failed.
///
/// # Errors
/// The database failed; then nothing changed.
pub async fn booted_again(app: &App, job: &Job, note: &str) -> Result<Job, DeployError> {
    let mut tx = app.db.write().await?;
    let job = tx.job(&job.id).await?.ok_or(DeployError::Gone)?;
    let input = match &job.work {
        // Whoever restarts a machine that waits has ended its waiting.
        Work::Tasks(tasks) if tasks.is_endless() && job.state.is_running() => Input::Worked,
        Work::Tasks(_) | Work::Install(_) => Input::BootedAgain { may_resume: job.resumes < RESUMES },
    };
    let Some(state) = job.state.after(&input)? else { return Ok(job) };
    let progress = app.progress.get(&job.id).unwrap_or_default();
    if matches!(state, State::Resuming(_)) {
        let nonce = random::<16>();
        let ticket = app.keys.ticket.ticket(&job.id, &nonce);
        let life = SignedDuration::try_from(app.config.ticket_life).unwrap_or(SignedDuration::MAX);
        let expires_at = tx.now().saturating_add(life).unwrap_or(Timestamp::MAX);
        tx.reopen_ticket(&job.id, (&nonce, TokenHash::of(ticket.reveal())), expires_at).await?;
    }
    write_state(&mut tx, &job, &state, (progress, "server", note)).await?;
    let moved = tx.job(&job.id).await?.ok_or(DeployError::Gone)?;
    tx.commit().await?;
    app.progress.clear(&job.id);
    if !moved.state.awaits_ticket() {
        unpin_deploy(app, &job).await;
    }
    Ok(moved)
}
