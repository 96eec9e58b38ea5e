//! rpower and rsetboot. Answers are shown as they come; with `--json` they are gathered and sorted.

use anyhow::Context;
use clap::Args;

use super::args::Common;
use super::client::Client;
use super::console::{Console, Exit, Usage};
use super::interrupt::unless_interrupted;
use super::targets;
use crate::power::{BootRequest, PowerAction, Task};
use crate::wire::power::{Limits, NodeAnswer, PowerRequest};

#[derive(Debug, Args)]
pub(super) struct Rpower {
    /// Nodes
    noderange: String,
    /// on, off, softoff, reset, boot, cycle, stat, nmi
    action: Option<String>,
    /// Accepted for xCAT's scripts; there are no dependent nodes here
    #[arg(long, hide = true)]
    nodeps: bool,
    #[command(flatten)]
    bounds: Bounds,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Rsetboot {
    /// Nodes
    noderange: String,
    /// net, hd, cd, floppy, setup, default, stat
    device: Option<String>,
    /// Boot as UEFI does
    #[arg(short)]
    uefi: bool,
    /// Until it is changed, not for the next boot only
    #[arg(short)]
    persistent: bool,
    #[command(flatten)]
    bounds: Bounds,
    #[command(flatten)]
    common: Common,
}

/// How many nodes at a time, for how long.
#[derive(Debug, Args)]
pub(super) struct Bounds {
    /// Nodes at a time
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().fanout)]
    fanout: u16,
    /// Time limit of each node
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().seconds)]
    timeout: u32,
    /// How often a BMC that does not answer is asked again
    #[arg(short = 'r', long, value_name = "NUMBER", default_value_t = Limits::default().retries)]
    retries: u16,
}

impl Bounds {
    pub(super) fn limits(&self) -> Limits {
        Limits { fanout: self.fanout, seconds: self.timeout, retries: self.retries }
    }
}

/// Switches nodes on and off, or asks whether they are on.
pub(super) async fn rpower(args: &Rpower, console: &mut Console) -> anyhow::Result<Exit> {
    let Some(word) = &args.action else {
        return Err(
            Usage("Unsupported command: power needs on, off, softoff, reset, boot, stat…".into()).into()
        );
    };
    let action: PowerAction = word.parse().map_err(|error| Usage(format!("{error}")))?;
    on_nodes(&args.noderange, Task::Power(action), &args.bounds, (&args.common, console)).await
}

/// Sets what nodes boot from, or asks for it.
pub(super) async fn rsetboot(args: &Rsetboot, console: &mut Console) -> anyhow::Result<Exit> {
    let Some(word) = &args.device else {
        return Err(
            Usage("Unsupported command: setboot needs net, hd, cd, floppy, default or stat".into()).into()
        );
    };
    let mut request: BootRequest = word.parse().map_err(|error| Usage(format!("{error}")))?;
    match &mut request {
        BootRequest::Set(order) => (order.uefi, order.persistent) = (args.uefi, args.persistent),
        BootRequest::Stat if args.uefi || args.persistent => {
            return Err(Usage("-u and -p mean nothing with stat".into()).into());
        }
        BootRequest::Stat => {}
    }
    on_nodes(&args.noderange, Task::Boot(request), &args.bounds, (&args.common, console)).await
}

async fn on_nodes(
    range: &str,
    task: Task,
    bounds: &Bounds,
    (common, console): (&Common, &mut Console),
) -> anyhow::Result<Exit> {
    let client = Client::new(&common.socket);
    let (nodes, missed) = targets::known(&client, range, console).await?;
    if nodes.is_empty() {
        return Ok(Exit::Failed);
    }
    let request = PowerRequest { nodes, task, limits: bounds.limits() };
    let total = request.nodes.len();
    let view = View { json: common.json, quiet: false, hidden: &[], success: None };
    let exit = followed(follow(&client, ("/api/v1/power", &request, total), view, console)).await?;
    Ok(if missed && exit == Exit::Done { Exit::Failed } else { exit })
}

/// Waits for the answers, or for Ctrl-C. The daemon sees that nobody listens and begins no further node.
pub(super) async fn followed(work: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    Ok(unless_interrupted(work).await?.transpose()?.unwrap_or(Exit::Interrupted))
}

/// How answers are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    /// As one document at the end.
    pub(super) json: bool,
    /// Only what failed.
    pub(super) quiet: bool,
    /// Steps whose success is not worth a line.
    pub(super) hidden: &'static [&'static str],
    /// What is said of a node whose last step went well, instead of what that step says.
    pub(super) success: Option<&'static str>,
}

/// Shows the answers of `total` nodes as they come.
pub(super) async fn follow(
    client: &Client,
    (path, request, total): (&str, &impl serde::Serialize, usize),
    view: View,
    console: &mut Console,
) -> anyhow::Result<Exit> {
    let mut lines = client.post_lines::<NodeAnswer>(path, request).await?;
    let mut answers = Vec::new();
    let lost =
        "the request lost contact with the daemon; some nodes may have been changed, see `sysclone events`";
    while let Some(answer) = lines.next().await.context(lost)? {
        if !(view.json || view.quiet && answer.result.is_ok()) {
            show(&answer, view, console)?;
        }
        answers.push(answer);
    }
    // Stable: the steps of a node stay in order.
    answers.sort_by(|a, b| a.name.cmp(&b.name));
    if view.json {
        console.json(&answers)?;
    }
    let failed = answers.iter().any(|answer| answer.result.is_err());
    let ended = answers.iter().filter(|answer| answer.ends_its_node()).count();
    if ended < total {
        console.error(&format!("the daemon stopped before {} nodes were done", total - ended))?;
    }
    Ok(Exit::failed_if(failed || ended < total))
}

fn show(answer: &NodeAnswer, view: View, console: &mut Console) -> anyhow::Result<()> {
    let NodeAnswer { name, step, result } = answer;
    match (result, step.as_deref()) {
        (Ok(_), Some(step)) if view.hidden.contains(&step) => Ok(()),
        (Ok(text), Some("rpower" | "rnetboot")) => {
            console.line(&format!("{name}: {}", view.success.unwrap_or(text)))
        }
        (Err(error), Some("rnetboot")) => console.node_error(name, error),
        (Ok(text), _) => console.line(&format!("{name}: {text}")),
        (Err(error), None) => console.node_error(name, error),
        (Err(error), Some(step)) => console.node_error(name, &format!("{step}: {error}")),
    }
}

pub(super) const RPOWER_EXAMPLES: &str = "\
Examples:
  rpower rack1 stat                     whether they are on
  rpower n1 boot                        reset it, or switch it on when it is off
  rpower all softoff --fanout 16        no more than 16 at a time

How a node is reached: mgt=ipmi or mgt=redfish with bmc, bmcusername and bmcpassword (or those of its method:
mkdef -t passwd -o redfish username=... password=...), mgt=kvm with vmhost, power=qemu with qmpsocket. A Redfish BMC's
certificate is known by bmcfingerprint; without it the fingerprint that the BMC shows is printed, to be compared.
Exit status: 0 all done, 1 a node failed, 2 wrong usage.";

pub(super) const RSETBOOT_EXAMPLES: &str = "\
Examples:
  rsetboot rack1 net                    from the network, at the next boot only
  rsetboot n1 hd -u -p                  from its disk as UEFI does, until changed
  rsetboot n1 default                   as its firmware is set
  rsetboot rack1 stat                   what is set now";
