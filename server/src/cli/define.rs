//! mkdef and chdef.

use anyhow::Context as _;

use super::args::{Chdef, Define, Mkdef};
use super::client::Client;
use super::console::{Console, Exit, Usage};
use super::objects::{self, Typed};
use super::stanza::Stanzas;
use super::{templates, words};
use crate::wire::{
    AttributeAction, AttributeChange, ChangeAction, ChangeRequest, ObjectType, Outcome, RenameRequest,
};

/// What the daemon says of an object that did not exist before.
const CREATED: &str = "created";

/// Makes definitions.
pub(super) async fn make(args: &Mkdef, console: &mut Console) -> anyhow::Result<Exit> {
    let action = if args.force { ChangeAction::Replace } else { ChangeAction::Create };
    if !args.define.dynamic && !args.define.conditions.is_empty() {
        return Err(Usage("mkdef takes -w together with -d only".to_owned()).into());
    }
    run(&args.define, (action, args.template.as_deref()), console).await
}

/// Changes definitions; those that do not exist are made.
pub(super) async fn change(args: &Chdef, console: &mut Console) -> anyhow::Result<Exit> {
    match &args.name {
        Some(name) => rename(&args.define, name, console).await,
        None => run(&args.define, (ChangeAction::Change, None), console).await,
    }
}

/// Gives one object another name.
async fn rename(args: &Define, name: &str, console: &mut Console) -> anyhow::Result<Exit> {
    let kind = words::one_type(args.names.kind.as_deref())?;
    let words = words::split(&args.words, AttributeAction::Set)?;
    if !words.attributes.is_empty() {
        return Err(Usage("-n takes no attributes: change them before or after".to_owned()).into());
    }
    let text = words::one_of(args.names.objects.as_ref(), words.names)?;
    objects::required(kind, None, text.clone())?;
    let client = Client::new(&args.common.socket);
    let Typed { mut names, unknown } = objects::chosen(&client, kind, (text, &[])).await?;
    names.extend(unknown);
    let [from] = &names[..] else {
        return Err(Usage(format!("-n is for one object, these are {}", names.len())).into());
    };
    let request = RenameRequest { kind, from: from.clone(), to: name.to_owned() };
    let outcome: Outcome = client.post("/api/v1/objects/rename", &request).await?;
    if args.common.json {
        return objects::show_json(&[outcome], console);
    }
    match &outcome.result {
        Ok(_) => {
            console.line(&format!("Changed the object name from {from} to {name}."))?;
            Ok(Exit::Done)
        }
        Err(error) => {
            console.error(&objects::refusal(from, error))?;
            Ok(Exit::Failed)
        }
    }
}

async fn run(
    args: &Define,
    (action, template): (ChangeAction, Option<&str>),
    console: &mut Console,
) -> anyhow::Result<Exit> {
    if args.stanza {
        return from_stanzas(args, action, console).await;
    }
    let kind = words::one_type(args.names.kind.as_deref())?;
    let words = words::split(&args.words, plain_action(args))?;
    let text = words::one_of(args.names.objects.as_ref(), words.names)?;
    let selecting = if args.dynamic { &[][..] } else { &args.conditions };
    if selecting.is_empty() {
        objects::required(kind, None, text.clone())?;
    }
    let client = Client::new(&args.common.socket);
    let mut attributes = words.attributes;
    attributes.extend(dynamic(args, kind)?);
    if let Some(template) = template {
        attributes.extend(templates::attributes(&client, (kind, template), &attributes).await?);
    }
    if attributes.is_empty() {
        let reason = "No object definitions have been created or modified: no attributes were specified.";
        return Err(Usage(reason.to_owned()).into());
    }
    let Typed { mut names, unknown } = objects::chosen(&client, kind, (text, selecting)).await?;
    if let Some(name) = unknown.first().filter(|_| !selecting.is_empty()) {
        return Err(Usage(objects::no_such(name, kind)).into());
    }
    names.extend(unknown);
    if names.is_empty() {
        console.note("No object fits the conditions; nothing was changed.\n")?;
        return Ok(Exit::Done);
    }
    let request = ChangeRequest { action, kind, names, attributes };
    let outcomes: Vec<Outcome> = client.post("/api/v1/objects", &request).await?;
    if args.common.json {
        return objects::show_json(&outcomes, console);
    }
    shown(&outcomes, action, args.common.verbose, console)
}

