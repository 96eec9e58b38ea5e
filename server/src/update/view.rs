//! What clones are like, for people.

use std::collections::HashMap;
use std::sync::Arc;

use sysclone_protocol::names::{ImageName, ImageRef};

use crate::app::App;
use crate::db::{DbError, Synced};
use crate::wire::update::NodeSync;

/// What nodes are like, or all; nodes that are not defined are left out.
///
/// # Errors
/// The database cannot be read.
pub async fn node_syncs(app: &Arc<App>, nodes: Option<&[String]>) -> Result<Vec<NodeSync>, DbError> {
    let known = app.known.now();
    let names: Vec<String> = match nodes {
        Some(nodes) => nodes.iter().filter(|name| known.attributes(name).is_some()).cloned().collect(),
        None => known.names().map(str::to_owned).collect(),
    };
    let synced = app.db.synced(Some(&names)).await?;
    let mut synced: HashMap<String, Synced> =
        synced.into_iter().map(|synced| (synced.node.clone(), synced)).collect();
    let mut newest: HashMap<ImageName, Option<u32>> = HashMap::new();
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let synced = synced.remove(&name);
        let image = match &synced {
            Some(synced) => Some(synced.image.clone()),
            None => app.db.deployed_image(&name).await?,
        };
        let newer = match &image {
            Some(image) => newer(app, image, &mut newest).await,
            None => None,
        };
        let (drift, drift_at) = synced.as_ref().and_then(|synced| synced.drift).unzip();
        found.push(NodeSync {
            node: name,
            image: image.map(|image| image.to_string()),
            newest: newer.map(|image| image.to_string()),
            synced_at: synced.as_ref().map(|synced| format!("{:.0}", synced.synced_at)),
            drift,
            drift_at: drift_at.map(|at| format!("{at:.0}")),
            reboot: synced.map(|synced| synced.reboot).unwrap_or_default(),
        });
    }
    Ok(found)
}

/// The newest generation of an image, when it is another. A store that cannot be read has none.
async fn newer(
    app: &Arc<App>,
    image: &ImageRef,
    newest: &mut HashMap<ImageName, Option<u32>>,
) -> Option<ImageRef> {
    if !newest.contains_key(&image.name) {
        let (store, name) = (Arc::clone(&app.store), image.name.clone());
        let read = tokio::task::spawn_blocking(move || store.newest(&name)).await;
        newest.insert(image.name.clone(), read.ok().and_then(Result::ok).flatten());
    }
    let generation = newest[&image.name].filter(|generation| *generation != image.generation)?;
    Some(ImageRef { name: image.name.clone(), generation })
}
