//! Changes of definitions: mkdef, chdef, rmdef. One object that cannot be changed fails alone.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use sysclone_protocol::names::Mac;

use super::attributes::{check_attribute, check_object_name};
use super::inherit::OWN;
use super::members::{MEMBERS, moved};
use super::node::parse_macs;
use super::perl::{Computed, PerlError};
use super::snapshot::Snapshot;
use crate::db::{Attributes, Db, DbError, NewEvent, Tx};
use crate::state::Input;
use crate::wire::{
    AttributeAction, AttributeChange, ChangeAction, ChangeRequest, ObjectType, Objects, Outcome,
};

/// Does what is asked, in one transaction; answers for each name in the requests' order. What groups have now is as
/// `known` says.
///
/// # Errors
/// The database failed; then nothing was changed.
pub async fn apply_changes(
    (db, known): (&Db, &Snapshot),
    requests: &[ChangeRequest],
    actor: &str,
) -> Result<Vec<Outcome>, DbError> {
    let mut tx = db.write().await?;
    let mut taken = Taken::default();
    if requests.iter().any(|request| request.kind == ObjectType::Node) {
        taken = Taken::read(&tx.objects(ObjectType::Node, None).await?);
    }
    let mut outcomes = Vec::new();
    let mut present = present(&mut tx, requests).await?;
    for request in requests {
        for name in &request.names {
            let object = (request.kind, name.as_str());
            let nodes = moved((&mut tx, known), request, name).await?;
            let fits = fits_nodes((&mut tx, known), request, name).await?;
            let objects = present.entry(request.kind).or_default();
            let before = Before { own: objects.get(name), is_spoken_of: is_spoken_of(known, object) };
            let prepared = fits.and_then(|()| prepare(request, name, before, &taken));
            let result = match nodes.and_then(|nodes| Ok((nodes, prepared?))) {
                Ok((nodes, change)) => {
                    let text = write(&mut tx, object, &change, actor).await?;
                    change.remember(object, objects, &mut taken);
                    let known_nodes = present.entry(ObjectType::Node).or_default();
                    for (node, attributes) in nodes {
                        tx.put_object(ObjectType::Node, &node, &attributes).await?;
                        known_nodes.entry(node).and_modify(|known| *known = attributes);
                    }
                    Ok(text)
                }
                Err(refused) => Err(refused),
            };
            outcomes.push(Outcome { name: name.clone(), result });
        }
    }
    tx.commit().await?;
    Ok(outcomes)
}

/// The objects that requests are about, read once for all of them.
async fn present(
    tx: &mut Tx<'_>,
    requests: &[ChangeRequest],
) -> Result<BTreeMap<ObjectType, Objects>, DbError> {
    let mut names: BTreeMap<ObjectType, Vec<String>> = BTreeMap::new();
    for request in requests {
        names.entry(request.kind).or_default().extend_from_slice(&request.names);
    }
    let mut present = BTreeMap::new();
    for (kind, names) in names {
        present.insert(kind, tx.objects(kind, Some(&names)).await?);
    }
    Ok(present)
}

/// What is to be written.
enum Change {
    Put { attributes: Attributes, created: bool },
    Remove,
}

impl Change {
    /// Keeps what later names are checked against.
    fn remember(self, (kind, name): (ObjectType, &str), objects: &mut Objects, taken: &mut Taken) {
        if kind == ObjectType::Node
            && let Some(before) = objects.get(name)
        {
            taken.release(name, before);
        }
        match self {
            Self::Put { attributes, .. } => {
                if kind == ObjectType::Node {
                    taken.claim(name, &attributes);
                }
                objects.insert(name.to_owned(), attributes);
            }
            Self::Remove => {
                objects.remove(name);
            }
        }
    }
}

/// What there is of an object before a change.
struct Before<'a> {
    /// Its own definition.
    own: Option<&'a Attributes>,
    /// Whether it is a group that nodes say they are in.
    is_spoken_of: bool,
}

fn is_spoken_of(known: &Snapshot, (kind, name): (ObjectType, &str)) -> bool {
    kind == ObjectType::Group && known.group(name).is_some_and(|members| !members.is_empty())
}

