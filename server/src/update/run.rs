//! Updates of a range from their request to their end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use sysclone_protocol::names::{NodeName, Secret};
use sysclone_protocol::update::{SyncReport, UpdateAction, UpdateLine};
use tokio::sync::mpsc;

use super::UpdateError;
use super::group::Groups;
use super::keep::{give_token, keep};
use super::order::{UPDATE, make_order};
use super::target::{Aim, Targets};
use crate::app::App;
use crate::db::NewEvent;
use crate::remote::{Remote, SshError, place_agent, place_only};
use crate::wire::update::{UpdateAnswer, UpdateNodesRequest, UpdateSummary};

/// How often a node's progress is passed on.
const PROGRESS_STEP: Duration = Duration::from_millis(500);

/// Where the lines for the administrator go. When nobody takes them any more, the updates end.
type Listener = mpsc::Sender<UpdateAnswer>;

/// Updates nodes, a limited number at a time. All that can be said goes to `listener`, the last line is `Ended`.
pub async fn run_updates(app: &Arc<App>, request: &UpdateNodesRequest, actor: &str, listener: Listener) {
    let fleet = Fleet {
        app,
        request,
        actor,
        listener,
        targets: Targets::of_request(actor),
        groups: Groups::default(),
        summary: Mutex::default(),
    };
    let each = stream::iter(&request.nodes);
    each.for_each_concurrent(request.fanout(), |node| fleet.node(node)).await;
    let mut summary = std::mem::take(&mut *fleet.summary());
    for nodes in [&mut summary.failed, &mut summary.unreachable, &mut summary.not_tried] {
        nodes.sort_unstable();
    }
    fleet.tell(UpdateAnswer::Ended(summary)).await;
    fleet.targets.release(app).await;
}

/// One request at work.
struct Fleet<'a> {
    app: &'a Arc<App>,
    request: &'a UpdateNodesRequest,
    actor: &'a str,
    listener: Listener,
    targets: Targets,
    groups: Groups,
    summary: Mutex<UpdateSummary>,
}

