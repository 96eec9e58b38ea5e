//! Verbs that change.

use clap::Args;

use super::nodels::told_apart;
use super::show::pairs;
use super::view::{Origin, no_column, origin};
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
pub(in crate::cli) struct Nodeadd {
    /// Nodes
    noderange: String,
    /// table.column=value, or an attribute
    #[arg(required = true, value_name = "COLUMN=VALUE")]
    values: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Nodech {
    /// Unset all that the nodes have in the tables named
    #[arg(short, long)]
    delete: bool,
    /// Nodes
    noderange: String,
    /// table.column=value, or an attribute; ,= adds to a list, ^= takes away from it. Comparisons choose among the
    /// nodes: attr==value, attr!=value, attr=~regex, attr!~regex
    #[arg(required = true, value_name = "COLUMN=VALUE|TABLE")]
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
pub(in crate::cli) async fn nodeadd(args: &Nodeadd, console: &mut Console) -> anyhow::Result<Exit> {
    let attributes = args.values.iter().map(|text| of_node(text)).collect::<Result<Vec<_>, _>>()?;
    if attributes.iter().all(|change| change.name != "groups") {
        return Err(Usage("nodeadd needs groups=…".to_owned()).into());
    }
    let client = Client::new(&args.common.socket);
    let RangeReply { mut nodes, unknown } = targets::evaluate_with_hidden(&client, &args.noderange).await?;
    nodes.extend(unknown);
    let request =
        ChangeRequest { action: ChangeAction::Create, kind: ObjectType::Node, names: nodes, attributes };
    send(&client, &[request], (&args.common, console)).await
}

/// Changes nodes that there are.
pub(in crate::cli) async fn nodech(args: &Nodech, console: &mut Console) -> anyhow::Result<Exit> {
    let (conditions, values) = told_apart(&args.values)?;
    let mut attributes = Vec::new();
    for text in values {
        if args.delete {
            attributes.extend(whole_table(text)?);
        } else {
            attributes.push(of_node(text)?);
        }
    }
    let client = Client::new(&args.common.socket);
    let (mut names, missed) = existing(&client, &args.noderange, console).await?;
    if !conditions.is_empty() {
        let mut nodes = objects::named(&client, ObjectType::Node, &names).await?;
        nodes.retain(|node| objects::fits(&conditions, node));
        names = nodes.into_iter().map(|node| node.name).collect();
    }
    let request = ChangeRequest { action: ChangeAction::Change, kind: ObjectType::Node, names, attributes };
    let exit = send(&client, &[request], (&args.common, console)).await?;
    Ok(if missed && exit == Exit::Done { Exit::Failed } else { exit })
}

/// Removes nodes.
pub(in crate::cli) async fn noderm(args: &Noderm, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let (names, missed) = existing(&client, &args.noderange, console).await?;
    let (action, kind) = (ChangeAction::Remove, ObjectType::Node);
    let request = ChangeRequest { action, kind, names, attributes: Vec::new() };
    let exit = send(&client, &[request], (&args.common, console)).await?;
    Ok(if missed && exit == Exit::Done { Exit::Failed } else { exit })
}

/// The nodes of a range that there are, hidden ones too, after saying which names nobody has.
async fn existing(
    client: &Client,
    range: &str,
    console: &mut Console,
) -> anyhow::Result<(Vec<String>, bool)> {
    let RangeReply { nodes, unknown } = targets::evaluate_with_hidden(client, range).await?;
    if !unknown.is_empty() {
        console.error(&format!("Invalid nodes and/or groups in noderange: {}", unknown.join(",")))?;
    }
    Ok((nodes, !unknown.is_empty()))
}

/// Unsets every column of a table of nodes.
fn whole_table(name: &str) -> Result<Vec<AttributeChange>, Usage> {
    let table = schema::table(name).filter(|table| table.kind == ObjectType::Node);
    let table = table.ok_or_else(|| Usage(format!("'{name}' is not a table of nodes")))?;
    let unset = |column: &schema::Column| AttributeChange {
        name: column.attribute.clone(),
        value: String::new(),
        action: AttributeAction::Set,
    };
    Ok(table.columns.iter().map(unset).collect())
}

/// Says nothing when all went well, as xCAT does.
pub(super) async fn send(
    client: &Client,
    requests: &[ChangeRequest],
    (common, console): (&Common, &mut Console),
) -> anyhow::Result<Exit> {
    let outcomes: Vec<Outcome> = client.post("/api/v1/objects/batch", &requests).await?;
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

/// Reads `column=value`, `column,=value` or `column^=value` of a node. A value after `=@` may itself begin with `=`.
pub(super) fn of_node(text: &str) -> Result<AttributeChange, Usage> {
    let (name, value) = text.split_once('=').ok_or_else(|| Usage(format!("'{text}' is not column=value")))?;
    let (name, action) = match (name.strip_suffix([',', '+']), name.strip_suffix(['^', '-'])) {
        (Some(name), _) => (name, AttributeAction::Prepend),
        (None, Some(name)) => (name, AttributeAction::Subtract),
        (None, None) => (name, AttributeAction::Set),
    };
    let value = value.strip_prefix('@').filter(|value| value.starts_with('=')).unwrap_or(value);
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
        let (place, action) = match (place.strip_suffix('+'), place.strip_suffix('-')) {
            (Some(place), _) => (place, AttributeAction::Append),
            (None, Some(place)) => (place, AttributeAction::Subtract),
            (None, None) => (place, AttributeAction::Set),
        };
        let (table, column) = match place.split_once('.') {
            Some((table, column)) => (table, Some(column)),
            None if args.delete => (place, None),
            None => return Err(Usage(format!("'{text}' is not table.column=value")).into()),
        };
        let value = if args.delete { "" } else { value };
        requests.push(request(table, (key, object), column, (value, action))?);
    }
    send(&client, &requests, (&args.common, console)).await
}

/// What a row of a table is, as a change of its object; without a column, all of the row.
fn request(
    table: &str,
    (key, object): (&str, &str),
    column: Option<&str>,
    (value, action): (&str, AttributeAction),
) -> Result<ChangeRequest, Usage> {
    let no_column = |name: &str| no_column(table, name);
    let set = |name: String| AttributeChange { name, value: value.to_owned(), action };
    let (kind, name, attributes) = match origin(table)? {
        Origin::Site if key != "key" => return Err(no_column(key)),
        Origin::Site => match column {
            Some("value") => (ObjectType::Site, SITE, vec![set(object.to_owned())]),
            Some(more @ ("comments" | "disable")) => {
                (ObjectType::Site, SITE, vec![set(format!("{object}.{more}"))])
            }
            None => {
                let names = [object.to_owned(), format!("{object}.comments"), format!("{object}.disable")];
                (ObjectType::Site, SITE, names.map(set).to_vec())
            }
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
  nodech n1 groups^=spare               takes away from it
  nodech all mgt==hmc nodetype.arch=ppc64le   only nodes that fit
  nodech -d n1 ipmi                     unsets all that n1 has in this table";

pub(in crate::cli) const NODERM_EXAMPLES: &str = "\
Examples:
  noderm n1-n4";

pub(in crate::cli) const CHTAB_EXAMPLES: &str = "\
Examples:
  chtab key=domain site.value=cluster.example
  chtab node=n1 nodehm.mgt=ipmi ipmi.bmc=n1-bmc
  chtab -d node=n1 ipmi                 unsets all that n1 has in this table";
