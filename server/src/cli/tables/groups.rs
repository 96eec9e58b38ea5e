//! nodegrpch.

use clap::Args;

use super::change::{of_node, send};
use crate::cli::args::Common;
use crate::cli::client::Client;
use crate::cli::console::{Console, Exit};
use crate::cli::targets;
use crate::wire::{AttributeAction, AttributeChange, ChangeAction, ChangeRequest, ObjectType, RangeReply};

#[derive(Debug, Args)]
pub(in crate::cli) struct Nodegrpch {
    /// Groups, separated by commas
    groups: String,
    /// table.column=value, or an attribute; ,= adds to a list, ^= takes away from it
    #[arg(required = true, value_name = "COLUMN=VALUE")]
    values: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Sets what groups give to their nodes. What a node has itself in its place is unset, so that the group's holds.
pub(in crate::cli) async fn nodegrpch(args: &Nodegrpch, console: &mut Console) -> anyhow::Result<Exit> {
    let attributes = args.values.iter().map(|text| of_node(text)).collect::<Result<Vec<_>, _>>()?;
    let client = Client::new(&args.common.socket);
    let groups: Vec<String> = args.groups.split(',').map(|name| name.trim().to_owned()).collect();
    let RangeReply { nodes, unknown } = targets::evaluate_with_hidden(&client, &args.groups).await?;
    if !unknown.is_empty() {
        console.error(&format!("Invalid nodes and/or groups in noderange: {}", unknown.join(",")))?;
        return Ok(Exit::Failed);
    }
    let unset = |change: &AttributeChange| AttributeChange {
        name: change.name.clone(),
        value: String::new(),
        action: AttributeAction::Set,
    };
    let own = attributes.iter().map(unset).collect();
    let action = ChangeAction::Change;
    let requests = [
        ChangeRequest { action, kind: ObjectType::Group, names: groups, attributes },
        ChangeRequest { action, kind: ObjectType::Node, names: nodes, attributes: own },
    ];
    send(&client, &requests, (&args.common, console)).await
}

pub(in crate::cli) const NODEGRPCH_EXAMPLES: &str = "\
Examples:
  nodegrpch rack1 nodehm.mgt=ipmi       for all nodes of rack1, whatever they had of their own
  nodegrpch rack1,rack2 postscripts,=setup";
