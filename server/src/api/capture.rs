//! `imgcapture` as a stream of lines. Whoever closes it ends the capture.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use tokio::sync::mpsc;

use super::error::ApiError;
use super::events::lines;
use super::extract::Body;
use super::user::Actor;
use crate::app::App;
use crate::capture::run_capture;
use crate::wire::CaptureRequest;

/// Lines between the capture and its reader.
const WAITING: usize = 64;

/// `POST capture`.
pub(super) async fn capture(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<CaptureRequest>,
) -> Result<Response, ApiError> {
    let (lines, answer) = lines();
    let (progress, mut received) = mpsc::channel(WAITING);
    let owned = Arc::clone(&app);
    // Closing the answer drops `received`, and a capture that nobody listens to ends itself.
    app.tasks.spawn(async move { run_capture(&owned, &request, &actor.0, progress).await });
    app.tasks.spawn(async move {
        loop {
            tokio::select! {
                line = received.recv() => match line {
                    Some(line) if lines.send(&line).await => {}
                    Some(_) | None => return,
                },
                () = lines.0.closed() => return,
            }
        }
    });
    Ok(answer)
}
