//! `imgcapture` as a stream of lines. Whoever closes it ends the capture.

use std::sync::Arc;

use axum::extract::State;

use super::error::ApiError;
use super::extract::Body;
use super::permit::{Act, permit};
use super::stream::{Stream, streamed};
use super::user::Actor;
use crate::app::App;
use crate::capture::run_capture;
use crate::policy::About;
use crate::wire::{CaptureProgress, CaptureRequest};

/// `POST capture`.
pub(super) async fn capture(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<CaptureRequest>,
) -> Result<Stream<CaptureProgress>, ApiError> {
    let about = About::Nodes(std::slice::from_ref(&request.node));
    permit(&app, &actor, Act::write(&["imgcapture"], format!("-o {}", request.osimage), about)).await?;
    let owned = Arc::clone(&app);
    // Closing the answer ends the channel, and a capture that nobody listens to ends itself.
    Ok(streamed(&app, |progress| async move { run_capture(&owned, &request, &actor.0, progress).await }))
}
