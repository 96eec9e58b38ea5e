//! What all parts of the running daemon share.

use std::path::PathBuf;
use std::sync::Arc;

use sysclone_image::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::boot::BootService;
use crate::capture::Captures;
use crate::config::Config;
use crate::db::{Db, DbError, NewEvent};
use crate::define::Known;
use crate::deploy::Progress;
use crate::discover::Discovery;
use crate::metrics::Counters;
use crate::said::Said;
use crate::trust::Keys;
use crate::update::Updates;

/// The daemon's state. Everything that must survive a restart is in the database, the store or the key files.
pub struct App {
    /// The configuration.
    pub config: Config,
    /// Secrets.
    pub keys: Keys,
    /// Definitions, jobs, events.
    pub db: Db,
    /// Images.
    pub store: Arc<Store>,
    /// Definitions, ready to use.
    pub known: Arc<Known>,
    /// Machines that are nobody's.
    pub discovery: Discovery,
    /// Boot directory, in memory.
    pub boot_files: BootService,
    /// How far agents are.
    pub progress: Progress,
    /// Captures under way.
    pub captures: Captures,
    /// Updates under way.
    pub updates: Updates,
    /// Held by a check or a collection of the store.
    pub image_work: tokio::sync::Mutex<()>,
    /// Events that repeat.
    pub said: Said,
    /// What was done, for whoever watches the server.
    pub counters: Arc<Counters>,
    /// Home directory of ipmitool.
    pub ipmi_home: PathBuf,
    /// Cancelled when the daemon stops.
    pub cancel: CancellationToken,
    /// Every task, so that all are waited for.
    pub tasks: TaskTracker,
}

impl App {
    /// Runs a piece of work to its end even when whoever asked for it has gone, so that no change is left half known.
    ///
    /// # Panics
    /// When the work itself panics.
    pub async fn to_the_end<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.tasks.spawn(work).await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("tasks here are never aborted"),
        })
    }

    /// Records an event that a stranger can cause as often as it likes: the same one is written once in a while only,
    /// and failing to write it is no reason to fail.
    pub async fn record_refusal(&self, event: NewEvent<'_>) {
        if !self.said.is_new(&format!("{} {:?} {}", event.kind, event.node, event.text)) {
            return;
        }
        if let Err(error) = self.db.record(event).await {
            let error: &DbError = &error;
            tracing::error!(%error, "an event could not be recorded");
        }
    }
}
