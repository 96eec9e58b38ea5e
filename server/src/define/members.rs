//! Who is in a group that is not dynamic is said by the nodes' `groups` alone, as in xCAT: a group's `members` are a view
//! of that, and setting them changes nodes.

use std::collections::BTreeSet;

use super::attributes::check_object_name;
use super::change::alter;
use super::snapshot::Snapshot;
use crate::db::{Attributes, DbError, Tx};
use crate::noderange::Range;
use crate::wire::{ChangeAction, ChangeRequest, ObjectType, Objects};

/// The attribute that is the view.
pub(super) const MEMBERS: &str = "members";

/// Adds to definitions of groups who is in them, and groups that only nodes speak of, if their names are such as groups
/// can have; only those of `names` when there are any.
pub fn add_members(groups: &mut Objects, known: &Snapshot, names: Option<&[String]>) {
    for (name, members) in known.groups() {
        if names.is_some_and(|names| !names.iter().any(|wanted| wanted == name)) {
            continue;
        }
        if check_object_name(ObjectType::Group, name).is_err() {
            continue;
        }
        let attributes = groups.entry(name.to_owned()).or_default();
        if !is_dynamic(attributes) && !members.is_empty() {
            attributes.insert(MEMBERS.to_owned(), members.join(","));
        }
    }
}

/// Whether comparisons choose who is in a group.
fn is_dynamic(group: &Attributes) -> bool {
    group.contains_key("wherevals") || group.get("grouptype").is_some_and(|kind| kind == "dynamic")
}

/// Nodes whose `groups` must change for what a request says of a group's members, with all their attributes then; or
/// why it cannot be done.
pub(super) async fn moved(
    (tx, known): (&mut Tx<'_>, &Snapshot),
    request: &ChangeRequest,
    group: &str,
) -> Result<Result<Objects, String>, DbError> {
    let changes: Vec<_> = request.attributes.iter().filter(|change| change.name == MEMBERS).collect();
    let removed = request.action == ChangeAction::Remove;
    if request.kind != ObjectType::Group || (changes.is_empty() && !removed) {
        return Ok(Ok(Objects::new()));
    }
    if !removed && becomes_dynamic(tx, request, group).await? {
        let says_so = request
            .attributes
            .iter()
            .any(|change| ["grouptype", "wherevals"].contains(&change.name.as_str()));
        let refused =
            "members of a dynamic group are chosen by its comparisons: chdef -t group -d -w".to_owned();
        // A file with whole definitions has both.
        return Ok(if says_so { Ok(Objects::new()) } else { Err(refused) });
    }
    let nodes = tx.objects(ObjectType::Node, None).await?;
    let before: Vec<&str> =
        nodes.iter().filter(|(_, node)| is_in(node, group)).map(|(name, _)| name.as_str()).collect();
    let mut list = Attributes::from([(MEMBERS.to_owned(), before.join(","))]);
    if removed {
        list.clear();
    }
    for change in changes {
        match expanded(known, &change.value) {
            Ok(names) => alter(&mut list, &crate::wire::AttributeChange { value: names, ..change.clone() }),
            Err(refused) => return Ok(Err(refused)),
        }
    }
    let wanted: BTreeSet<&str> = words(list.get(MEMBERS)).collect();
    if let Some(unknown) = wanted.iter().find(|name| !nodes.contains_key(**name)) {
        return Ok(Err(format!("members: Could not find an object named '{unknown}' of type 'node'.")));
    }
    let changed = nodes.iter().filter(|(name, node)| is_in(node, group) != wanted.contains(name.as_str()));
    Ok(Ok(changed.map(|(name, node)| (name.clone(), with_or_without(node, group))).collect()))
}

/// Whether a group is dynamic after a request; members that are given with it mean nothing then.
async fn becomes_dynamic(tx: &mut Tx<'_>, request: &ChangeRequest, group: &str) -> Result<bool, DbError> {
    let mut attributes = match request.action {
        ChangeAction::Change => tx.objects(ObjectType::Group, Some(&[group.to_owned()])).await?.remove(group),
        ChangeAction::Create | ChangeAction::Replace | ChangeAction::Remove => None,
    }
    .unwrap_or_default();
    request.attributes.iter().for_each(|change| alter(&mut attributes, change));
    Ok(is_dynamic(&attributes))
}

/// The names of a noderange, separated by commas.
fn expanded(known: &Snapshot, text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let wrong = |error| format!("members={text}: {error}");
    let range: Range = text.parse().map_err(wrong)?;
    let found = range.evaluate_with_hidden(known).map_err(wrong)?;
    Ok(found.nodes.into_iter().chain(found.unknown).collect::<Vec<_>>().join(","))
}

fn with_or_without(node: &Attributes, group: &str) -> Attributes {
    let mut groups: Vec<&str> = words(node.get("groups")).collect();
    if is_in(node, group) {
        groups.retain(|word| *word != group);
    } else {
        groups.push(group);
    }
    let mut node = node.clone();
    let text = groups.join(",");
    if text.is_empty() {
        node.remove("groups");
    } else {
        node.insert("groups".to_owned(), text);
    }
    node
}

/// Whether a node says that it is in a group.
pub(super) fn is_in(node: &Attributes, group: &str) -> bool {
    words(node.get("groups")).any(|word| word == group)
}

fn words(list: Option<&String>) -> impl Iterator<Item = &str> {
    list.map(String::as_str).unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty())
}
