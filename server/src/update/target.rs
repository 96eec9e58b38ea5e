//! Which generation a node is to be like. What an image is, is looked up once for all nodes of a request, and held in
//! the store until its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sysclone_protocol::names::{ImageRef, ImageSelector, Pick};
use sysclone_protocol::update::UpdateAction;
use tokio::sync::Mutex;

use super::UpdateError;
use crate::app::App;
use crate::deploy::read_manifest;
use crate::trust::random;
use crate::wire::update::UpdateNodesRequest;

/// Longer than any update of a range takes; a pin that is lost costs disk space for so long.
const PINNED: Duration = Duration::from_secs(86_400);

/// A generation that nodes can be made like.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) image: ImageRef,
    /// Architecture of its programs; none when nothing is taken from it.
    pub(super) arch: Option<String>,
    /// Digest of its manifest.
    pub(super) digest: Option<String>,
    /// Host name of the golden client.
    pub(super) source: String,
}

/// What is to be done with a node.
#[derive(Debug)]
pub(super) enum Aim {
    /// It gets the agent and nothing else.
    Agent,
    /// It is about this generation.
    Image(Target),
}

/// Images that a request looked up.
#[derive(Debug)]
pub(super) struct Targets {
    holder: String,
    known: Mutex<HashMap<ImageSelector, Result<Target, String>>>,
}

impl Targets {
    /// Those of one request among others.
    pub(super) fn of_request(actor: &str) -> Self {
        let id = blake3::Hash::from_bytes(random()).to_hex();
        Self::new(format!("update {} by {actor}", &id[..8]))
    }

    /// Held in the store in this name.
    pub(super) fn new(holder: String) -> Self {
        Self { holder, known: Mutex::default() }
    }

    /// What a node is to be like.
    pub(super) async fn aim(
        &self,
        app: &Arc<App>,
        node: &str,
        request: &UpdateNodesRequest,
    ) -> Result<Aim, UpdateError> {
        let said = |text: String| UpdateError::Said(text);
        let own = app.db.image_on(node).await?;
        let wanted = match (&request.image, own) {
            (Some(text), _) => text.parse().map_err(|error| said(format!("{error}")))?,
            (None, Some(own)) => chosen(own, &request.action),
            (None, None) => return no_clone(&request.action).map_err(said),
        };
        if request.action == UpdateAction::Rollback {
            return put_back(wanted).map_err(said);
        }
        let target = self.find(app, wanted).await.map_err(said)?;
        if !is_golden(app, node, &target.source) {
            return Ok(Aim::Image(target));
        }
        if request.image.is_some() {
            let image = &target.image;
            return Err(said(format!("it is the golden client of {image}: what it has is newer")));
        }
        no_clone(&request.action).map_err(said)
    }

    async fn find(&self, app: &Arc<App>, wanted: ImageSelector) -> Result<Target, String> {
        // Held while it is looked up, so that the others wait for the first.
        let mut known = self.known.lock().await;
        if let Some(found) = known.get(&wanted) {
            return found.clone();
        }
        let (owned, selector, holder) = (Arc::clone(app), wanted.clone(), self.holder.clone());
        let look = move || {
            let manifest = read_manifest(&owned.store, &selector, &owned.keys.signing.verifying_key())?;
            let image = manifest.image_ref();
            let until = SystemTime::now().checked_add(PINNED);
            // Without a pin an update fails at worst: packs stay for two days after the last thing that names them.
            if let Some(Err(error)) = until.map(|until| owned.store.pin(&image, &holder, until)) {
                tracing::warn!(%image, "not pinned: {:#}", anyhow::Error::new(error));
            }
            let digest = Some(manifest.digest().to_string());
            Ok(Target { image, arch: Some(manifest.header.arch), digest, source: manifest.header.source })
        };
        let found = tokio::task::spawn_blocking(look).await.unwrap_or_else(|error| Err(error.to_string()));
        known.insert(wanted, found.clone());
        found
    }

    /// Lets go of what the request held in the store.
    pub(super) async fn release(self, app: &Arc<App>) {
        let app = Arc::clone(app);
        let images: Vec<ImageRef> =
            self.known.into_inner().into_values().filter_map(|found| Some(found.ok()?.image)).collect();
        let work = move || {
            for image in images {
                if let Err(error) = app.store.unpin(&image, &self.holder) {
                    tracing::warn!(%image, "a pin stays until it ends: {:#}", anyhow::Error::new(error));
                }
            }
        };
        if let Err(error) = tokio::task::spawn_blocking(work).await {
            tracing::warn!(%error, "pins stay until they end");
        }
    }
}

/// What is done with a clone's image: it is compared with what it has, and made like the newest.
fn chosen(own: ImageRef, action: &UpdateAction) -> ImageSelector {
    let pick = match action {
        UpdateAction::Plan | UpdateAction::Apply | UpdateAction::Explain { .. } => Pick::Newest,
        UpdateAction::Verify | UpdateAction::Rollback => Pick::Generation(own.generation),
    };
    ImageSelector { name: own.name, pick }
}

/// A rollback uses what the node kept; the generation is for the log, and may be gone from the store.
fn put_back(wanted: ImageSelector) -> Result<Aim, String> {
    match wanted.pick {
        Pick::Generation(generation) => {
            let image = ImageRef { name: wanted.name, generation };
            Ok(Aim::Image(Target { image, arch: None, digest: None, source: String::new() }))
        }
        Pick::Newest | Pick::Tag(_) => {
            Err("a rollback puts back what the node kept: no image can be chosen for it".to_owned())
        }
    }
}

/// What is done with a node that was not cloned, or that its image is captured from.
fn no_clone(action: &UpdateAction) -> Result<Aim, String> {
    match action {
        UpdateAction::Plan | UpdateAction::Apply => Ok(Aim::Agent),
        UpdateAction::Verify | UpdateAction::Rollback | UpdateAction::Explain { .. } => {
            Err("it is no clone of an image of this server".to_owned())
        }
    }
}

/// Whether an image was captured from a node, by the host name that its manifest has.
fn is_golden(app: &App, node: &str, source: &str) -> bool {
    let known = app.known.now();
    let hostname = known.node(node).and_then(Result::ok).map_or(node, |node| node.hostname.as_str());
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    !source.is_empty() && [node, hostname].into_iter().any(|name| short(name) == short(source))
}
