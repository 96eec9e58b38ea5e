//! The lines of an update on the screen.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context as _, bail};
use sysclone_protocol::update::{SyncReport, UpdateAction};

use super::plans::{Plans, named, nodes};
use crate::cli::args::Common;
use crate::cli::client::Lines;
use crate::cli::console::{Console, Exit, plain};
use crate::cli::meter::{Meter, bytes, grouped};
use crate::wire::update::{UpdateAnswer, UpdateNodesRequest, UpdateSummary};

/// What is on the screen, and what has been heard.
pub(super) struct View<'a> {
    console: &'a mut Console,
    action: UpdateAction,
    json: bool,
    verbose: bool,
    total: usize,
    started: Instant,
    meter: Meter,
    /// Bytes done and in all, by node.
    progress: HashMap<String, (u64, u64)>,
    /// The last step that a node named.
    step: String,
    ended: usize,
    failed: usize,
    plans: Plans,
    drift: bool,
    summary: UpdateSummary,
    /// Whether the terminal's last line is progress.
    status_line: bool,
}

impl<'a> View<'a> {
    pub(super) fn new(console: &'a mut Console, request: &UpdateNodesRequest, common: &Common) -> Self {
        let meter = Meter::new(console.err_is_terminal);
        Self {
            console,
            action: request.action.clone(),
            json: common.json,
            verbose: common.verbose,
            total: request.nodes.len(),
            started: Instant::now(),
            meter,
            progress: HashMap::new(),
            step: String::new(),
            ended: 0,
            failed: 0,
            plans: Plans::default(),
            drift: false,
            summary: UpdateSummary::default(),
            status_line: false,
        }
    }

    /// How it all ended.
    pub(super) fn exit(&self) -> Exit {
        let UpdateSummary { failed, unreachable, not_tried, .. } = &self.summary;
        let lost = [failed, unreachable, not_tried].into_iter().any(|nodes| !nodes.is_empty());
        Exit::failed_if(lost || self.drift)
    }

    /// Whether a node did not come to a good end.
    pub(super) fn is_lost(&self, node: &String) -> bool {
        let UpdateSummary { failed, unreachable, not_tried, .. } = &self.summary;
        [failed, unreachable, not_tried].into_iter().any(|nodes| nodes.contains(node))
    }

    /// Shows all lines to the last.
    pub(super) async fn follow(&mut self, mut lines: Lines<UpdateAnswer>) -> anyhow::Result<()> {
        let lost =
            "the update lost contact with the daemon; what was begun is finished or undone by the next one";
        while let Some(answer) = lines.next().await.context(lost)? {
            if self.json {
                self.console.data(&format!("{}\n", serde_json::to_string(&answer)?))?;
            }
            if let Some(summary) = self.take(answer)? {
                self.clear()?;
                self.summary = summary;
                return if self.json { Ok(()) } else { self.show_end() };
            }
        }
        self.clear()?;
        bail!("the daemon ended before the update did; see its log (journalctl -u syscloned), then try again")
    }

    /// Shows one line; answers the last.
    fn take(&mut self, answer: UpdateAnswer) -> anyhow::Result<Option<UpdateSummary>> {
        match answer {
            UpdateAnswer::Ended(summary) => return Ok(Some(summary)),
            UpdateAnswer::Plan { node, like, plan } => self.plans.add(&node, like.as_deref(), *plan),
            UpdateAnswer::Progress { node, done, total } => {
                self.progress.insert(node, (done.min(total), total));
            }
            UpdateAnswer::Step { node, text } if self.verbose => self.line(&node, &text)?,
            UpdateAnswer::Step { text, .. } => self.step = text,
            UpdateAnswer::Warning { node, text } => {
                if !self.json {
                    self.clear()?;
                    self.console.note(&format!("{node}: Warning: {}\n", plain(&text)))?;
                }
            }
            UpdateAnswer::Explained { node, text } | UpdateAnswer::Agent { node, text } => {
                self.ended += 1;
                self.line(&node, &text)?;
            }
            UpdateAnswer::Finished { node, report } => {
                self.ended += 1;
                self.drift |= self.action == UpdateAction::Verify && report.drift != Some(0);
                if let Some(text) = result(&self.action, &report) {
                    self.line(&node, &text)?;
                }
            }
            UpdateAnswer::Failed { node, reason, state } => {
                let state = state.map(|state| format!("; the node is {state}")).unwrap_or_default();
                self.lost(&node, &format!("{reason}{state}"))?;
            }
            UpdateAnswer::Unreachable { node, reason } => self.lost(&node, &reason)?,
        }
        self.show_status()?;
        Ok(None)
    }

