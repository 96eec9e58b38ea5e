//! Verbs that only show.

use clap::Args;
use serde_json::{Value, json};

use super::condition::Where;
use super::view::{Origin, View, names, no_column, origin};
use crate::cli::args::Common;
use crate::cli::client::Client;
use crate::cli::console::{Console, Exit, Usage};
use crate::cli::targets;
use crate::define::schema;
use crate::wire::ObjectType;

#[derive(Debug, Args)]
pub(in crate::cli) struct Tabdump {
    /// Describe the tables, or the columns of one
    #[arg(short)]
    describe: bool,
    /// Only rows for which this holds: column==value, !=, <, <=, >, >=; =~ and !~ compare as SQL's LIKE does, where %
    /// stands for any text
    #[arg(short = 'w', value_name = "CONDITION", conflicts_with = "describe")]
    conditions: Vec<String>,
    /// The table; without one, the names of all are listed
    table: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Gettab {
    /// Show table and column with every value
    #[arg(short = 'H', long)]
    with_fieldname: bool,
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

/// A whole table.
pub(in crate::cli) async fn tabdump(args: &Tabdump, console: &mut Console) -> anyhow::Result<Exit> {
    if args.describe {
        return described(args.table.as_deref(), console);
    }
    let Some(name) = &args.table else {
        for name in names() {
            console.line(name)?;
        }
        return Ok(Exit::Done);
    };
    let conditions = args.conditions.iter().map(|text| text.parse()).collect::<Result<Vec<Where>, _>>()?;
    let mut view = View::read(&Client::new(&args.common.socket), name).await?;
    for condition in &conditions {
        if !view.columns.contains(&condition.column.as_str()) {
            return Err(no_column(view.name, &condition.column).into());
        }
    }
    view.rows.retain(|row| {
        conditions
            .iter()
            .all(|condition| condition.holds(row.get(condition.column.as_str()).map_or("", String::as_str)))
    });
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

/// What the tables, or one table's columns, stand for.
fn described(table: Option<&str>, console: &mut Console) -> anyhow::Result<Exit> {
    let of = |kind: ObjectType| format!("attributes of objects of type {}", kind.word());
    let Some(name) = table else {
        for name in names() {
            let text = schema::table(name).map_or("settings of the whole site".to_owned(), |t| of(t.kind));
            console.line(&format!("{name}:\t{text}"))?;
        }
        return Ok(Exit::Done);
    };
    match origin(name)? {
        Origin::Site => {
            for (column, text) in [("key", "name of a setting"), ("value", "its value")] {
                console.line(&format!("{column}:\t{text}"))?;
            }
        }
        Origin::Objects(table) => {
            console.line(&format!("{}:\tname of the {}", table.key, table.kind.word()))?;
            for column in &table.columns {
                console.line(&format!("{}:\tattribute {}", column.name, column.attribute))?;
            }
        }
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
                return Err(no_column(view.name, name).into());
            }
        }
        for row in view.rows_where(&wanted) {
            let value = row.get(column).map(String::as_str).unwrap_or_default();
            if args.common.json {
                found.push(json!({ "table": table, "column": column, "value": value }));
            } else if args.columns.len() == 1 && !args.with_fieldname {
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
    if targets::known(&client, &args.node, console).await?.1 {
        return Ok(Exit::Failed);
    }
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

pub(in crate::cli) const TABDUMP_EXAMPLES: &str = "\
Examples:
  tabdump                               names of the tables
  tabdump nodelist
  tabdump -w 'groups=~all%' nodelist
  tabdump -d nodehm                     what its columns stand for";

pub(in crate::cli) const GETTAB_EXAMPLES: &str = "\
Examples:
  gettab key=domain site.value
  gettab node=n1 nodehm.mgt mac.mac";

pub(in crate::cli) const TABGREP_EXAMPLES: &str = "\
Examples:
  tabgrep n1";
