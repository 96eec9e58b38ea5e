//! What installing agents and clones report.

use sysclone_protocol::agent::{AgentEvent, AgentEventKind, BootReport, EventReply};

use super::DeployError;
use super::advance::advance;
use crate::app::App;
use crate::db::{Job, NewEvent};
use crate::remote::remember_host_keys;
use crate::state::{Input, State, phase_word};
use crate::update::give_token;

/// Longest text of an agent that is kept, in bytes; a plan for many disks is a few KiB.
const MAX_TEXT: usize = 16 << 10;

/// Text from an agent, fit to be shown: no control characters but line ends, not without end.
pub(crate) fn shown(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '?' } else { c });
    let mut size = 0;
    clean
        .take_while(|c| {
            size += c.len_utf8();
            size <= MAX_TEXT
        })
        .collect()
}

/// Takes what an installing agent says.
///
/// # Errors
/// It cannot be true in the deployment's state, or the database failed.
pub async fn agent_event(app: &App, job: &Job, event: AgentEvent) -> Result<EventReply, DeployError> {
    let phase = event.phase;
    let word = phase_word(phase);
    // An agent whose deployment was taken back learns it from the next thing it says; its own failure is old news.
    // So does one whose machine has booted again meanwhile: another one will go on.
    if matches!(job.state, State::Failed { .. } | State::Resuming(_) | State::Withdrawn) {
        return Ok(EventReply { abort: true, ..EventReply::default() });
    }
    app.progress.heard(&job.id);
    let (input, note) = match event.kind {
        AgentEventKind::Progress { done, total } => {
            app.progress.set(&job.id, done, total);
            return Ok(EventReply::default());
        }
        AgentEventKind::Started => (Input::PhaseStarted(phase), String::new()),
        AgentEventKind::Failed { reason, detail, disk_state } => {
            let mut reason = shown(&reason);
            reason = format!("{reason}; the disks are {}", shown(&disk_state));
            (Input::AgentFailed { phase, reason }, detail.map(|text| shown(&text)).unwrap_or_default())
        }
        AgentEventKind::Installed { host_keys } => {
            learn_host_keys(app, job, &host_keys);
            let keys = host_keys.iter().map(|key| shown(key)).collect::<Vec<_>>().join("; ");
            let note = if keys.is_empty() { keys } else { format!("ssh host keys {keys}") };
            (Input::Installed, note)
        }
        AgentEventKind::Worked => (Input::Worked, String::new()),
        AgentEventKind::Done { millis } => {
            let seconds = format!("{}.{}", millis / 1000, millis % 1000 / 100);
            return say(app, job, ("agent-phase", format!("{word} took {seconds} s"))).await;
        }
        AgentEventKind::Plan { text } => {
            return say(app, job, ("agent-plan", format!("plan:\n{}", shown(&text)))).await;
        }
        AgentEventKind::Note { text } => {
            return say(app, job, ("agent-note", format!("{word}: {}", shown(&text)))).await;
        }
        AgentEventKind::Warning { text } => {
            return say(app, job, ("agent-warning", format!("{word}: {}", shown(&text)))).await;
        }
        // A kind of a later version is no reason to stop an installation.
        AgentEventKind::Unknown => return Ok(EventReply::default()),
    };
    let moved = advance(app, &job.id, &input, ("agent", &note)).await?;
    let withdrawn = matches!(moved.state, State::Failed { .. } | State::Withdrawn);
    let abort = withdrawn && !matches!(input, Input::AgentFailed { .. });
    Ok(EventReply { abort, ..EventReply::default() })
}

/// Not worth failing an installation for: the next capture from this node would complain of a changed key.
fn learn_host_keys(app: &App, job: &Job, keys: &[String]) {
    let path = app.config.state_dir.join("known_hosts");
    if let Err(error) = remember_host_keys(&path, job.node.as_str(), keys) {
        tracing::warn!(node = %job.node, %error, "the host keys of the clone could not be kept");
    }
}

async fn say(app: &App, job: &Job, (kind, text): (&str, String)) -> Result<EventReply, DeployError> {
    let node = Some(job.node.as_str());
    app.db.record(NewEvent { node, actor: "agent", kind, text }).await?;
    Ok(EventReply::default())
}

/// Takes a clone's report that it runs from its own disk. Only this makes a node booted.
///
/// # Errors
/// The report is not about this deployment, or comes when it cannot be true.
pub async fn boot_report(app: &App, job: &Job, report: BootReport) -> Result<EventReply, DeployError> {
    let said = (&report.node, report.job.as_str(), Some(&report.image));
    if said != (&job.node, job.id.as_str(), job.work.image()) {
        let reason = format!(
            "the clone says that it is {} with {} of deployment {}, expected was {} with {} of {}",
            report.node,
            report.image,
            shown(&report.job),
            job.node,
            job.work,
            job.id
        );
        let node = Some(job.node.as_str());
        let text = format!("boot report refused: {reason}");
        app.record_refusal(NewEvent { node, actor: "agent", kind: "report-refused", text }).await;
        return Err(DeployError::Invalid(reason));
    }
    let mut note = format!(
        "kernel {}, / on {}, host name {}",
        shown(&report.kernel),
        shown(&report.root_device),
        shown(&report.hostname)
    );
    if let Some(disk) = &report.root_disk {
        note = format!("{note}, disk {}", shown(disk));
    }
    advance(app, &job.id, &Input::BootReported, ("agent", &note)).await?;
    let mut tx = app.db.write().await?;
    tx.put_first_boot(&job.node, &report.image).await?;
    let token = give_token(app, &mut tx, (&job.node, &job.id)).await?;
    tx.commit().await?;
    Ok(EventReply { node_token: Some(token), ..EventReply::default() })
}
