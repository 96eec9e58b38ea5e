//! A discovered machine becomes a node: the node's `mac` is the interface that the machine booted from.

use super::claims;
use crate::app::App;
use crate::db::{DbError, NewEvent};
use crate::define::apply_changes;
use crate::wire::discover::{Discovered, DiscoveredChange, Which};
use crate::wire::{AttributeAction, AttributeChange, ChangeAction, ChangeRequest, ObjectType, Outcome};

/// Whether a machine became a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// It did.
    Yes,
    /// It did not; why, and what to do.
    Refused(String),
}

/// Gives a node the machine's MAC address, and what else it does not say itself.
pub(super) async fn name_machine(
    app: &App,
    found: &Discovered,
    (node, method): (&str, &str),
    actor: &str,
) -> Result<Named, DbError> {
    let _no_two = app.discovery.naming.lock().await;
    let snapshot = app.known.now();
    let Discovered { mac, machine, .. } = found;
    let before = snapshot.attributes(node).cloned().unwrap_or_default();
    if let Some(other) = before.get("mac").filter(|text| !text.is_empty()) {
        return Ok(Named::Refused(format!(
            "{node} has mac={other} already; if this machine took its place or boots from another interface: chdef \
             -t node -o {node} mac={mac}"
        )));
    }
    let set = |(name, value): (&str, String)| AttributeChange {
        name: name.to_owned(),
        value,
        action: AttributeAction::Set,
    };
    let mut attributes: Vec<AttributeChange> =
        claims::attributes(&before, machine, mac).into_iter().map(set).collect();
    if snapshot.attributes(node).is_none() {
        attributes.push(set(("groups", "all".to_owned())));
    }
    let change = ChangeRequest {
        action: ChangeAction::Change,
        kind: ObjectType::Node,
        names: vec![node.to_owned()],
        attributes,
    };
    let outcomes = apply_changes((&app.db, &snapshot), &[change], actor).await?;
    if let Some(Outcome { result: Err(why), .. }) = outcomes.into_iter().next() {
        return Ok(Named::Refused(why));
    }
    app.known.refresh(&app.db).await?;
    let mut tx = app.db.write().await?;
    tx.name_discovered(mac, (node, method)).await?;
    let text = format!("{node} is the machine that booted from {mac} ({method})");
    tx.event(NewEvent { node: Some(node), actor, kind: "discovery-matched", text }).await?;
    tx.commit().await?;
    Ok(Named::Yes)
}

/// Does what an administrator wants of discovered machines; answers for each of them.
///
/// # Errors
/// The database failed.
pub async fn change_discovered(
    app: &App,
    request: &DiscoveredChange,
    actor: &str,
) -> Result<Result<Vec<Outcome>, String>, DbError> {
    let all = app.db.discovered().await?;
    let chosen: Vec<Discovered> = all.into_iter().filter(|found| is_meant(&request.which, found)).collect();
    let Some(node) = &request.node else { return forget(app, chosen, actor).await.map(Ok) };
    let found = match chosen.as_slice() {
        [] => return Ok(Err("no discovered machine is that one; nodediscoverls lists them".to_owned())),
        [found] => found,
        several => {
            let macs: Vec<String> = several.iter().map(|found| found.mac.to_string()).collect();
            return Ok(Err(format!(
                "{} machines are that one, with the MAC addresses {}: choose one by --mac",
                several.len(),
                macs.join(", ")
            )));
        }
    };
    let result = match name_machine(app, found, (node, "manual"), actor).await? {
        Named::Yes => Ok(found.uuid.clone()),
        Named::Refused(why) => Err(why),
    };
    Ok(Ok(vec![Outcome { name: node.clone(), result }]))
}

fn is_meant(which: &Which, found: &Discovered) -> bool {
    match which {
        Which::Uuid(uuid) => found.uuid.eq_ignore_ascii_case(uuid),
        Which::Mac(mac) => found.mac == *mac,
        Which::Method(method) => method == "all" || found.method == *method,
    }
}

async fn forget(app: &App, chosen: Vec<Discovered>, actor: &str) -> Result<Vec<Outcome>, DbError> {
    let mut tx = app.db.write().await?;
    for found in &chosen {
        tx.forget_discovered(&found.mac).await?;
        let text = format!("the discovered machine {} ({}) was forgotten", found.uuid, found.mac);
        tx.event(NewEvent { node: None, actor, kind: "discovery-removed", text }).await?;
    }
    tx.commit().await?;
    let outcome = |found: Discovered| {
        app.discovery.ask_again(&found.mac);
        Outcome { name: found.mac.to_string(), result: Ok(found.uuid) }
    };
    Ok(chosen.into_iter().map(outcome).collect())
}
