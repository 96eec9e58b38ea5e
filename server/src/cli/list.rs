//! lsdef.

use super::args::Lsdef;
use super::client::Client;
use super::console::{Console, Exit, Usage};
use super::objects::{self, Object, Typed, no_such};
use super::render::{Form, render};
use super::{templates, words};
use crate::noderange::Select;
use crate::wire::{AttributeAction, ObjectType};

/// Lists definitions.
pub(super) async fn run(args: &Lsdef, console: &mut Console) -> anyhow::Result<Exit> {
    if let Some(template) = &args.template {
        return templates::show(template, &args.common, console);
    }
    let asked = Asked::read(args)?;
    let client = Client::new(&args.common.socket).with_secrets(args.secrets).with_own(args.stanza);
    let (mut found, missing) = match &asked.names {
        None => (every(&client, &asked.kinds).await?, Vec::new()),
        Some(names) => these(&client, &asked.kinds, names).await?,
    };
    for text in &missing {
        console.error(text)?;
    }
    found.retain(|object| objects::fits(&asked.conditions, object));
    let exit = Exit::failed_if(!missing.is_empty());
    if args.common.json {
        return console.json(&narrowed(found, &asked.wanted)).map(|()| exit);
    }
    if found.is_empty() && missing.is_empty() {
        console.note("Could not find any object definitions to display.\n")?;
        return Ok(exit);
    }
    console.data(&render(&found, &asked.form, &asked.wanted))?;
    Ok(exit)
}

/// What the arguments mean.
struct Asked {
    kinds: Vec<ObjectType>,
    names: Option<String>,
    wanted: Vec<String>,
    conditions: Vec<Select>,
    form: Form,
}

impl Asked {
    fn read(args: &Lsdef) -> Result<Self, Usage> {
        let words = words::split(&args.words, AttributeAction::Set)?;
        if let Some(change) = words.attributes.first() {
            return Err(Usage(format!("lsdef takes no attr=val; '{}' is one. See -i and -w.", change.name)));
        }
        let names = words::one_of(args.names.objects.as_ref(), words.names)?;
        let kinds =
            if args.all { ObjectType::ALL.to_vec() } else { words::types(args.names.kind.as_deref())? };
        let wanted = args.attributes.as_deref().unwrap_or_default();
        let wanted: Vec<String> =
            wanted.split(',').map(str::trim).filter(|a| !a.is_empty()).map(str::to_owned).collect();
        let conditions = objects::conditions(&args.conditions)?;
        let form = Self::form(args, names.is_some(), kinds.len() > 1);
        Ok(Self { kinds, names, wanted, conditions, form })
    }

    /// Named objects, and what is asked for by attribute, are shown whole; otherwise names are listed.
    fn form(args: &Lsdef, named: bool, types: bool) -> Form {
        let long = !args.short && (args.long || named || args.attributes.is_some());
        match (args.stanza, args.compress, long) {
            (true, _, _) => Form::Stanza { names_only: args.short },
            (false, true, _) => Form::Compressed,
            (false, false, true) => Form::Long { types },
            (false, false, false) => Form::Names { loose: args.all },
        }
    }
}

async fn every(client: &Client, kinds: &[ObjectType]) -> anyhow::Result<Vec<Object>> {
    let mut found = Vec::new();
    for kind in kinds {
        found.extend(objects::all(client, *kind).await?);
    }
    Ok(found)
}

/// The named objects of each type, and a text for each name that is missing.
async fn these(
    client: &Client,
    kinds: &[ObjectType],
    text: &str,
) -> anyhow::Result<(Vec<Object>, Vec<String>)> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for kind in kinds {
        let Typed { names, unknown } = objects::typed(client, *kind, text).await?;
        let objects = objects::named(client, *kind, &names).await?;
        let absent = |name: &&String| !objects.iter().any(|object| object.name == **name);
        missing.extend(names.iter().filter(absent).chain(&unknown).map(|name| no_such(name, *kind)));
        found.extend(objects);
    }
    Ok((found, missing))
}

fn narrowed(mut objects: Vec<Object>, wanted: &[String]) -> Vec<Object> {
    if !wanted.is_empty() {
        for object in &mut objects {
            object.attributes.retain(|attribute, _| wanted.contains(attribute));
        }
    }
    objects
}
