//! Enrolment: a ticket becomes an order, once. The ticket is burnt on the disk before the order leaves.

use std::sync::Arc;

use jiff::Timestamp;
use sysclone_protocol::agent::{EnrollRequest, InstallOrder, Order, Phase, TaskOrder};
use sysclone_protocol::names::{Mac, Secret};

use super::DeployError;
use super::advance::write_state;
use crate::app::App;
use crate::db::{Job, NewEvent, Work};
use crate::state::{Input, State};
use crate::trust::{Token, TokenHash, random};

/// Answers an agent that shows a ticket.
///
/// # Errors
/// The ticket is not good for this machine now ([`DeployError::Refused`], with an event), or something failed; a
/// ticket is burnt only when there is an order.
pub async fn enroll(app: &Arc<App>, request: &EnrollRequest) -> Result<Order, DeployError> {
    let mut tx = app.db.write().await?;
    let job = tx.job_by_ticket(&TokenHash::of(request.ticket.reveal())).await?;
    let attempt = request.attempt.as_ref().map(|text| TokenHash::of(text.reveal()));
    let machine = machine(request);
    let verdict = judge(job.as_ref(), (request, &machine), attempt.as_ref(), tx.now());
    let (job, again) = match (verdict, job) {
        (Verdict::Good, Some(job)) => (job, false),
        (Verdict::AskedAgain, Some(job)) => (job, true),
        (Verdict::Bad(reason), _) => {
            drop(tx);
            return Err(refused(app, request, reason).await);
        }
        (Verdict::Good | Verdict::AskedAgain, None) => return Err(DeployError::Gone),
    };
    if let Some(fault) = &request.initrd_fault {
        drop(tx);
        return Err(short_initrd(app, &job, fault).await);
    }
    // Without an attempt of the agent's own, the answer can never be given a second time.
    let seed = attempt.map_or_else(random::<32>, |hash| hash.0);
    let token = app.keys.ticket.token(Token::Install, &job.id, &seed);
    let report_token = app.keys.ticket.token(Token::Report, &job.id, &seed);
    // Whatever could fail is done before the ticket burns.
    let tokens = (TokenHash::of(token.reveal()), TokenHash::of(report_token.reveal()));
    let order = make_order(app, &job, token, report_token)?;
    if !again {
        let (input, begun) = match &job.work {
            Work::Install(_) => (Input::Enrolled, State::Installing(Phase::Start)),
            Work::Tasks(_) => (Input::TasksTaken, State::Working),
        };
        let state = job.state.after(&input)?.unwrap_or(begun);
        tx.consume_ticket(&job.id, (attempt, &machine), tokens).await?;
        if job.work.image().is_some() {
            tx.forget_synced(job.node.as_str()).await?;
        }
        write_state(&mut tx, &job, &state, ((0, 0), "agent", &machine)).await?;
    }
    tx.commit().await?;
    Ok(order)
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// The same agent asks again because the first answer was lost.
    AskedAgain,
    Bad(String),
}

/// Judges a ticket. The words are for the console of the machine and for the administrator.
fn judge(
    job: Option<&Job>,
    (request, machine): (&EnrollRequest, &str),
    attempt: Option<&TokenHash>,
    now: Timestamp,
) -> Verdict {
    let again = "run nodeset for this node again";
    let Some(job) = job else {
        return Verdict::Bad(format!("the ticket is not one of this server's: {again}"));
    };
    if job.node != request.node {
        return Verdict::Bad(format!("the ticket was given to another node than {}: {again}", request.node));
    }
    let unfit = other_machine(job, request)
        .or_else(|| cannot_resume(job, (request, machine)))
        .or_else(|| too_old(job, request));
    if let Some(reason) = unfit {
        return Verdict::Bad(reason);
    }
    let same = attempt.is_some() && attempt == job.attempt.as_ref();
    match (&job.state, job.consumed_at) {
        (State::Installing(phase), Some(_)) if same && (*phase == Phase::Start || job.resumes > 0) => {
            Verdict::AskedAgain
        }
        (State::Working, Some(_)) if same => Verdict::AskedAgain,
        (_, Some(at)) => {
            let at = at.round(jiff::Unit::Second).unwrap_or(at);
            Verdict::Bad(format!("the ticket was used already, at {at}: {again}"))
        }
        (state, None) if !state.awaits_ticket() => {
            Verdict::Bad(format!("the ticket was withdrawn, a later nodeset took its place: {again}"))
        }
        (_, None) if job.expires_at <= now => {
            let at = job.expires_at.round(jiff::Unit::Second).unwrap_or(job.expires_at);
            Verdict::Bad(format!("the ticket expired at {at}: {again}"))
        }
        (_, None) => Verdict::Good,
    }
}

