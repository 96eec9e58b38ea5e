//! What the agent on a clone is given.

use jiff::Timestamp;
use sysclone_protocol::names::{NodeName, Secret};
use sysclone_protocol::update::{UpdateAction, UpdateOrder};

use super::UpdateError;
use super::rules::rules;
use super::target::Target;
use crate::app::App;
use crate::remote::RemoteCommand;
use crate::wire::update::UpdateNodesRequest;

/// Runs the update.
pub(super) const UPDATE: RemoteCommand =
    RemoteCommand { what: "the update", text: "/var/lib/sysclone/sysclone-agent update" };

/// The order for a node.
pub(super) async fn make_order(
    app: &App,
    (node, target): (&NodeName, &Target),
    request: &UpdateNodesRequest,
    token: Secret,
) -> Result<UpdateOrder, UpdateError> {
    let image = &target.image;
    // Content is shown to nobody who is not to have it.
    let fetches = request.action == UpdateAction::Apply || request.diff;
    let image_key = if fetches {
        let key = app.keys.image_key(&image.name)?;
        let missing = || UpdateError::Said(format!("the key of image {image} is not on the server"));
        Some(key.ok_or_else(missing)?.to_base64())
    } else {
        None
    };
    Ok(UpdateOrder {
        server: app.config.listen.agent_url(),
        ca_pem: app.keys.tls.ca_pem().to_owned(),
        token,
        node: node.clone(),
        image: image.clone(),
        image_key,
        manifest_key: app.keys.signing.verifying_key().to_base64(),
        pack_sources: [&app.config.pack_sources[..], &[app.config.listen.pack_url()]].concat(),
        rules: rules(app, node, &image.name).await?,
        action: request.action.clone(),
        keep_local: request.keep_local,
        delete_local: request.delete_local,
        diff: request.diff,
        node_token: None,
        now: Timestamp::now().as_second(),
    })
}
