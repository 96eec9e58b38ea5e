//! The same lines for people.

use std::fmt::Write as _;

use sysclone_protocol::update::{ChangeKind, SyncReport, UpdateLine, UpdatePlan, Why};

const MIB: u64 = 1 << 20;

/// A line as a sentence; none when there is nothing to say.
pub(super) fn line(line: &UpdateLine) -> Option<String> {
    Some(match line {
        UpdateLine::Step { text } | UpdateLine::Explained { text } => text.clone(),
        UpdateLine::Plan(wanted) => plan(wanted),
        UpdateLine::Progress { done, total } => {
            format!("{} of {} MiB", done / MIB, total.div_ceil(MIB))
        }
        UpdateLine::Warning { text } => format!("warning: {text}"),
        UpdateLine::Finished(report) => finished(report),
        UpdateLine::Failed { reason, state } => format!("failed: {reason}; this machine is {state}"),
    })
}

fn finished(report: &SyncReport) -> String {
    let drift = match report.drift {
        None | Some(0) => String::new(),
        Some(some) => format!(", {some} paths differ from it"),
    };
    let mut text = format!("this machine is {}{drift}", report.image);
    for reason in &report.reboot {
        let _ = write!(text, "\nit has to restart: {reason}");
    }
    text
}

/// One letter for what is done with a path.
fn letter(change: &ChangeKind) -> char {
    match change {
        ChangeKind::Create => '+',
        ChangeKind::Rename { .. } => '>',
        ChangeKind::Content => 'c',
        ChangeKind::Metadata => 'm',
        ChangeKind::Type => 't',
        ChangeKind::Delete => '-',
    }
}

fn why(why: Why) -> &'static str {
    match why {
        Why::Golden | Why::Unknown => "",
        Why::Node => "  (changed on this node)",
        Why::Both => "  (changed on this node and on the golden client)",
    }
}

fn plan(plan: &UpdatePlan) -> String {
    let mut text = String::new();
    for change in &plan.changes {
        let from = match &change.change {
            ChangeKind::Rename { from } => format!("  (from {from})"),
            _ => String::new(),
        };
        let _ = writeln!(text, "{} {}{from}{}", letter(&change.change), change.path, why(change.why));
        if let Some(diff) = &change.diff {
            text.push_str(diff);
        }
    }
    for kept in &plan.kept {
        let _ = writeln!(text, "= {}  ({})", kept.path, kept.reason);
    }
    for line in &plan.boot {
        let _ = writeln!(text, "boot: {line}");
    }
    for hint in &plan.restart {
        let _ = writeln!(text, "restart {}: it uses {}", hint.service, hint.file);
    }
    for reason in &plan.reboot {
        let _ = writeln!(text, "reboot: {reason}");
    }
    let _ = write!(
        text,
        "{} changes, {} KiB to fetch, {} KiB to write, to {}",
        plan.changes.len(),
        plan.fetch_bytes.div_ceil(1024),
        plan.write_bytes.div_ceil(1024),
        plan.to
    );
    text
}