/// What makes a group dynamic.
fn dynamic(args: &Define, kind: ObjectType) -> Result<Vec<AttributeChange>, Usage> {
    if !args.dynamic {
        return Ok(Vec::new());
    }
    if kind != ObjectType::Group {
        return Err(Usage("only groups can be dynamic: -t group".to_owned()));
    }
    let change = |name: &str, value, action| AttributeChange { name: name.to_owned(), value, action };
    Ok(vec![
        change("grouptype", "dynamic".to_owned(), AttributeAction::Set),
        change("wherevals", args.conditions.join("::"), plain_action(args)),
    ])
}

/// Everything in a file is one transaction.
async fn from_stanzas(args: &Define, action: ChangeAction, console: &mut Console) -> anyhow::Result<Exit> {
    let kind = args.names.kind.as_deref().map(|word| words::one_type(Some(word))).transpose()?;
    let text =
        std::io::read_to_string(std::io::stdin()).context("reading the stanza file from standard input")?;
    let stanzas = Stanzas::read(&text, (action, kind))?;
    if stanzas.requests.is_empty() {
        return Err(Usage("there is no object in the stanza file".to_owned()).into());
    }
    let client = Client::new(&args.common.socket);
    let outcomes: Vec<Outcome> = client.post("/api/v1/objects/batch", &stanzas.requests).await?;
    for left_out in &stanzas.left_out {
        console.note(&format!("Warning: left out {left_out}\n"))?;
    }
    if !stanzas.unknown.is_empty() {
        let names: Vec<&str> = stanzas.unknown.iter().map(String::as_str).collect();
        console.note(&format!("Warning: kept, but not used by anything here: {}\n", names.join(", ")))?;
    }
    if args.common.json {
        return objects::show_json(&outcomes, console);
    }
    shown(&outcomes, action, args.common.verbose, console)
}

fn plain_action(args: &Define) -> AttributeAction {
    match (args.plus, args.minus) {
        (true, _) => AttributeAction::Append,
        (false, true) => AttributeAction::Subtract,
        (false, false) => AttributeAction::Set,
    }
}

fn shown(
    outcomes: &[Outcome],
    action: ChangeAction,
    verbose: bool,
    console: &mut Console,
) -> anyhow::Result<Exit> {
    let done: Vec<&str> =
        outcomes.iter().filter(|outcome| outcome.result.is_ok()).map(|o| o.name.as_str()).collect();
    for (name, error) in outcomes.iter().filter_map(|o| Some((&o.name, o.result.as_ref().err()?))) {
        console.error(&objects::refusal(name, error))?;
    }
    if verbose && !done.is_empty() {
        console.line("The database was updated for the following objects:")?;
        console.line(&done.join("\n"))?;
    }
    if !done.is_empty() {
        console.line(&format!("{} object definitions have been created or modified.", done.len()))?;
    }
    let created = |outcome: &&Outcome| outcome.result.as_deref() == Ok(CREATED);
    let made: Vec<&str> = outcomes.iter().filter(created).map(|outcome| outcome.name.as_str()).collect();
    if action == ChangeAction::Change && !made.is_empty() {
        console.line(&format!("New object definitions '{}' have been created.", made.join(",")))?;
    }
    let failed = done.len() < outcomes.len();
    if failed {
        console.error(
            "One or more errors occured when attempting to create or modify xCAT object definitions.",
        )?;
    }
    Ok(Exit::failed_if(failed))
}
