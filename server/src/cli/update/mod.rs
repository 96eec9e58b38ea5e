//! updatenode and verify: what is typed becomes one request for all nodes, whose lines are shown as they come.

mod ask;
mod plans;
mod view;

use clap::Args;
use sysclone_protocol::update::UpdateAction;

use super::args::Common;
use super::client::Client;
use super::console::{Console, Exit, Usage};
use super::power::followed;
use super::targets;
use crate::wire::update::UpdateNodesRequest;
use view::View;

#[derive(Debug, Args)]
pub(super) struct Updatenode {
    /// Nodes
    noderange: String,
    /// Software maintenance: makes clones like the newest generation of their image; golden clients get the agent
    #[arg(short = 'S', long = "sw", required = true)]
    software: bool,
    /// Generation to be like [default: the newest of each node's own image]
    #[arg(long, value_name = "NAME[@GENERATION]")]
    image: Option<String>,
    /// Show what would be done, and change nothing
    #[arg(long, conflicts_with_all = ["rollback", "explain"])]
    dry_run: bool,
    /// Show how text files differ, for root only
    #[arg(long)]
    diff: bool,
    /// Put back what the last update replaced
    #[arg(long, conflicts_with_all = ["image", "explain", "keep_local", "delete_local"])]
    rollback: bool,
    /// Leave files alone that were changed on the node
    #[arg(long)]
    keep_local: bool,
    /// Remove files, too, that no generation ever brought
    #[arg(long)]
    delete_local: bool,
    /// Say which rule decides about a path, and change nothing
    #[arg(long, value_name = "PATH")]
    explain: Option<String>,
    /// Nodes at a time [default: 64]
    #[arg(short, long, value_name = "NUMBER")]
    fanout: Option<u16>,
    /// Begin no further node when more than so many have failed [default: no limit]
    #[arg(long, value_name = "NUMBER")]
    max_failures: Option<u32>,
    /// Do not ask. Nobody is asked either when the input is no terminal
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Nodes
    noderange: String,
    /// Generation to compare with [default: the one that each node has]
    #[arg(long, value_name = "NAME[@GENERATION]")]
    image: Option<String>,
    /// Show how text files differ, for root only
    #[arg(long)]
    diff: bool,
    /// Nodes at a time [default: 64]
    #[arg(short, long, value_name = "NUMBER")]
    fanout: Option<u16>,
    #[command(flatten)]
    common: Common,
}

impl Updatenode {
    fn action(&self) -> Result<UpdateAction, Usage> {
        match &self.explain {
            Some(path) if !path.starts_with('/') => Err(Usage("--explain needs an absolute path".into())),
            Some(path) => Ok(UpdateAction::Explain { path: path.clone() }),
            None if self.dry_run => Ok(UpdateAction::Plan),
            None if self.rollback => Ok(UpdateAction::Rollback),
            None => Ok(UpdateAction::Apply),
        }
    }
}

/// Brings clones up to date, or shows what that would change.
pub(super) async fn updatenode(args: &Updatenode, console: &mut Console) -> anyhow::Result<Exit> {
    let action = args.action()?;
    let asks = matches!(action, UpdateAction::Apply | UpdateAction::Rollback) && !args.yes && ask::possible();
    if asks && args.common.json {
        return Err(Usage("--json asks nothing: say --yes, or --dry-run".to_owned()).into());
    }
    let client = Client::new(&args.common.socket);
    let (nodes, missed) = targets::known(&client, &args.noderange, console).await?;
    if nodes.is_empty() {
        return Ok(Exit::Failed);
    }
    let request = UpdateNodesRequest {
        nodes,
        image: args.image.clone(),
        action,
        keep_local: args.keep_local,
        delete_local: args.delete_local,
        diff: args.diff,
        fanout: args.fanout,
        max_failures: args.max_failures,
    };
    let exit = if asks {
        followed(after_question(&client, request, &args.common, console)).await?
    } else {
        followed(async { Ok(send(&client, &request, &args.common, console).await?.exit()) }).await?
    };
    Ok(if missed && exit == Exit::Done { Exit::Failed } else { exit })
}

/// Lists what is not as in the generation that clones have.
pub(super) async fn verify(args: &Verify, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let (nodes, missed) = targets::known(&client, &args.noderange, console).await?;
    if nodes.is_empty() {
        return Ok(Exit::Failed);
    }
    let request = UpdateNodesRequest {
        nodes,
        image: args.image.clone(),
        action: UpdateAction::Verify,
        keep_local: false,
        delete_local: false,
        diff: args.diff,
        fanout: args.fanout,
        max_failures: None,
    };
    let exit = followed(async { Ok(send(&client, &request, &args.common, console).await?.exit()) }).await?;
    Ok(if missed && exit == Exit::Done { Exit::Failed } else { exit })
}

async fn send<'a>(
    client: &Client,
    request: &UpdateNodesRequest,
    common: &Common,
    console: &'a mut Console,
) -> anyhow::Result<View<'a>> {
    let mut view = View::new(console, request, common);
    let lines = client.post_lines("/api/v1/update", request).await?;
    view.follow(lines).await?;
    Ok(view)
}

/// Shows the plan, asks, and goes on with the nodes that could make one.
async fn after_question(
    client: &Client,
    mut request: UpdateNodesRequest,
    common: &Common,
    console: &mut Console,
) -> anyhow::Result<Exit> {
    let action = std::mem::replace(&mut request.action, UpdateAction::Plan);
    let mut exit = Exit::Done;
    // What a rollback puts back, the nodes know.
    if action == UpdateAction::Apply {
        let planned = send(client, &request, common, console).await?;
        exit = planned.exit();
        request.nodes.retain(|node| !planned.is_lost(node));
    }
    if request.nodes.is_empty() {
        return Ok(Exit::Failed);
    }
    let count = plans::nodes(request.nodes.len());
    let question = match action {
        UpdateAction::Rollback => format!("Put back what the last update replaced on {count}?"),
        _ => format!("Update {count}?"),
    };
    if !ask::agreed(&question, console).await? {
        console.note("Nothing was changed.\n")?;
        return Ok(Exit::Failed);
    }
    request.action = action;
    let done = send(client, &request, common, console).await?.exit();
    Ok(if exit == Exit::Done { done } else { exit })
}

pub(super) const UPDATENODE_EXAMPLES: &str = "\
Examples:
  updatenode rack1 -S --dry-run         what would change, and why
  updatenode rack1 -S --yes             as the newest capture of each node's image
  updatenode rack1 -S --image demo@4 --fanout 16 --max-failures 2
  updatenode n1 -S --rollback           as before the last update
  updatenode n1 -S --explain /etc/fstab
  updatenode golden -S                  the agent is there, of this server's version
Paths that stay as they are: the attribute updateexcludes of node, group and osimage, rules as rsync --exclude takes
them, separated by commas; those of the node decide first. In plans + is a new path, > one that is here under another
name, c new content, m owner, mode or time, t another type, - one that goes.
Exit status: 0 all done, 1 a node failed, 2 wrong usage.";

pub(super) const VERIFY_EXAMPLES: &str = "\
Examples:
  sysclone verify rack1
  sysclone verify n1 --diff
Nothing is changed; nodestat --drift shows what was found.
Exit status: 0 all are as captured, 1 a node differs or failed, 2 wrong usage.";