fn prepare(
    request: &ChangeRequest,
    name: &str,
    Before { own: present, is_spoken_of }: Before<'_>,
    taken: &Taken,
) -> Result<Change, String> {
    let kind = request.kind;
    check_object_name(kind, name)?;
    let before = match (request.action, present) {
        (ChangeAction::Remove, None) if !is_spoken_of => {
            return Err(format!("Could not find an object named '{name}' of type '{}'.", kind.word()));
        }
        (ChangeAction::Remove, _) => return Ok(Change::Remove),
        (ChangeAction::Create, Some(_)) => {
            return Err(format!("An object named '{name}' of type '{}' is already defined.", kind.word()));
        }
        (ChangeAction::Create | ChangeAction::Replace, _) | (ChangeAction::Change, None) => Attributes::new(),
        (ChangeAction::Change, Some(attributes)) => attributes.clone(),
    };
    let mut attributes = before;
    for change in &request.attributes {
        alter(&mut attributes, change);
        let value = attributes.get(&change.name).map(String::as_str).unwrap_or_default();
        let value = computed(kind, name, (&change.name, value))?;
        check_attribute(kind, &change.name, value.as_deref().unwrap_or_default())
            .map_err(|error| error.to_string())?;
    }
    if kind == ObjectType::Node {
        taken.refuse_shared(name, &attributes)?;
    }
    if kind == ObjectType::Group {
        attributes.remove(MEMBERS);
    }
    Ok(Change::Put { attributes, created: present.is_none() && !is_spoken_of })
}

/// What a node's value comes to, which is what must be valid; none when it depends on the nodes of a group.
fn computed(kind: ObjectType, object: &str, (attr, value): (&str, &str)) -> Result<Option<String>, String> {
    if !matches!(kind, ObjectType::Node | ObjectType::Group) || OWN.contains(&attr) {
        return Ok(Some(value.to_owned()));
    }
    let wrong = |error: PerlError| format!("{attr}={value} of {object} cannot be computed: {error}");
    match Computed::parse(value).map_err(wrong)? {
        None => Ok(Some(value.to_owned())),
        Some(computed) if kind == ObjectType::Node => computed.value(object).map_err(wrong),
        Some(_) => Ok(None),
    }
}

