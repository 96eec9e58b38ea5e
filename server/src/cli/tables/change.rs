//! Verbs that change.

use clap::Args;

use super::show::pairs;
use super::view::{Origin, origin};
use crate::cli::args::Common;
use crate::cli::client::Client;
use crate::cli::console::{Console, Exit, Usage};
use crate::cli::{objects, targets};
use crate::define::schema::{self, Resolved};
use crate::wire::{
    AttributeAction, AttributeChange, ChangeAction, ChangeRequest, ObjectType, Outcome, RangeReply,
};

/// The site's one object.
const SITE: &str = "clustersite";

#[derive(Debug, Args)]
pub(in crate::cli) struct Nodech {
    /// Nodes
    noderange: String,
    /// table.column=value, or an attribute; ,= adds to a list, ^= takes away from it
    #[arg(required = true, value_name = "COLUMN=VALUE")]
    values: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Noderm {
    /// Nodes
    noderange: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Chtab {
    /// Unset what the row has
    #[arg(short)]
    delete: bool,
    /// column=value of the row's key
    #[arg(value_name = "KEY=VALUE")]
    row: String,
    /// What is set in it; only the table with -d
    #[arg(required = true, value_name = "TABLE.COLUMN=VALUE")]
    values: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Defines nodes.
pub(in crate::cli) async fn nodeadd(args: &Nodech, console: &mut Console) -> anyhow::Result<Exit> {
    let attributes = args.values.iter().map(|text| of_node(text)).collect::<Result<Vec<_>, _>>()?;
    if attributes.iter().all(|change| change.name != "groups") {
        return Err(Usage("nodeadd needs groups=…".to_owned()).into());
    }
    on_nodes(args, (ChangeAction::Create, attributes), console).await
}

/// Changes nodes that there are.
pub(in crate::cli) async fn nodech(args: &Nodech, console: &mut Console) -> anyhow::Result<Exit> {
    let attributes = args.values.iter().map(|text| of_node(text)).collect::<Result<Vec<_>, _>>()?;
    on_nodes(args, (ChangeAction::Change, attributes), console).await
}

/// Changes the groups of nodes.
pub(in crate::cli) async fn nodegrpch(args: &Nodech, console: &mut Console) -> anyhow::Result<Exit> {
    let groups = |text: &String| {
        let plain = ["group", "groups"].iter().find_map(|word| text.strip_prefix(word));
        let rest = plain.filter(|rest| rest.starts_with(['=', ',', '^']));
        rest.map(|rest| format!("groups{rest}"))
            .ok_or_else(|| Usage(format!("'{text}' is not groups=, group,= or group^=")))
    };
    let texts = args.values.iter().map(groups).collect::<Result<Vec<_>, _>>()?;
    let attributes = texts.iter().map(|text| of_node(text)).collect::<Result<Vec<_>, _>>()?;
    on_nodes(args, (ChangeAction::Change, attributes), console).await
}

/// Removes nodes.
pub(in crate::cli) async fn noderm(args: &Noderm, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let RangeReply { nodes, unknown } = targets::evaluate_with_hidden(&client, &args.noderange).await?;
    let request = ChangeRequest {
        action: ChangeAction::Remove,
        kind: ObjectType::Node,
        names: nodes.into_iter().chain(unknown).collect(),
        attributes: Vec::new(),
    };
    send(&client, &request, (&args.common, console)).await
}

async fn on_nodes(
    args: &Nodech,
    (action, attributes): (ChangeAction, Vec<AttributeChange>),
    console: &mut Console,
) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let RangeReply { mut nodes, unknown } = targets::evaluate_with_hidden(&client, &args.noderange).await?;
    let mut missed = false;
    if action == ChangeAction::Create {
        nodes.extend(unknown);
    } else if !unknown.is_empty() {
        missed = true;
        console.error(&format!("Invalid nodes and/or groups in noderange: {}", unknown.join(",")))?;
    }
    let request = ChangeRequest { action, kind: ObjectType::Node, names: nodes, attributes };
    let exit = send(&client, &request, (&args.common, console)).await?;
    Ok(if missed && exit == Exit::Done { Exit::Failed } else { exit })
}

/// Says nothing when all went well, as xCAT does.
async fn send(
    client: &Client,
    request: &ChangeRequest,
    (common, console): (&Common, &mut Console),
) -> anyhow::Result<Exit> {
    let outcomes: Vec<Outcome> = client.post("/api/v1/objects", request).await?;
    if common.json {
        return objects::show_json(&outcomes, console);
    }
    let mut failed = false;
    for outcome in &outcomes {
        if let Err(error) = &outcome.result {
            failed = true;
            console.error(&objects::refusal(&outcome.name, error))?;
        }
    }
    Ok(Exit::failed_if(failed))
}

/// Reads `column=value`, `column,=value` or `column^=value` of a node.
fn of_node(text: &str) -> Result<AttributeChange, Usage> {
    let (name, value) = text.split_once('=').ok_or_else(|| Usage(format!("'{text}' is not column=value")))?;
    let (name, action) = match (name.strip_suffix([',', '+']), name.strip_suffix(['^', '-'])) {
        (Some(name), _) => (name, AttributeAction::Append),
        (None, Some(name)) => (name, AttributeAction::Subtract),
        (None, None) => (name, AttributeAction::Set),
    };
    match schema::resolve(ObjectType::Node, name) {
        Some(Resolved::Attribute(name)) => Ok(AttributeChange { name, value: value.to_owned(), action }),
        Some(Resolved::Name) => Err(Usage(format!("{name} is the node's own name"))),
        None => Err(Usage(format!("'{name}' is not a valid attribute name for an object type of 'node'."))),
    }
}

/// Changes one row.
pub(in crate::cli) async fn chtab(args: &Chtab, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let keys = pairs(&args.row)?;
    let [(key, object)] = &keys[..] else {
        return Err(Usage("chtab changes one row, named by its key column alone".to_owned()).into());
    };
    let mut requests: Vec<ChangeRequest> = Vec::new();
    for text in &args.values {
        let (place, value) = text.split_once('=').unwrap_or((text, ""));
        let (table, column) = match place.split_once('.') {
            Some((table, column)) => (table, Some(column)),
            None if args.delete => (place, None),
            None => return Err(Usage(format!("'{text}' is not table.column=value")).into()),
        };
        let value = if args.delete { "" } else { value };
        requests.push(request(table, (key, object), column, value)?);
    }
    let outcomes: Vec<Outcome> = client.post("/api/v1/objects/batch", &requests).await?;
    if args.common.json {
        return objects::show_json(&outcomes, console);
    }
    for outcome in &outcomes {
        if let Err(error) = &outcome.result {
            console.error(&objects::refusal(&outcome.name, error))?;
        }
    }
    Ok(Exit::failed_if(outcomes.iter().any(|outcome| outcome.result.is_err())))
}

/// What a row of a table is, as a change of its object; without a column, all of the row.
fn request(
    table: &str,
    (key, object): (&str, &str),
    column: Option<&str>,
    value: &str,
) -> Result<ChangeRequest, Usage> {
    let no_column = |name: &str| Usage(format!("the table {table} has no column '{name}'"));
    let set = |name: String| AttributeChange { name, value: value.to_owned(), action: AttributeAction::Set };
    let (kind, name, attributes) = match origin(table)? {
        Origin::Site if key != "key" => return Err(no_column(key)),
        Origin::Site => match column {
            Some("value") | None => (ObjectType::Site, SITE, vec![set(object.to_owned())]),
            Some(other) => return Err(no_column(other)),
        },
        Origin::Objects(table) if key != table.key => {
            return Err(Usage(format!("rows of {} are named by {}, not by {key}", table.name, table.key)));
        }
        Origin::Objects(table) => {
            let attributes = match column {
                None => table.columns.iter().map(|column| set(column.attribute.clone())).collect(),
                Some(name) => match table.column(name) {
                    Some(Resolved::Attribute(attribute)) => vec![set(attribute)],
                    Some(Resolved::Name) | None => return Err(no_column(name)),
                },
            };
            (table.kind, object, attributes)
        }
    };
    Ok(ChangeRequest { action: ChangeAction::Change, kind, names: vec![name.to_owned()], attributes })
}

pub(in crate::cli) const NODEADD_EXAMPLES: &str = "\
Examples:
  nodeadd n[1-4] groups=all,compute mac.mac=52:54:00:00:00:01";

pub(in crate::cli) const NODECH_EXAMPLES: &str = "\
Examples:
  nodech rack1 nodehm.mgt=ipmi
  nodech n1 groups,=spare               adds to a list
  nodech n1 groups^=spare               takes away from it";

pub(in crate::cli) const NODERM_EXAMPLES: &str = "\
Examples:
  noderm n1-n4";

pub(in crate::cli) const NODEGRPCH_EXAMPLES: &str = "\
Examples:
  nodegrpch n1-n4 groups=all,rack1
  nodegrpch n1 group,=spare
  nodegrpch n1 group^=spare";

pub(in crate::cli) const CHTAB_EXAMPLES: &str = "\
Examples:
  chtab key=domain site.value=cluster.example
  chtab node=n1 nodehm.mgt=ipmi ipmi.bmc=n1-bmc
  chtab -d node=n1 ipmi                 unsets all that n1 has in this table";