/// A good end.
enum Done {
    Agent(&'static str),
    Explained(String),
    Synced(SyncReport),
}

impl Fleet<'_> {
    fn summary(&self) -> MutexGuard<'_, UpdateSummary> {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tell(&self, answer: UpdateAnswer) {
        // Nobody listens any more: each node sees that for itself.
        let _ = self.listener.send(answer).await;
    }

    /// Whether no further node is begun.
    fn is_stopped(&self) -> bool {
        let failed = self.summary().failed.len();
        let too_many = self.request.max_failures.is_some_and(|most| failed > most as usize);
        too_many || self.listener.is_closed() || self.app.cancel.is_cancelled()
    }

    async fn node(&self, node: &str) {
        if self.is_stopped() {
            self.summary().not_tried.push(node.to_owned());
            return;
        }
        let outcome = tokio::select! {
            outcome = self.update(node) => outcome,
            () = self.listener.closed() => Err(UpdateError::BrokenOff),
            () = self.app.cancel.cancelled() => Err(UpdateError::BrokenOff),
        };
        let node = node.to_owned();
        let last = match outcome {
            Ok(done) => {
                self.summary().done += 1;
                match done {
                    Done::Agent(text) => UpdateAnswer::Agent { node, text: text.to_owned() },
                    Done::Explained(text) => UpdateAnswer::Explained { node, text },
                    Done::Synced(report) => UpdateAnswer::Finished { node, report },
                }
            }
            Err(error) => self.failed(node, error).await,
        };
        self.tell(last).await;
    }

    async fn failed(&self, node: String, error: UpdateError) -> UpdateAnswer {
        let unreachable = error.is_unreachable();
        let state = match &error {
            UpdateError::Agent { state, .. } => Some(state.clone()),
            _ => None,
        };
        let reason = format!("{:#}", anyhow::Error::new(error));
        if self.changes() {
            let state = state.as_ref().map(|state| format!("; it is {state}")).unwrap_or_default();
            let text = format!("{} of {node} failed: {reason}{state}", self.word());
            let known = self.app.known.now().attributes(&node).is_some();
            let event =
                NewEvent { node: known.then_some(&node), actor: self.actor, kind: "update-failed", text };
            if let Err(error) = self.app.db.record(event).await {
                tracing::error!(%error, reason, "the failure of an update could not be recorded");
            }
        }
        if unreachable {
            self.summary().unreachable.push(node.clone());
            UpdateAnswer::Unreachable { node, reason }
        } else {
            self.summary().failed.push(node.clone());
            UpdateAnswer::Failed { node, reason, state }
        }
    }

    /// Whether nodes are changed.
    fn changes(&self) -> bool {
        matches!(self.request.action, UpdateAction::Apply | UpdateAction::Rollback)
    }

    fn word(&self) -> &'static str {
        if self.request.action == UpdateAction::Rollback { "rollback" } else { "update" }
    }

    async fn update(&self, node: &str) -> Result<Done, UpdateError> {
        let app = self.app;
        let remote = Remote::of(app, node).map_err(UpdateError::Said)?;
        let name: NodeName = node.parse().map_err(|error| UpdateError::Said(format!("{error}")))?;
        let target = match self.targets.aim(app, node, self.request).await? {
            Aim::Image(target) => target,
            Aim::Agent if self.changes() => return Ok(Done::Agent(place_only(app, &remote).await?)),
            Aim::Agent => return Ok(Done::Agent("it is no clone: it would get the agent and nothing else")),
        };
        let (_claim, token) = app.updates.claim(&name, &target, self.actor)?;
        if self.changes() {
            let text = format!("{} of {node} begins, {}", self.word(), target.image);
            self.record(node, ("update-started", text)).await?;
        }
        let arch = place_agent(app, &remote).await?.arch;
        if let Some(wanted) = target.arch.as_deref().filter(|wanted| *wanted != arch) {
            let text = format!("it is a {arch} machine, {} is for {wanted}", target.image);
            return Err(UpdateError::Said(text));
        }
        let mut order = make_order(app, (&name, &target), self.request, token).await?;
        order.node_token = self.token_for(&name).await?;
        let order = serde_json::to_vec(&order).expect("wire types have text keys only and always encode");
        let done = self.follow(&remote, &order).await?;
        if let Done::Synced(report) = &done {
            keep(app, (&name, self.actor), (&self.request.action, &target.image), report).await?;
        }
        Ok(done)
    }

    /// The token with which a node that is updated asks by itself from now on.
    async fn token_for(&self, node: &NodeName) -> Result<Option<Secret>, UpdateError> {
        if self.request.action != UpdateAction::Apply {
            return Ok(None);
        }
        let job = self.app.db.installed_by(node.as_str()).await?.unwrap_or_default();
        let mut tx = self.app.db.write().await?;
        let token = give_token(self.app, &mut tx, (node, &job)).await?;
        tx.commit().await?;
        Ok(Some(token))
    }

    async fn record(&self, node: &str, (kind, text): (&str, String)) -> Result<(), UpdateError> {
        Ok(self.app.db.record(NewEvent { node: Some(node), actor: self.actor, kind, text }).await?)
    }

    /// Runs the agent and passes on what it says.
    async fn follow(&self, remote: &Remote, order: &[u8]) -> Result<Done, UpdateError> {
        let mut running = remote.start(UPDATE)?;
        let sent = running.send_open(order).await;
        let mut ended = None;
        let mut shown = None;
        while let Some(line) = running.line().await? {
            match serde_json::from_str::<UpdateLine>(&line) {
                Ok(UpdateLine::Finished(report)) => ended = Some(Ok(Done::Synced(report))),
                Ok(UpdateLine::Explained { text }) => ended = Some(Ok(Done::Explained(text))),
                Ok(UpdateLine::Failed { reason, state }) => {
                    ended = Some(Err(UpdateError::Agent { reason, state }));
                }
                Ok(UpdateLine::Progress { .. })
                    if shown.is_some_and(|at: Instant| at.elapsed() < PROGRESS_STEP) => {}
                Ok(line) => {
                    if matches!(line, UpdateLine::Progress { .. }) {
                        shown = Some(Instant::now());
                    }
                    self.pass_on(&remote.node, line).await;
                }
                // A line of a later version, or a banner of the login shell.
                Err(error) => {
                    let node = &remote.node;
                    tracing::info!(node, line, %error, "a line of the agent was not understood");
                }
            }
        }
        // What the agent said of its end counts, not how the connection ended after that.
        let how = running.end().await;
        if let Some(ended) = ended {
            return ended;
        }
        match how.and(sent) {
            Err(SshError::Unreachable { said, .. }) => return Err(UpdateError::Lost(said)),
            how => how?,
        }
        Err(UpdateError::Said("the agent ended without a word: updatenode -S goes on with it".to_owned()))
    }

    async fn pass_on(&self, node: &str, line: UpdateLine) {
        let node = node.to_owned();
        let answer = match line {
            UpdateLine::Step { text } => UpdateAnswer::Step { node, text },
            UpdateLine::Warning { text } => UpdateAnswer::Warning { node, text },
            UpdateLine::Progress { done, total } => UpdateAnswer::Progress { node, done, total },
            UpdateLine::Plan(mut plan) => {
                let like = self.groups.fold(&node, &mut plan);
                UpdateAnswer::Plan { node, like, plan: Box::new(plan) }
            }
            UpdateLine::Finished(_) | UpdateLine::Explained { .. } | UpdateLine::Failed { .. } => return,
        };
        self.tell(answer).await;
    }
}