/// Why this is not the machine that the ticket was made for.
fn other_machine(job: &Job, request: &EnrollRequest) -> Option<String> {
    let node = &job.node;
    let has = |mac: &Mac| job.macs.contains(mac);
    if let Some(mac) = request.boot_mac.filter(|mac| !has(mac)) {
        return Some(format!(
            "this machine booted from {mac}, which is not a MAC address of node {node}: the ticket is not for it"
        ));
    }
    if !request.inventory.nics.iter().any(|nic| has(&nic.mac)) {
        return Some(format!(
            "this machine has none of the MAC addresses of node {node}: the ticket is not for it"
        ));
    }
    let (wanted, found) = (job.uuid.as_deref()?, request.inventory.uuid.as_deref()?);
    (!wanted.eq_ignore_ascii_case(found)).then(|| {
        format!(
            "this machine's UUID is {found}, node {node} is defined with {wanted}: the ticket is not for it"
        )
    })
}

/// Why an interrupted installation cannot be gone on with by this agent on this machine.
fn cannot_resume(job: &Job, (request, machine): (&EnrollRequest, &str)) -> Option<String> {
    let node = &job.node;
    if let Some(first) = job.machine.as_deref().filter(|first| *first != machine) {
        return Some(format!(
            "the installation of {node} was begun by another machine ({first}, this one is {machine}): run \
             nodeset for this node again"
        ));
    }
    (has_written(&job.state) && !request.can_resume).then(|| {
        format!(
            "the installation of {node} was interrupted and this agent is too old to go on with it: build the \
             initrd again with sysclone-image-builder, then run nodeset for this node again"
        )
    })
}

fn too_old(job: &Job, request: &EnrollRequest) -> Option<String> {
    let refused = matches!(job.work, Work::Tasks(_)) && !request.can_do_tasks;
    refused.then(|| {
        format!(
            "this agent is too old for '{}': build the initrd again with sysclone-image-builder, then run nodeset \
             for this node again",
            job.work
        )
    })
}

/// Whether an agent of this deployment may have written to the disks. It asks before it begins to.
fn has_written(state: &State) -> bool {
    state.phase().is_some_and(|phase| phase >= Phase::Clear)
}

/// The ticket stays as it is: the machine boots again and fetches the initrd anew.
async fn short_initrd(app: &App, job: &Job, fault: &str) -> DeployError {
    let fault = super::agent::shown(fault);
    let text = format!(
        "the initrd did not arrive whole: {fault}; the machine boots again to fetch it anew. If it says so again: \
         `sysclone probe` compares the boot files with what sysclone-image-builder made; otherwise look at what \
         stands between the server and the machine (caches, the firmware's memory)"
    );
    let event = NewEvent { node: Some(job.node.as_str()), actor: "agent", kind: "initrd-incomplete", text };
    app.record_refusal(event).await;
    DeployError::Refused(format!("the initrd did not arrive whole ({fault}): boot again"))
}

async fn refused(app: &App, request: &EnrollRequest, reason: String) -> DeployError {
    let known = app.known.now();
    // A name that nobody defined is somebody's invention; it is not put beside the names of nodes.
    let node = known.attributes(request.node.as_str()).map(|_| request.node.as_str());
    let text = format!("enrolment refused: {reason}");
    app.record_refusal(NewEvent { node, actor: "agent", kind: "ticket-refused", text }).await;
    DeployError::Refused(reason)
}

fn make_order(app: &App, job: &Job, token: Secret, report_token: Secret) -> Result<Order, DeployError> {
    let snapshot = app.known.now();
    let node = snapshot.node(job.node.as_str()).ok_or(DeployError::Gone)?;
    let node = node.map_err(|reason| DeployError::Refused(reason.to_owned()))?;
    let image = match &job.work {
        Work::Install(image) => image,
        Work::Tasks(tasks) => {
            return Ok(Order::Tasks(TaskOrder {
                job: job.id.clone(),
                token,
                node: job.node.clone(),
                tasks: tasks.clone(),
                allow_shell: node.allow_shell,
                now: Timestamp::now().as_second(),
            }));
        }
    };
    let key = app.keys.image_key(&image.name)?;
    let key =
        key.ok_or_else(|| DeployError::Refused(format!("the key of image {image} is not on the server")))?;
    Ok(Order::Install(InstallOrder {
        job: job.id.clone(),
        token,
        report_token,
        node: job.node.clone(),
        hostname: node.hostname.clone(),
        image: image.clone(),
        image_key: key.to_base64(),
        manifest_key: app.keys.signing.verifying_key().to_base64(),
        pack_sources: [&app.config.pack_sources[..], &[app.config.listen.pack_url()]].concat(),
        disk_rules: job.disk_rules.clone(),
        allow_shell: node.allow_shell,
        resume: has_written(&job.state),
        now: Timestamp::now().as_second(),
    }))
}

/// The machine in a few words; text from outside, so only what can be shown.
fn machine(request: &EnrollRequest) -> String {
    let inventory = &request.inventory;
    let parts = [inventory.model.as_deref(), inventory.serial.as_deref(), inventory.uuid.as_deref()];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    super::agent::shown(&text)
}

#[cfg(test)]
#[path = "enroll_tests.rs"]
mod tests;
