//! nodels.

use clap::Args;

use crate::cli::args::Common;
use crate::cli::client::Client;
use crate::cli::console::{Console, Exit, Usage};
use crate::cli::objects::{self, Object, Typed};
use crate::cli::targets;
use crate::define::schema::{self, Resolved};
use crate::noderange::Select;
use crate::wire::ObjectType;

#[derive(Debug, Args)]
pub(in crate::cli) struct Nodels {
    /// Say of values that a node has from its groups that they are inherited
    #[arg(short, long)]
    blame: bool,
    /// Show table and column with every value
    #[arg(short = 'H', long)]
    with_fieldname: bool,
    /// Show nodes that the site's excludenodes hides, too
    #[arg(short = 'S')]
    hidden: bool,
    /// Nodes; all when none is named
    noderange: Option<String>,
    /// Attributes, table.column or whole tables; and comparisons that nodes must fit: attr==value, attr!=value,
    /// attr=~regex, attr!~regex
    attributes: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// What is asked of each node.
struct Wanted {
    /// How it was typed, or `table.column` of a whole table.
    name: String,
    /// Whether rows without a value are left out, as those of whole tables are.
    if_set: bool,
}

/// Nodes, or what they have.
pub(in crate::cli) async fn nodels(args: &Nodels, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let (conditions, names) = told_apart(&args.attributes)?;
    let mut wanted = Vec::new();
    for name in names {
        wanted.extend(columns(name)?);
    }
    let (mut nodes, missed) = match &args.noderange {
        Some(range) if args.hidden => {
            let Typed { names, unknown } = objects::typed(&client, ObjectType::Node, range).await?;
            for name in &unknown {
                console.error(&format!("Invalid nodes and/or groups in noderange: {name}"))?;
            }
            (objects::named(&client, ObjectType::Node, &names).await?, !unknown.is_empty())
        }
        Some(range) => {
            let (names, missed) = targets::known(&client, range, console).await?;
            (objects::named(&client, ObjectType::Node, &names).await?, missed)
        }
        None => (objects::all(&client, ObjectType::Node).await?, false),
    };
    nodes.retain(|node| objects::fits(&conditions, node));
    if args.common.json {
        console.json(&nodes)?;
        return Ok(Exit::failed_if(missed));
    }
    let own = if args.blame {
        objects::all(&client.clone().with_own(true), ObjectType::Node).await?
    } else {
        Vec::new()
    };
    for node in &nodes {
        let own = own.iter().find(|own| own.name == node.name);
        show(args, node, (&wanted, own), console)?;
    }
    Ok(Exit::failed_if(missed))
}

fn show(
    args: &Nodels,
    node: &Object,
    (wanted, own): (&[Wanted], Option<&Object>),
    console: &mut Console,
) -> anyhow::Result<()> {
    if wanted.is_empty() {
        return console.line(&node.name);
    }
    let of = |object: &Object, name: &str| {
        schema::value(ObjectType::Node, name, (&object.name, &object.attributes)).map(str::to_owned)
    };
    let in_full = args.with_fieldname || wanted.len() > 1 || wanted[0].if_set;
    for Wanted { name, if_set } in wanted {
        let value = of(node, name);
        if *if_set && value.is_none() {
            continue;
        }
        let field = if in_full { format!("{}: ", in_table(name)) } else { String::new() };
        let inherited = value.is_some() && own.is_some_and(|own| of(own, name).is_none());
        let origin = if inherited { " (inherited from a group)" } else { "" };
        console.line(&format!("{}: {field}{}{origin}", node.name, value.unwrap_or_default()))?;
    }
    Ok(())
}

/// Comparisons, and the names of what is asked for.
pub(super) fn told_apart(words: &[String]) -> Result<(Vec<Select>, Vec<&String>), Usage> {
    let is_condition =
        |word: &&String| ["==", "!=", "=~", "!~"].iter().any(|operator| word.contains(operator));
    let (conditions, others): (Vec<&String>, Vec<&String>) = words.iter().partition(is_condition);
    let conditions: Vec<String> = conditions.into_iter().cloned().collect();
    Ok((objects::conditions(&conditions)?, others))
}

/// One column, or all of a table.
fn columns(name: &str) -> Result<Vec<Wanted>, Usage> {
    if schema::resolve(ObjectType::Node, name).is_some() {
        return Ok(vec![Wanted { name: name.to_owned(), if_set: false }]);
    }
    let table = schema::table(name).filter(|table| table.kind == ObjectType::Node).ok_or_else(|| {
        Usage(format!("'{name}' is not a valid attribute name for an object type of 'node'."))
    })?;
    let column = |column: &schema::Column| Wanted { name: format!("{name}.{}", column.name), if_set: true };
    Ok(table.columns.iter().map(column).collect())
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

pub(in crate::cli) const NODELS_EXAMPLES: &str = "\
Examples:
  nodels rack1
  nodels n1-n4 groups
  nodels all nodehm.mgt nodetype.arch
  nodels all groups mgt==ipmi           only of nodes that fit
  nodels n1 nodehm                      all that n1 has in this table";
