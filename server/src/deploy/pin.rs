//! Generations that deploys need are pinned in the store, so that nobody removes them and no collection rewrites their
//! packs. Every pin ends by itself; a lost one costs disk space for a day.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sysclone_image::Store;
use sysclone_protocol::names::{ImageRef, NodeName};

use crate::app::App;
use crate::db::Job;

/// Longer than any deploy takes, also one that waits for its server.
const DEPLOY: Duration = Duration::from_secs(86_400);

/// Holds a generation until the tickets of nodes that are being set to it have ended.
pub(super) fn pin_for_tickets(store: &Store, image: &ImageRef, ticket_life: Duration) {
    pin(store, image, ("nodes that were set to install it", ticket_life));
}

/// Holds a generation while a node installs it. Blocks on files.
pub fn pin_for_deploy(store: &Store, image: &ImageRef, node: &NodeName) {
    pin(store, image, (&holder(node), DEPLOY));
}

/// Lets it go when the node is done with it.
pub(super) async fn unpin_deploy(app: &App, job: &Job) {
    let Some(image) = job.work.image().cloned() else { return };
    let (store, holder) = (Arc::clone(&app.store), holder(&job.node));
    let work = move || {
        if let Err(error) = store.unpin(&image, &holder) {
            tracing::warn!(%image, "a pin stays until it ends by itself: {:#}", anyhow::Error::new(error));
        }
    };
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        tracing::warn!(%error, "a pin stays until it ends by itself");
    }
}

fn holder(node: &NodeName) -> String {
    format!("the deploy of {node}")
}

/// A full disk must not keep anybody from installing, and without a pin a deploy fails at worst: packs stay readable
/// for two days after the last thing that names them.
fn pin(store: &Store, image: &ImageRef, (holder, lasts): (&str, Duration)) {
    let Some(until) = SystemTime::now().checked_add(lasts) else { return };
    if let Err(error) = store.pin(image, holder, until) {
        tracing::warn!(%image, holder, "not pinned: {:#}", anyhow::Error::new(error));
    }
}