    fn line(&mut self, node: &str, text: &str) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        self.clear()?;
        self.console.line(&format!("{node}: {text}"))
    }

    fn lost(&mut self, node: &str, text: &str) -> anyhow::Result<()> {
        self.ended += 1;
        self.failed += 1;
        if self.json {
            return Ok(());
        }
        self.clear()?;
        self.console.node_error(node, text)
    }

    /// The plan when it is what was asked for, and what became of those that did not come to a good end.
    fn show_end(&mut self) -> anyhow::Result<()> {
        let plans = std::mem::take(&mut self.plans);
        if self.verbose || matches!(self.action, UpdateAction::Plan | UpdateAction::Verify) {
            for line in plans.lines() {
                self.console.line(&line)?;
            }
        }
        let UpdateSummary { unreachable, not_tried, .. } = &self.summary;
        let texts = [
            (unreachable, "cannot be reached; they can be updated when they are back"),
            (not_tried, "not begun, because too many failed"),
        ];
        for (lost, what) in texts {
            let names: Vec<&str> = lost.iter().map(String::as_str).collect();
            if self.total > 1 && !names.is_empty() {
                self.console.error(&format!("{} {what}: {}", nodes(names.len()), named(&names)))?;
            }
        }
        Ok(())
    }

    fn show_status(&mut self) -> anyhow::Result<()> {
        if self.json || !self.meter.is_due(self.started.elapsed()) {
            return Ok(());
        }
        let text = plain(&self.status());
        if !self.console.err_is_terminal {
            return self.console.note(&format!("{text}\n"));
        }
        self.status_line = true;
        self.console.note(&format!("\r{text}\x1b[K"))
    }

    fn status(&self) -> String {
        let (done, total) = self
            .progress
            .values()
            .fold((0u64, 0u64), |(done, total), (d, t)| (done.saturating_add(*d), total.saturating_add(*t)));
        let amount = match total {
            0 => String::new(),
            _ => format!(", {} of {}", bytes(done), bytes(total)),
        };
        let failed = match self.failed {
            0 => String::new(),
            some => format!(", {some} failed"),
        };
        match self.total {
            1 => format!("{}{amount}", if self.step.is_empty() { "working" } else { &self.step }),
            all => format!("{} of {} done{failed}{amount}", self.ended, nodes(all)),
        }
    }

    fn clear(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.status_line) { self.console.note("\r\x1b[K") } else { Ok(()) }
    }
}

/// What a node's good end is called; nothing when its plan says it.
fn result(action: &UpdateAction, report: &SyncReport) -> Option<String> {
    let SyncReport { image, changed, fetched_bytes, drift, reboot } = report;
    let paths = |count: u64| format!("{} {}", grouped(count), if count == 1 { "path" } else { "paths" });
    let text = match action {
        UpdateAction::Plan | UpdateAction::Explain { .. } => return None,
        UpdateAction::Apply if *changed == 0 => format!("{image}: nothing to change"),
        UpdateAction::Apply => {
            format!("{image}: {} changed, {} fetched", paths(*changed), bytes(*fetched_bytes))
        }
        UpdateAction::Rollback => format!("back at {image}: {} changed", paths(*changed)),
        UpdateAction::Verify => match drift {
            Some(0) => format!("{image}: as captured"),
            Some(drift) => format!("{image}: {} not as captured", paths(*drift)),
            None => format!("{image}: not counted"),
        },
    };
    Some(match reboot.is_empty() {
        true => text,
        false => format!("{text}; restart the machine: {}", reboot.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_end_is_said_in_one_line() {
        let report = |changed, drift| SyncReport {
            image: "demo@4".into(),
            changed,
            fetched_bytes: 18_000_000,
            drift,
            reboot: vec![],
        };
        let restart = SyncReport { reboot: vec!["kernel".into()], ..report(41, None) };
        for (action, report, expected) in [
            (UpdateAction::Plan, report(4, None), None),
            (UpdateAction::Apply, report(0, None), Some("demo@4: nothing to change")),
            (
                UpdateAction::Apply,
                restart,
                Some("demo@4: 41 paths changed, 18.0 MB fetched; restart the machine: kernel"),
            ),
            (UpdateAction::Rollback, report(1, None), Some("back at demo@4: 1 path changed")),
            (UpdateAction::Verify, report(0, Some(0)), Some("demo@4: as captured")),
            (UpdateAction::Verify, report(0, Some(2)), Some("demo@4: 2 paths not as captured")),
        ] {
            assert_eq!(result(&action, &report).as_deref(), expected);
        }
    }
}
