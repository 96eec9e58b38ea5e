//! Discovery on and off, for all networks that have a dynamic range.

use crate::app::App;
use crate::db::{Attributes, DbError, NewEvent};
use crate::define::apply_changes;
use crate::wire::discover::{DiscoveryStatus, DiscoverySwitch};
use crate::wire::{AttributeAction, AttributeChange, ChangeAction, ChangeRequest, ObjectType};

/// Whether machines are being discovered.
///
/// # Errors
/// The database cannot be read.
pub async fn status(app: &App) -> Result<DiscoveryStatus, DbError> {
    let networks = app.db.objects(ObjectType::Network, None).await?;
    let on = |attributes: &Attributes| {
        let network = crate::define::Network::read(attributes, app.config.listen.address);
        network.is_some_and(|network| super::directory::is_on(&network) && !network.dynamic.is_empty())
    };
    let snapshot = app.known.now();
    let is_free =
        |name: &String| snapshot.node(name).and_then(Result::ok).is_some_and(|node| node.macs.is_empty());
    Ok(DiscoveryStatus {
        networks: networks
            .into_iter()
            .filter(|(_, attributes)| on(attributes))
            .map(|(name, _)| name)
            .collect(),
        nodes: app.db.discovery_sequence().await?.into_iter().filter(is_free).collect(),
        undefined: app.db.discovered().await?.iter().filter(|found| found.node.is_none()).count(),
    })
}

/// Turns discovery on or off; answers how it is then, or why it cannot be.
///
/// # Errors
/// The database failed.
pub async fn switch(
    app: &App,
    request: &DiscoverySwitch,
    actor: &str,
) -> Result<Result<DiscoveryStatus, String>, DbError> {
    let snapshot = app.known.now();
    if let Some(unknown) = request.nodes.iter().find(|name| snapshot.attributes(name).is_none()) {
        return Ok(Err(format!("Could not find an object named '{unknown}' of type 'node'.")));
    }
    let networks = app.db.objects(ObjectType::Network, None).await?;
    let (attribute, value) = if request.on { ("dynamicrange", "yes") } else { ("discovery", "no") };
    let names: Vec<String> = networks
        .into_iter()
        .filter(|(_, attributes)| attributes.contains_key(attribute))
        .map(|(name, _)| name)
        .collect();
    if names.is_empty() && request.on {
        return Ok(Err(
            "no network has a dynamicrange, which machines are lent addresses from: chdef -t network -o \
                       <name> dynamicrange=<first>-<last>"
                .to_owned(),
        ));
    }
    let set = AttributeChange {
        name: "discovery".to_owned(),
        value: value.to_owned(),
        action: AttributeAction::Set,
    };
    let kind = ObjectType::Network;
    let change = ChangeRequest { action: ChangeAction::Change, kind, names, attributes: vec![set] };
    apply_changes((&app.db, &snapshot), &[change], actor).await?;
    app.known.refresh(&app.db).await?;
    let mut tx = app.db.write().await?;
    tx.put_discovery_sequence(&request.nodes).await?;
    let (kind, word) = if request.on { ("discovery-started", "on") } else { ("discovery-stopped", "off") };
    tx.event(NewEvent { node: None, actor, kind, text: format!("discovery was turned {word}") }).await?;
    tx.commit().await?;
    status(app).await.map(Ok)
}
