//! rinstall: nodeset, boot order and power in one go.

use clap::Args;

use super::args::Common;
use super::client::Client;
use super::console::{Console, Exit, Usage};
use super::power::{Bounds, View, follow, followed};
use super::targets;
use crate::wire::power::{InstallRequest, installs};

#[derive(Debug, Args)]
pub(super) struct Rinstall {
    /// Nodes
    noderange: String,
    /// osimage, osimage=NAME, osimage=NAME@GENERATION, boot; the osimage that each node has unless given
    #[arg(default_value = "osimage")]
    state: String,
    /// Boot as UEFI does
    #[arg(short)]
    uefi: bool,
    #[command(flatten)]
    bounds: Bounds,
    #[command(flatten)]
    common: Common,
}

/// Installs nodes. One that cannot be set, or whose BMC fails, fails alone.
pub(super) async fn run(args: &Rinstall, console: &mut Console) -> anyhow::Result<Exit> {
    super::nodeset::check(&args.state)?;
    if !installs(&args.state) {
        return Err(Usage(format!("Unknown state {} requested", args.state)).into());
    }
    let client = Client::new(&args.common.socket);
    let (nodes, missed) = targets::known(&client, &args.noderange, console).await?;
    if nodes.is_empty() {
        return Ok(Exit::Failed);
    }
    if !args.common.json {
        console.line(&format!("Provision node(s): {}", nodes.join(" ")))?;
    }
    let (state, limits, total) = (args.state.clone(), args.bounds.limits(), nodes.len());
    let request = InstallRequest { nodes, state, uefi: args.uefi, limits };
    let hidden: &[&str] = if args.common.verbose { &[] } else { &["rsetboot"] };
    let view = View { json: args.common.json, quiet: false, hidden, success: None };
    let exit = followed(follow(&client, ("/api/v1/rinstall", &request, total), view, console)).await?;
    Ok(if missed && exit == Exit::Done { Exit::Failed } else { exit })
}

pub(super) const EXAMPLES: &str = "\
Examples:
  rinstall rack1 osimage=demo           install all of rack1 now
  rinstall n1 osimage=demo -u -V        as UEFI does, and show each step
A node whose boot order or power fails stays set to install: `nodeset <node> boot` takes that back.";
