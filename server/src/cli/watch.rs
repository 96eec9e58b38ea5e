//! watch: nodes until all are booted or failed.

mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use self::table::Screen;
use super::args::Watch;
use super::client::{Client, Refused};
use super::console::{Console, Exit};
use super::interrupt::unless_interrupted;
use super::{status, targets};
use crate::wire::NodeStatus;

/// How often the daemon is asked. People see a second, and the states of 400 nodes are a few kilobytes.
const INTERVAL: Duration = Duration::from_secs(1);

/// The end of a watch without a limit: a year.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Follows nodes to their end.
pub(super) async fn run(args: &Watch, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let (nodes, missed) = targets::known(&client, &args.noderange, console).await?;
    if nodes.is_empty() {
        return Ok(Exit::Failed);
    }
    let form = match (args.common.json, console.out_is_terminal) {
        (true, _) => Form::Json,
        (false, true) => Form::Table(Screen::default()),
        (false, false) => Form::Lines,
    };
    let mut watch = Watching { client, nodes, latest: Vec::new(), shown: BTreeMap::new(), form, console };
    let deadline = Instant::now() + args.timeout.unwrap_or(FOREVER);
    let work = timeout_at(deadline, watch.follow());
    let Some(ended) = unless_interrupted(work).await? else { return Ok(Exit::Interrupted) };
    let in_time = ended.is_ok();
    ended.unwrap_or(Ok(()))?;
    let all_booted = watch.close(in_time)?;
    Ok(Exit::failed_if(missed || !all_booted))
}

/// How changes are shown.
enum Form {
    /// A table that is drawn anew.
    Table(Screen),
    /// A line for each change.
    Lines,
    /// A document for each change.
    Json,
}

struct Watching<'a> {
    client: Client,
    nodes: Vec<String>,
    /// Where the nodes stand; empty until the daemon has answered once.
    latest: Vec<NodeStatus>,
    /// What was last shown of each node.
    shown: BTreeMap<String, String>,
    form: Form,
    console: &'a mut Console,
}

impl Watching<'_> {
    /// Asks and shows until no node can change any more. A daemon that is away for a while is waited for.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut in_contact = true;
        loop {
            ticks.tick().await;
            match status::of(&self.client, &self.nodes).await {
                Ok(found) => {
                    in_contact = true;
                    self.latest = complete(found, &self.nodes);
                    self.show()?;
                    if self.latest.iter().all(has_ended) {
                        return Ok(());
                    }
                }
                Err(error) if self.latest.is_empty() || error.is::<Refused>() => return Err(error),
                Err(error) if in_contact => {
                    in_contact = false;
                    self.console.note(&format!("Warning: {error:#}; waiting for it\n"))?;
                }
                Err(_) => {}
            }
        }
    }

    fn show(&mut self) -> anyhow::Result<()> {
        if let Form::Table(screen) = &mut self.form {
            let text = screen.redraw(&self.latest);
            return self.console.data(&text);
        }
        for status in &self.latest {
            let text = status::steady(status);
            if self.shown.get(&status.node) == Some(&text) {
                continue;
            }
            match self.form {
                Form::Json => self.console.line(&serde_json::to_string(status)?)?,
                Form::Lines | Form::Table(_) => {
                    self.console.line(format!("{} {}: {text}", status.since, status.node).trim_start())?;
                }
            }
            self.shown.insert(status.node.clone(), text);
        }
        Ok(())
    }

    /// Says what did not end well. True when every node is booted, or has done what it was told to do from memory.
    fn close(self, in_time: bool) -> anyhow::Result<bool> {
        let of_state = |state: &str| self.latest.iter().filter(|s| s.state == state).count();
        let (booted, done, failed) = (of_state("booted"), of_state("done"), of_state("failed"));
        let ended_well = |status: &&NodeStatus| matches!(status.state.as_str(), "booted" | "done");
        for status in self.latest.iter().filter(|status| !ended_well(status)) {
            self.console.node_error(&status.node, &status::said(status))?;
        }
        let waiting = self.nodes.len() - booted - done - failed;
        let done_text = if done > 0 { format!(", {done} done") } else { String::new() };
        let late = if in_time { String::new() } else { format!(", {waiting} not finished in time") };
        self.console.note(&format!("{booted} booted{done_text}, {failed} failed{late}\n"))?;
        Ok(booted + done == self.nodes.len())
    }
}

/// Whether nothing more will happen to the node by itself.
fn has_ended(status: &NodeStatus) -> bool {
    matches!(status.state.as_str(), "booted" | "done" | "failed" | "withdrawn")
}

/// One status for every node. A node that was removed meanwhile will not boot: it counts as failed.
fn complete(found: Vec<NodeStatus>, nodes: &[String]) -> Vec<NodeStatus> {
    let mut found: BTreeMap<String, NodeStatus> = found.into_iter().map(|s| (s.node.clone(), s)).collect();
    let gone = |node: &String| NodeStatus {
        node: node.clone(),
        state: "failed".to_owned(),
        phase: None,
        progress: None,
        image: None,
        tasks: None,
        reason: Some("its definition was removed".to_owned()),
        since: String::new(),
    };
    nodes.iter().map(|node| found.remove(node).unwrap_or_else(|| gone(node))).collect()
}
