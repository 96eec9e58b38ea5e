//! rnetboot: boots nodes from the network, which is what starts an installation on POWER.

use clap::Args;

use super::args::Common;
use super::client::Client;
use super::console::{Console, Exit};
use super::power::{Bounds, View, follow, followed};
use super::targets;
use crate::wire::power::NetbootRequest;

#[derive(Debug, Args)]
pub(super) struct Rnetboot {
    /// Nodes
    noderange: String,
    /// Also nodes for which nodeset has set nothing: they go on to their own disk
    #[arg(short = 'F')]
    force: bool,
    #[command(flatten)]
    bounds: Bounds,
    #[command(flatten)]
    common: Common,
}

/// Boots nodes from the network. One whose BMC fails fails alone.
pub(super) async fn run(args: &Rnetboot, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let (nodes, missed) = targets::known(&client, &args.noderange, console).await?;
    if nodes.is_empty() {
        return Ok(Exit::Failed);
    }
    let total = nodes.len();
    let request = NetbootRequest { nodes, force: args.force, limits: args.bounds.limits() };
    let hidden: &[&str] = if args.common.verbose { &[] } else { &["rsetboot"] };
    let view = View { json: args.common.json, quiet: false, hidden, success: Some("Success") };
    let exit = followed(follow(&client, ("/api/v1/rnetboot", &request, total), view, console)).await?;
    Ok(if missed && exit == Exit::Done { Exit::Failed } else { exit })
}

pub(super) const EXAMPLES: &str = "\
Examples:
  nodeset rack1 osimage=demo && rnetboot rack1   install them
  rnetboot n1 -F                                 although nothing is set: it goes on to its disk
The boot order is set for the next boot only, then the node is reset, or switched on.";
