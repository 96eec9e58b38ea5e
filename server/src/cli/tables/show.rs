//! Verbs that only show.

use clap::Args;
use serde_json::{Value, json};

use super::view::{View, names};
use crate::cli::args::Common;
use crate::cli::client::Client;
use crate::cli::console::{Console, Exit, Usage};
use crate::cli::{objects, targets};
use crate::define::schema::{self, Resolved};
use crate::wire::ObjectType;

#[derive(Debug, Args)]
pub(in crate::cli) struct Nodels {
    /// Nodes; all when none is named
    noderange: Option<String>,
    /// Attributes or table.column
    attributes: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Tabdump {
    /// The table; without one, the names of all are listed
    table: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Gettab {
    /// column=value of the rows, separated by commas
    #[arg(value_name = "COLUMN=VALUE")]
    rows: String,
    /// What is wanted of them
    #[arg(required = true, value_name = "TABLE.COLUMN")]
    columns: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Tabgrep {
    /// The node
    node: String,
    #[command(flatten)]
    common: Common,
}

/// Nodes, or what they have.
pub(in crate::cli) async fn nodels(args: &Nodels, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    for attribute in &args.attributes {
        if schema::resolve(ObjectType::Node, attribute).is_none() {
            let text = format!("'{attribute}' is not a valid attribute name for an object type of 'node'.");
            return Err(Usage(text).into());
        }
    }
    let (nodes, missed) = match &args.noderange {
        Some(range) => {
            let (names, missed) = targets::known(&client, range, console).await?;
            (objects::named(&client, ObjectType::Node, &names).await?, missed)
        }
        None => (objects::all(&client, ObjectType::Node).await?, false),
    };
    if args.common.json {
        console.json(&nodes)?;
        return Ok(Exit::failed_if(missed));
    }
    for node in &nodes {
        let value =
            |name: &str| schema::value(ObjectType::Node, name, (&node.name, &node.attributes)).unwrap_or("");
        match &args.attributes[..] {
            [] => console.line(&node.name)?,
            [one] => console.line(&format!("{}: {}", node.name, value(one)))?,
            several => {
                for name in several {
                    console.line(&format!("{}: {}: {}", node.name, in_table(name), value(name)))?;
                }
            }
        }
    }
    Ok(Exit::failed_if(missed))
}

/// `table.column` of an attribute of nodes.
fn in_table(name: &str) -> String {
    let Some(Resolved::Attribute(attribute)) = schema::resolve(ObjectType::Node, name) else {
        return name.to_owned();
    };
    let tables = schema::tables().iter().filter(|table| table.kind == ObjectType::Node);
    let mut found = tables.flat_map(|table| {
        let columns = table.columns.iter().filter(|column| column.attribute == attribute);
        columns.map(move |column| format!("{}.{}", table.name, column.name))
    });
    found.next().filter(|_| !name.contains('.')).unwrap_or_else(|| name.to_owned())
}

/// A whole table.
pub(in crate::cli) async fn tabdump(args: &Tabdump, console: &mut Console) -> anyhow::Result<Exit> {
    let Some(name) = &args.table else {
        for name in names() {
            console.line(name)?;
        }
        return Ok(Exit::Done);
    };
    let view = View::read(&Client::new(&args.common.socket), name).await?;
    if args.common.json {
        console.json(&view.rows)?;
        return Ok(Exit::Done);
    }
    console.line(&view.header())?;
    for row in &view.rows {
        console.line(&view.line(row))?;
    }
    Ok(Exit::Done)
}

/// Columns of the rows that a condition chooses.
pub(in crate::cli) async fn gettab(args: &Gettab, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let wanted = pairs(&args.rows)?;
    let mut found: Vec<Value> = Vec::new();
    for asked in &args.columns {
        let (table, column) =
            asked.split_once('.').ok_or_else(|| Usage(format!("'{asked}' is not table.column")))?;
        let view = View::read(&client, table).await?;
        for name in wanted.iter().map(|(name, _)| name.as_str()).chain([column]) {
            if !view.columns.contains(&name) {
                return Err(Usage(format!("the table {} has no column '{name}'", view.name)).into());
            }
        }
        for row in view.rows_where(&wanted) {
            let value = row.get(column).map(String::as_str).unwrap_or_default();
            if args.common.json {
                found.push(json!({ "table": table, "column": column, "value": value }));
            } else if args.columns.len() == 1 {
                console.line(value)?;
            } else {
                console.line(&format!("{asked}: {value}"))?;
            }
        }
    }
    if args.common.json {
        console.json(&found)?;
    }
    Ok(Exit::Done)
}

/// Reads `a=b,c=d`.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, Usage> {
    let pair = |part: &str| {
        let (name, value) =
            part.split_once('=').ok_or_else(|| Usage(format!("'{part}' is not column=value")))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    text.split(',').map(pair).collect()
}

/// The rows of a node in all tables.
pub(in crate::cli) async fn tabgrep(args: &Tabgrep, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let mut rows: Vec<Value> = Vec::new();
    for table in schema::tables().iter().filter(|table| table.kind == ObjectType::Node) {
        let view = View::read(&client, table.name).await?;
        let wanted = [(table.key.to_owned(), args.node.clone())];
        for row in view.rows_where(&wanted) {
            if args.common.json {
                rows.push(json!({ "table": view.name, "row": row }));
            } else {
                console.line(&format!("{}: {}", view.name, view.line(row)))?;
            }
        }
    }
    if args.common.json {
        console.json(&rows)?;
    }
    Ok(Exit::Done)
}

pub(in crate::cli) const NODELS_EXAMPLES: &str = "\
Examples:
  nodels rack1
  nodels n1-n4 groups
  nodels all nodehm.mgt nodetype.arch";

pub(in crate::cli) const TABDUMP_EXAMPLES: &str = "\
Examples:
  tabdump                               names of the tables
  tabdump nodelist";

pub(in crate::cli) const GETTAB_EXAMPLES: &str = "\
Examples:
  gettab key=domain site.value
  gettab node=n1 nodehm.mgt mac.mac";

pub(in crate::cli) const TABGREP_EXAMPLES: &str = "\
Examples:
  tabgrep n1";
