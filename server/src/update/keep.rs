//! What nodes are like, written down when they have said it; and the tokens with which they ask by themselves.

use sysclone_protocol::names::{ImageRef, Mac, NodeName, Secret};
use sysclone_protocol::update::{SyncReport, UpdateAction};

use super::UpdateError;
use crate::app::App;
use crate::db::{DbError, Found, NewEvent, Tx};
use crate::deploy::shown;
use crate::trust::{Token, TokenHash};

/// Writes down what a node says at the end of an action.
pub(super) async fn keep(
    app: &App,
    (node, actor): (&NodeName, &str),
    (action, ordered): (&UpdateAction, &ImageRef),
    report: &SyncReport,
) -> Result<(), UpdateError> {
    let kind = match action {
        UpdateAction::Plan | UpdateAction::Explain { .. } => return Ok(()),
        UpdateAction::Verify => None,
        UpdateAction::Apply => Some("update-finished"),
        UpdateAction::Rollback => Some("rolled-back"),
    };
    let image = match (report.image.parse::<ImageRef>(), action) {
        (Ok(image), _) => Some(image),
        // Before its first update a node need not know what it is.
        (Err(_), UpdateAction::Rollback) => None,
        (Err(_), _) => {
            let text = format!("the agent says that the node is like '{}'", shown(&report.image));
            return Err(UpdateError::Said(text));
        }
    };
    if let Some(image) = &image {
        check_said(app, node, (action, ordered), image).await?;
    }
    let reboot: Vec<String> = report.reboot.iter().map(|reason| shown(reason)).collect();
    let mut tx = app.db.write().await?;
    match &image {
        Some(image) => {
            let changed = kind.is_some();
            tx.put_found(node, Found { image, changed, drift: report.drift, reboot: &reboot }).await?;
        }
        None => tx.forget_found(node).await?,
    }
    if let Some(kind) = kind {
        let restart = match reboot.is_empty() {
            true => String::new(),
            false => format!("; it should restart: {}", reboot.join(", ")),
        };
        let (changed, fetched) = (report.changed, report.fetched_bytes);
        let image = image.map_or_else(|| "before".to_owned(), |image| image.to_string());
        let text =
            format!("{node} is like {image}: {changed} paths changed, {fetched} bytes fetched{restart}");
        tx.event(NewEvent { node: Some(node.as_str()), actor, kind, text }).await?;
    }
    Ok(tx.commit().await?)
}

/// A node is like what it was ordered to be like, or after going back like another generation that it may have had. It
/// does not choose its image: whose keys it is given next depends on this.
async fn check_said(
    app: &App,
    node: &NodeName,
    (action, ordered): (&UpdateAction, &ImageRef),
    said: &ImageRef,
) -> Result<(), UpdateError> {
    let fits = match action {
        UpdateAction::Rollback => said.name == ordered.name || had(app, node, said).await?,
        UpdateAction::Apply | UpdateAction::Verify | UpdateAction::Plan | UpdateAction::Explain { .. } => {
            said == ordered
        }
    };
    if fits {
        return Ok(());
    }
    let text = format!("the agent says that the node is like {said}, and its order was about {ordered}");
    Err(UpdateError::Said(text))
}

/// Whether it is the name of the image that a node has, or was installed with.
async fn had(app: &App, node: &NodeName, said: &ImageRef) -> Result<bool, DbError> {
    let known = [app.db.image_on(node.as_str()).await?, app.db.deployed_image(node.as_str()).await?];
    Ok(known.into_iter().flatten().any(|image| image.name == said.name))
}

/// A clone that has started says which generation it has; an update that its start finished is known by that.
pub(super) async fn started(app: &App, node: &NodeName, image: &ImageRef) -> Result<(), UpdateError> {
    if !had(app, node, image).await? {
        return Ok(());
    }
    let mut tx = app.db.write().await?;
    tx.put_started(node, image).await?;
    Ok(tx.commit().await?)
}

/// Gives a clone the token with which it asks by itself: the same one each time while it is the clone that this
/// deployment made, so that it does no harm when an answer is lost.
pub(crate) async fn give_token(
    app: &App,
    tx: &mut Tx<'_>,
    (node, job): (&NodeName, &str),
) -> Result<Secret, DbError> {
    let macs = macs_of(app, node).unwrap_or_default();
    let machine: Vec<String> = macs.iter().map(Mac::to_string).collect();
    let token = app.keys.ticket.token(Token::Clone, job, format!("{node} {machine:?}").as_bytes());
    tx.put_node_token(node, &TokenHash::of(token.reveal()), &macs).await?;
    Ok(token)
}

/// The node that a token is the own one of.
pub(crate) async fn node_by_token(app: &App, token: &TokenHash) -> Result<Option<NodeName>, DbError> {
    app.db.node_by_token(token, &|node| macs_of(app, node)).await
}

/// The MAC addresses of a node, when its definition can be read.
fn macs_of(app: &App, node: &NodeName) -> Option<Vec<Mac>> {
    Some(app.known.now().node(node.as_str())?.ok()?.macs.clone())
}
