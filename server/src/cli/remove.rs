//! rmdef.

use super::args::Rmdef;
use super::client::Client;
use super::console::{Console, Exit, Usage};
use super::objects::{self, Typed, no_such};
use super::words;
use crate::wire::{AttributeAction, ChangeAction, ChangeRequest, Outcome};

/// Removes definitions.
pub(super) async fn run(args: &Rmdef, console: &mut Console) -> anyhow::Result<Exit> {
    let kind = words::one_type(args.names.kind.as_deref())?;
    let words = words::split(&args.words, AttributeAction::Set)?;
    if let Some(change) = words.attributes.first() {
        let reason = format!("rmdef takes no attributes; '{}' is one.", change.name);
        return Err(Usage(reason).into());
    }
    let text = words::one_of(args.names.objects.as_ref(), words.names)?;
    let client = Client::new(&args.common.socket);
    let Typed { names, unknown } = objects::chosen(&client, kind, (text, &args.conditions)).await?;
    let mut outcomes: Vec<Outcome> = if names.is_empty() {
        Vec::new()
    } else {
        let request = ChangeRequest { action: ChangeAction::Remove, kind, names, attributes: Vec::new() };
        client.post("/api/v1/objects", &request).await?
    };
    outcomes.extend(unknown.into_iter().map(|name| {
        let result = Err(no_such(&name, kind));
        Outcome { name, result }
    }));
    if args.common.json {
        return objects::show_json(&outcomes, console);
    }
    shown(&outcomes, args.common.verbose, console)
}

fn shown(outcomes: &[Outcome], verbose: bool, console: &mut Console) -> anyhow::Result<Exit> {
    for (name, error) in outcomes.iter().filter_map(|o| Some((&o.name, o.result.as_ref().err()?))) {
        console.error(&objects::refusal(name, error))?;
    }
    let removed: Vec<&str> =
        outcomes.iter().filter(|outcome| outcome.result.is_ok()).map(|o| o.name.as_str()).collect();
    if removed.is_empty() {
        console.line("No objects have been removed from the xCAT database.")?;
    } else {
        if verbose {
            console.line("The following objects were removed:")?;
            console.line(&removed.join("\n"))?;
        }
        console.line(&format!("{} object definitions have been removed.", removed.len()))?;
    }
    Ok(Exit::failed_if(removed.len() < outcomes.len()))
}
