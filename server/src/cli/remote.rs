//! xdsh and xdcp.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::args::Common;
use super::client::Client;
use super::console::{Console, Exit, Usage};
use super::power::{View, follow, followed};
use super::targets;
use crate::wire::remote::{CopyRequest, Files, RunLine, RunRequest, Said, Stream};

#[derive(Debug, Args)]
pub(super) struct Xdsh {
    /// Nodes
    noderange: String,
    /// Account on the nodes
    #[arg(short = 'l', long = "loginname", value_name = "USER")]
    user: Option<String>,
    /// Nodes at a time [default: 64]
    #[arg(short, long, value_name = "NUMBER")]
    fanout: Option<u16>,
    /// Time limit of each node
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// The command is a script here: it goes to the nodes, runs there with the arguments, and is removed
    #[arg(short = 'e', long = "execute")]
    script: bool,
    /// Show how the command ended on every node
    #[arg(short = 'z', long)]
    exit_status: bool,
    /// Accepted for xCAT's scripts: lines are always shown as they come
    #[arg(short, long, hide = true)]
    stream: bool,
    #[command(flatten)]
    common: Common,
    /// Text for the shell of the node, or the script
    command: String,
    /// What follows it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Xdcp {
    /// Nodes
    noderange: String,
    /// Account on the nodes
    #[arg(short = 'l', long = "loginname", value_name = "USER")]
    user: Option<String>,
    /// Nodes at a time [default: 64]
    #[arg(short, long, value_name = "NUMBER")]
    fanout: Option<u16>,
    /// Time limit of each node
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// From the nodes: the target gets a directory for each of them
    #[arg(short = 'P', long)]
    pull: bool,
    /// Directories, with all below them
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Keep times and modes
    #[arg(short, long)]
    preserve: bool,
    #[command(flatten)]
    common: Common,
    /// What is copied, then where to
    #[arg(required = true, num_args = 2.., value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Runs a command on nodes.
pub(super) async fn xdsh(args: &Xdsh, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let (command, script) = if args.script {
        let file = &args.command;
        let text = std::fs::read_to_string(file).with_context(|| format!("reading the script {file}"))?;
        let words: Vec<String> = args.arguments.iter().map(|word| quoted(word)).collect();
        (words.join(" "), Some(text))
    } else {
        let words = std::iter::once(&args.command).chain(&args.arguments);
        (words.map(String::as_str).collect::<Vec<_>>().join(" "), None)
    };
    let (nodes, missed) = targets::known(&client, &args.noderange, console).await?;
    if nodes.is_empty() {
        return Ok(Exit::Failed);
    }
    let total = nodes.len();
    let user = args.user.clone();
    let (fanout, seconds) = (args.fanout, args.timeout);
    let request = RunRequest { nodes, command, script, user, fanout, seconds };
    let exit = followed(show_run(&client, (&request, total), args, console)).await?;
    Ok(if missed && exit == Exit::Done { Exit::Failed } else { exit })
}

async fn show_run(
    client: &Client,
    (request, total): (&RunRequest, usize),
    args: &Xdsh,
    console: &mut Console,
) -> anyhow::Result<Exit> {
    let mut lines = client.post_lines::<RunLine>("/api/v1/run", request).await?;
    let (mut good, mut ended) = (0, 0);
    while let Some(line) = lines.next().await.context("contact with the daemon was lost")? {
        ended += usize::from(matches!(line.said, Said::Ended { .. }));
        good += usize::from(line.said == Said::Ended { result: Ok(0) });
        if args.common.json {
            console.data(&format!("{}\n", serde_json::to_string(&line)?))?;
            continue;
        }
        let node = &line.node;
        match line.said {
            Said::Line { stream: Stream::Out, text } => console.line(&format!("{node}: {text}"))?,
            Said::Line { stream: Stream::Err, text } => {
                console.note(&format!("{node}: {}\n", super::console::plain(&text)))?;
            }
            Said::Ended { result: Ok(0) } if args.exit_status => {
                console.line(&format!("{node}: Remote_command_successful"))?;
            }
            Said::Ended { result: Ok(0) } => {}
            Said::Ended { result: Ok(status) } if args.exit_status => {
                console.line(&format!("{node}: Remote_command_failed, error_code={status}"))?;
            }
            Said::Ended { result: Ok(status) } => {
                console.node_error(node, &format!("exit status {status}"))?
            }
            Said::Ended { result: Err(error) } => console.node_error(node, &error)?,
        }
    }
    if ended < total {
        console.error(&format!("the daemon stopped before {} nodes were done", total - ended))?;
    }
    Ok(Exit::failed_if(good < total))
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Copies files to nodes or from them.
pub(super) async fn xdcp(args: &Xdcp, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let (target, sources) = args.paths.split_last().ok_or_else(|| Usage("two paths are needed".into()))?;
    // The daemon has another working directory.
    let here =
        |path: &PathBuf| std::path::absolute(path).with_context(|| format!("finding {}", path.display()));
    let (sources, target) = match args.pull {
        true => (sources.to_vec(), here(target)?),
        false => (sources.iter().map(here).collect::<Result<_, _>>()?, target.clone()),
    };
    let (nodes, missed) = targets::known(&client, &args.noderange, console).await?;
    if nodes.is_empty() {
        return Ok(Exit::Failed);
    }
    let total = nodes.len();
    let files =
        Files { sources, target, pull: args.pull, recursive: args.recursive, preserve: args.preserve };
    let (user, fanout, seconds) = (args.user.clone(), args.fanout, args.timeout);
    let request = CopyRequest { nodes, files, user, fanout, seconds };
    let view = View { json: args.common.json, quiet: !args.common.verbose, hidden: &[], success: None };
    let exit = followed(follow(&client, ("/api/v1/copy", &request, total), view, console)).await?;
    Ok(if missed && exit == Exit::Done { Exit::Failed } else { exit })
}

pub(super) const XDSH_EXAMPLES: &str = "\
Examples:
  xdsh rack1 uname -r
  xdsh all -t 20 -z systemctl is-active sshd
  xdsh n1,n2 -e ./check.sh /var         runs a script that is here
  xdsh n1 -s 'df -h / | tail -1'
Ctrl-C ends what runs. Exit status: 0 the command ended with 0 on all nodes, 1 it did not, 2 wrong usage.";

pub(super) const XDCP_EXAMPLES: &str = "\
Examples:
  xdcp rack1 /etc/hosts /etc/hosts
  xdcp all -R -p /srv/tools /opt
  xdcp rack1 -P /var/log/dpkg.log /tmp/logs    as /tmp/logs/<node>/dpkg.log
Exit status: 0 all copied, 1 a node failed, 2 wrong usage.";
