//! Clones that ask by themselves: the same order as by ssh, and what came of it told by a call.

use std::sync::Arc;

use sysclone_protocol::names::NodeName;
use sysclone_protocol::update::{SyncReport, UpdateAction, UpdateOrder, UpdateRequest};

use super::UpdateError;
use super::keep::{keep, started};
use super::order::make_order;
use super::registry::Updating;
use super::target::{Aim, Targets};
use crate::app::App;
use crate::db::NewEvent;
use crate::wire::update::UpdateNodesRequest;

/// Who events name.
const ACTOR: &str = "agent";

/// The order for a clone that asks.
pub(crate) async fn pull(
    app: &Arc<App>,
    node: &NodeName,
    asked: UpdateRequest,
) -> Result<UpdateOrder, UpdateError> {
    let said = |text: String| UpdateError::Said(text);
    if asked.node != *node {
        return Err(said(format!("this token is that of {node}, not of {}", asked.node)));
    }
    if let (true, Some(image)) = (asked.started, &asked.image) {
        started(app, node, image).await?;
    }
    let applies = asked.action == UpdateAction::Apply;
    let allowed = app.known.now().node(node.as_str()).and_then(Result::ok).map(|node| node.update_pull);
    if applies && allowed != Some(true) {
        return Err(said(format!(
            "{node} may not update itself: updatenode {node} -S on the server, or chdef -t node -o {node} \
             updatepull=yes"
        )));
    }
    let request = UpdateNodesRequest {
        nodes: Vec::new(),
        image: None,
        action: asked.action,
        keep_local: false,
        delete_local: false,
        diff: false,
        fanout: None,
        max_failures: None,
    };
    let targets = Targets::new(format!("the update of {node}"));
    let Aim::Image(target) = targets.aim(app, node.as_str(), &request).await? else {
        return Err(said("it is the golden client of its image".to_owned()));
    };
    let token = app.updates.lend(node, &target, &request.action)?;
    let order = make_order(app, (node, &target), &request, token).await?;
    if applies {
        let text = format!("update of {node} begins, {}", target.image);
        let event = NewEvent { node: Some(node.as_str()), actor: ACTOR, kind: "update-started", text };
        app.db.record(event).await?;
    }
    Ok(order)
}

/// Takes what came of an order that a clone asked for. What came of one that was given by ssh is said there.
pub(crate) async fn synced(
    app: &App,
    updating: &Arc<Updating>,
    report: &SyncReport,
) -> Result<(), UpdateError> {
    let Some(action) = &updating.lent else { return Ok(()) };
    keep(app, (&updating.node, ACTOR), (action, &updating.image), report).await?;
    app.updates.end(updating);
    Ok(())
}
