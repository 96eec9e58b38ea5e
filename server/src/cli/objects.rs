//! Definitions as the daemon sends them, and outcomes of changing them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::client::Client;
use super::console::{Console, Exit, Usage};
use super::{targets, words};
use crate::define::schema;
use crate::noderange::{RangeError, Select};
use crate::wire::{ObjectType, Objects, Outcome};

/// One definition.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Object {
    /// Its name.
    pub(super) name: String,
    /// Its type, as its word.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// What is set.
    pub(super) attributes: BTreeMap<String, String>,
}

/// All definitions of a type.
pub(super) async fn all(client: &Client, kind: ObjectType) -> anyhow::Result<Vec<Object>> {
    let path = format!("/api/v1/objects/{}?{}", kind.word(), client.objects_query());
    Ok(objects(client.get(&path).await?, kind).collect())
}

/// The definitions with these names that exist.
pub(super) async fn named(
    client: &Client,
    kind: ObjectType,
    names: &[String],
) -> anyhow::Result<Vec<Object>> {
    let mut found = Vec::new();
    for batch in targets::batches(names) {
        let path = format!("/api/v1/objects/{}?names={batch}&{}", kind.word(), client.objects_query());
        found.extend(objects(client.get(&path).await?, kind));
    }
    Ok(found)
}

fn objects(found: Objects, kind: ObjectType) -> impl Iterator<Item = Object> {
    let kind = kind.word();
    found.into_iter().map(move |(name, attributes)| Object { name, kind, attributes })
}

/// Names that were typed for one type.
#[derive(Debug, Default)]
pub(super) struct Typed {
    /// Nodes that exist, or names of another type, of which nothing is known yet.
    pub(super) names: Vec<String>,
    /// Names that no node and no group has.
    pub(super) unknown: Vec<String>,
}

/// What was typed as names of objects: a noderange for nodes, a list for other types.
pub(super) async fn typed(client: &Client, kind: ObjectType, text: &str) -> anyhow::Result<Typed> {
    if kind == ObjectType::Node {
        let reply = targets::evaluate_with_hidden(client, text).await?;
        if reply.nodes.is_empty() && reply.unknown.is_empty() {
            return Err(Usage(format!("No node in '{text}', check the noderange syntax.")).into());
        }
        return Ok(Typed { names: reply.nodes, unknown: reply.unknown });
    }
    let names: Vec<String> =
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Usage(format!("No object name in '{text}'.")).into());
    }
    Ok(Typed { names, unknown: Vec::new() })
}

/// The text of names that were given by option or word. There is only one site, so it need not be named.
///
/// # Errors
/// There are none, or they are given twice.
pub(super) fn required(
    kind: ObjectType,
    option: Option<&String>,
    word: Option<String>,
) -> Result<String, Usage> {
    match words::one_of(option, word)? {
        Some(names) => Ok(names),
        None if kind == ObjectType::Site => Ok("clustersite".to_owned()),
        None => {
            let word = kind.word();
            Err(Usage(format!(
                "No object names of type '{word}' were provided.\nUsage: see --help, with examples."
            )))
        }
    }
}

/// What became of one object or node, as JSON output shows it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Prints outcomes as JSON.
pub(super) fn show_json(outcomes: &[Outcome], console: &mut Console) -> anyhow::Result<Exit> {
    let shown: Vec<Shown<'_>> = outcomes
        .iter()
        .map(|outcome| Shown {
            name: &outcome.name,
            result: outcome.result.as_deref().ok(),
            error: outcome.result.as_ref().err().map(String::as_str),
        })
        .collect();
    console.json(&shown)?;
    Ok(Exit::failed_if(outcomes.iter().any(|outcome| outcome.result.is_err())))
}

/// Conditions as they were typed.
///
/// # Errors
/// One is none.
pub(super) fn conditions(texts: &[String]) -> Result<Vec<Select>, Usage> {
    texts.iter().map(|text| text.parse().map_err(|error: RangeError| Usage(error.to_string()))).collect()
}

/// Whether all conditions hold.
pub(super) fn fits(conditions: &[Select], object: &Object) -> bool {
    let kind = ObjectType::of_word(object.kind).expect("objects have types");
    let value = |attr: &str| schema::value(kind, attr, (&object.name, &object.attributes));
    conditions.iter().all(|condition| condition.accepts(value(&condition.attribute).unwrap_or_default()))
}

/// The objects that a change is for: those named, or all of a type, as far as the conditions hold.
///
/// # Errors
/// Nothing is named and there is no condition, or the daemon did not answer.
pub(super) async fn chosen(
    client: &Client,
    kind: ObjectType,
    (text, conditions): (Option<String>, &[String]),
) -> anyhow::Result<Typed> {
    if conditions.is_empty() {
        return typed(client, kind, &required(kind, None, text)?).await;
    }
    let conditions = self::conditions(conditions)?;
    let (candidates, unknown) = match text {
        None => (all(client, kind).await?, Vec::new()),
        Some(text) => {
            let Typed { names, unknown } = typed(client, kind, &text).await?;
            (named(client, kind, &names).await?, unknown)
        }
    };
    let fitting = candidates.into_iter().filter(|object| fits(&conditions, object));
    Ok(Typed { names: fitting.map(|object| object.name).collect(), unknown })
}

/// The text for a name that no object has.
pub(super) fn no_such(name: &str, kind: ObjectType) -> String {
    format!("Could not find an object named '{name}' of type '{}'.", kind.word())
}

/// The text for an object that could not be changed, with its name when the daemon's text does not have it.
pub(super) fn refusal(name: &str, error: &str) -> String {
    if error.contains(&format!("'{name}'")) { error.to_owned() } else { format!("{name}: {error}") }
}