/// Whether what a group's computed values come to is valid for each of its nodes that has none of its own.
async fn fits_nodes(
    (tx, known): (&mut Tx<'_>, &Snapshot),
    request: &ChangeRequest,
    group: &str,
) -> Result<Result<(), String>, DbError> {
    let members = known.group(group).filter(|_| request.kind == ObjectType::Group).unwrap_or_default();
    let parse = |change: &'_ AttributeChange| Computed::parse(&change.value).ok().flatten();
    let computed: Vec<_> =
        request.attributes.iter().filter_map(|change| Some((&change.name, parse(change)?))).collect();
    if computed.is_empty() || members.is_empty() {
        return Ok(Ok(()));
    }
    let nodes = tx.objects(ObjectType::Node, Some(members)).await?;
    let inherits = |own: &Attributes, attr: &String| !own.contains_key(attr);
    for (node, own) in &nodes {
        for (attr, computed) in computed.iter().filter(|(attr, _)| inherits(own, attr)) {
            let value = computed.value(node).map_err(|error| error.to_string());
            let checked = value.and_then(|value| {
                check_attribute(ObjectType::Node, attr, value.as_deref().unwrap_or_default())
                    .map_err(|error| error.to_string())
            });
            if let Err(error) = checked {
                return Ok(Err(format!("{attr} would be wrong for {node}, a node of this group: {error}")));
            }
        }
    }
    Ok(Ok(()))
}

/// Applies one change of an attribute; list members stay in order, each once.
pub(super) fn alter(attributes: &mut Attributes, change: &AttributeChange) {
    let separator = if change.name == "wherevals" { "::" } else { "," };
    let members = |text: &str| -> Vec<String> {
        text.split(separator).map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let old = members(attributes.get(&change.name).map(String::as_str).unwrap_or_default());
    let given = members(&change.value);
    let joined = |first: Vec<String>, then: Vec<String>| {
        let mut list = first;
        for member in then {
            if !list.contains(&member) {
                list.push(member);
            }
        }
        list.join(separator)
    };
    let value = match change.action {
        AttributeAction::Set => change.value.clone(),
        AttributeAction::Append => joined(old, given),
        AttributeAction::Prepend => {
            let new = given.into_iter().filter(|member| !old.contains(member)).collect();
            joined(new, old)
        }
        AttributeAction::Subtract => {
            old.into_iter().filter(|member| !given.contains(member)).collect::<Vec<_>>().join(separator)
        }
    };
    if value.is_empty() {
        attributes.remove(&change.name);
    } else {
        attributes.insert(change.name.clone(), value);
    }
}

async fn write(
    tx: &mut Tx<'_>,
    (kind, name): (ObjectType, &str),
    change: &Change,
    actor: &str,
) -> Result<String, DbError> {
    let word = kind.word();
    let (event, text) = match change {
        Change::Put { attributes, created } => {
            tx.put_object(kind, name, attributes).await?;
            if *created { ("object-created", "created") } else { ("object-changed", "changed") }
        }
        Change::Remove => {
            if kind == ObjectType::Node {
                stop_deployment(tx, name, actor).await?;
            }
            tx.remove_object(kind, name).await?;
            ("object-removed", "removed")
        }
    };
    let node = (kind == ObjectType::Node).then_some(name);
    let sentence = format!("{word} {name} was {text}");
    tx.event(NewEvent { node, actor, kind: event, text: sentence }).await?;
    Ok(text.to_owned())
}

/// A node that is removed has no ticket and no agent any more.
async fn stop_deployment(tx: &mut Tx<'_>, node: &str, actor: &str) -> Result<(), DbError> {
    for job in tx.current_jobs(&[node.to_owned()]).await? {
        let withdrawn = Input::Withdrawn { by: actor.to_owned() };
        if let Ok(Some(state)) = job.state.after(&withdrawn) {
            let text =
                format!("the deployment of {} ends as {}: the node was removed", job.work, state.word());
            tx.event(NewEvent { node: Some(node), actor, kind: "node-state", text }).await?;
        }
    }
    tx.forget_jobs(node).await
}

/// Addresses that nodes have: no two may have the same.
#[derive(Default)]
struct Taken {
    macs: HashMap<Mac, String>,
    ips: HashMap<Ipv4Addr, String>,
}

impl Taken {
    fn read(nodes: &Objects) -> Self {
        let mut taken = Self::default();
        for (name, attributes) in nodes {
            taken.claim(name, attributes);
        }
        taken
    }

    fn claim(&mut self, name: &str, attributes: &Attributes) {
        let (macs, ip) = addresses(attributes);
        for mac in macs {
            self.macs.entry(mac).or_insert_with(|| name.to_owned());
        }
        if let Some(ip) = ip {
            self.ips.entry(ip).or_insert_with(|| name.to_owned());
        }
    }

    fn release(&mut self, name: &str, before: &Attributes) {
        let (macs, ip) = addresses(before);
        for mac in macs {
            if self.macs.get(&mac).is_some_and(|owner| owner == name) {
                self.macs.remove(&mac);
            }
        }
        if let Some(ip) = ip.filter(|ip| self.ips.get(ip).is_some_and(|owner| owner == name)) {
            self.ips.remove(&ip);
        }
    }

    fn refuse_shared(&self, name: &str, attributes: &Attributes) -> Result<(), String> {
        let (macs, ip) = addresses(attributes);
        for mac in macs {
            if let Some(owner) = self.macs.get(&mac).filter(|owner| *owner != name) {
                return Err(format!("the MAC address {mac} belongs to node {owner}"));
            }
        }
        match ip.and_then(|ip| Some((ip, self.ips.get(&ip)?))) {
            Some((ip, owner)) if owner != name => Err(format!("the address {ip} belongs to node {owner}")),
            Some(_) | None => Ok(()),
        }
    }
}

fn addresses(attributes: &Attributes) -> (Vec<Mac>, Option<Ipv4Addr>) {
    let macs = attributes.get("mac").and_then(|text| parse_macs(text).ok()).unwrap_or_default();
    (macs, attributes.get("ip").and_then(|text| text.parse().ok()))
}
