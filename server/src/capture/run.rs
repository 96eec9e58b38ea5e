//! One capture from its request to its end.

use std::sync::Arc;

use sysclone_protocol::agent::CaptureLine;
use sysclone_protocol::names::ImageName;
use tokio::sync::mpsc;

use super::CaptureError;
use super::definition::check_definition;
use super::order::{CAPTURE, make_order};
use super::registry::Finished;
use crate::app::App;
use crate::db::NewEvent;
use crate::remote::{Remote, place_agent};
use crate::wire::{CaptureProgress, CaptureRequest};

/// Where the lines for the administrator go. When nobody takes them any more, the capture ends.
type Listener = mpsc::Sender<CaptureProgress>;

/// Captures a golden client. All that can be said goes to `listener`, the last line is `Finished` or `Failed`.
pub async fn run_capture(app: &Arc<App>, request: &CaptureRequest, actor: &str, listener: Listener) {
    let outcome = tokio::select! {
        outcome = capture(app, request, actor, &listener) => outcome,
        () = listener.closed() => Err(CaptureError::BrokenOff),
        () = app.cancel.cancelled() => Err(CaptureError::BrokenOff),
    };
    let last = match outcome {
        Ok(Finished { reply, created }) => {
            let image = &request.osimage;
            let text = if created {
                format!("The osimage definition for {image} was created.")
            } else {
                format!("Using the existing osimage \"{image}\" defined on {}.", this_machine())
            };
            tell(&listener, CaptureProgress::Step { text }).await;
            CaptureProgress::Finished(reply)
        }
        Err(error) => {
            let reason = format!("{:#}", anyhow::Error::new(error));
            record_failure(app, request, actor, &reason).await;
            CaptureProgress::Failed { reason }
        }
    };
    tell(&listener, last).await;
}

async fn tell(listener: &Listener, line: CaptureProgress) {
    // Nobody listens any more: `run_capture` sees that for itself.
    let _ = listener.send(line).await;
}

async fn record_failure(app: &App, request: &CaptureRequest, actor: &str, reason: &str) {
    let text = format!("capture of {} from {} failed: {reason}", request.osimage, request.node);
    let known = app.known.now().attributes(&request.node).is_some();
    let node = known.then_some(request.node.as_str());
    if let Err(error) = app.db.record(NewEvent { node, actor, kind: "capture-failed", text }).await {
        tracing::error!(%error, reason, "the failure of a capture could not be recorded");
    }
}

fn this_machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

async fn capture(
    app: &Arc<App>,
    request: &CaptureRequest,
    actor: &str,
    listener: &Listener,
) -> Result<Finished, CaptureError> {
    let image: ImageName = request.osimage.parse().map_err(said)?;
    let remote = Remote::of(app, &request.node).map_err(said)?;
    check_definition(app, image.as_str()).await?;
    let (claim, token) = app.captures.claim(&image, &request.node, actor)?;
    let node = &request.node;
    let text = format!("capture of {image} from {node} begins");
    app.db.record(NewEvent { node: Some(node), actor, kind: "capture-started", text }).await?;
    tell(listener, CaptureProgress::Step { text: format!("Preparing osimage {image} on {node}.") }).await;
    place_agent(app, &remote).await?;
    let order = make_order(app, (&image, request), token).await?;
    let text = format!("Getting osimage \"{image}\" from {node} to {}.", this_machine());
    tell(listener, CaptureProgress::Step { text }).await;
    let order = serde_json::to_vec(&order).expect("wire types have text keys only and always encode");
    let ended = follow(&remote, &order, listener).await;
    // What counts is whether the manifest was accepted, not how the connection ended after that.
    match (claim.capturing.finished.get(), ended) {
        (Some(finished), _) => Ok(finished.clone()),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => {
            Err(CaptureError::Said(format!("the agent on {node} ended without handing in an image")))
        }
    }
}

fn said(error: impl std::fmt::Display) -> CaptureError {
    CaptureError::Said(error.to_string())
}

/// Runs the agent and passes on what it says; an error is what it said last, or how it ended.
async fn follow(remote: &Remote, order: &[u8], listener: &Listener) -> Result<(), CaptureError> {
    let mut running = remote.start(CAPTURE)?;
    let sent = running.send(order).await;
    let mut failed = None;
    while let Some(line) = running.line().await? {
        match serde_json::from_str::<CaptureLine>(&line) {
            Ok(CaptureLine::Failed { reason }) => failed = Some(reason),
            Ok(line) => {
                if let Some(progress) = passed_on(line) {
                    tell(listener, progress).await;
                }
            }
            // A line of a later version, or a banner of the login shell.
            Err(error) => {
                tracing::info!(node = remote.node, line, %error, "a line of the agent was not understood")
            }
        }
    }
    let ended = running.end().await;
    if let Some(reason) = failed {
        return Err(CaptureError::Said(format!("on {}: {reason}", remote.node)));
    }
    ended?;
    Ok(sent?)
}

fn passed_on(line: CaptureLine) -> Option<CaptureProgress> {
    match line {
        CaptureLine::Step { text } => Some(CaptureProgress::Step { text }),
        CaptureLine::Progress { files, bytes, total, sent } => {
            Some(CaptureProgress::Progress { files, bytes, total, sent })
        }
        CaptureLine::Inconsistent { path, reason } => {
            Some(CaptureProgress::Warning { text: format!("/{}: {reason}", path.trim_start_matches('/')) })
        }
        CaptureLine::Finished(_) | CaptureLine::Failed { .. } => None,
    }
}
