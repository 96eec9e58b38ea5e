//! The agent on running machines that images are captured from.

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;

use super::place::{PlaceError, place_agent};
use super::ssh::Remote;
use crate::app::App;
use crate::db::DbError;
use crate::wire::power::NodeAnswer;
use crate::wire::remote::AgentsRequest;

/// Puts the agent on every node, a limited number at a time; an answer for each.
pub(crate) async fn install_agents(app: &App, request: &AgentsRequest, answers: mpsc::Sender<NodeAnswer>) {
    let work = stream::iter(&request.nodes).for_each_concurrent(request.fanout(), |node| {
        let answers = answers.clone();
        async move {
            let result = on_node(app, node).await.map(str::to_owned);
            // Nobody listens any more: what was begun is harmless, and ends with this.
            drop(answers.send(NodeAnswer { name: node.clone(), step: None, result }).await);
        }
    });
    tokio::select! {
        () = work => {}
        () = answers.closed() => {}
        () = app.cancel.cancelled() => {}
    }
}

async fn on_node(app: &App, node: &str) -> Result<&'static str, String> {
    let remote = Remote::of(app, node)?;
    if let Some(image) = image_of(app, node).await.map_err(|error| error.to_string())? {
        return Err(format!("it is a clone of {image}, which is brought up to date: updatenode {node} -S"));
    }
    place_only(app, &remote).await.map_err(|error| format!("{:#}", anyhow::Error::new(error)))
}

/// Puts the agent on a machine; says how it comes to be there.
pub(crate) async fn place_only(app: &App, remote: &Remote) -> Result<&'static str, PlaceError> {
    let placed = place_agent(app, remote).await?;
    Ok(if placed.new { "the agent is installed" } else { "the agent is up to date" })
}

/// The image that a node was installed with.
async fn image_of(app: &App, node: &str) -> Result<Option<String>, DbError> {
    Ok(app.db.image_on(node).await?.map(|image| image.to_string()))
}
