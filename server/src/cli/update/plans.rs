//! The plans of many nodes as text: nodes with equal changes are one group.

use sysclone_protocol::update::{ChangeKind, PlannedChange, UpdatePlan, Why};

use crate::cli::meter::{bytes, grouped};

/// Nodes that are named; of more, the first and the number.
const NAMED: usize = 8;

/// Plans, as they come.
#[derive(Debug, Default)]
pub(super) struct Plans(Vec<Group>);

/// Nodes with equal changes.
#[derive(Debug)]
struct Group {
    /// The node that says what changes. Others of the group may be heard before it.
    first: String,
    /// Plans by node.
    nodes: Vec<(String, UpdatePlan)>,
}

impl Plans {
    /// Adds a plan, which is like that of another node.
    pub(super) fn add(&mut self, node: &str, like: Option<&str>, plan: UpdatePlan) {
        let first = like.unwrap_or(node);
        match self.0.iter_mut().find(|group| group.first == first) {
            Some(group) => group.nodes.push((node.to_owned(), plan)),
            None => self.0.push(Group { first: first.to_owned(), nodes: vec![(node.to_owned(), plan)] }),
        }
    }

    /// All plans in words, the largest group first.
    pub(super) fn lines(mut self) -> Vec<String> {
        for group in &mut self.0 {
            group.nodes.sort_by(|a, b| a.0.cmp(&b.0));
        }
        self.0
            .sort_by(|a, b| b.nodes.len().cmp(&a.nodes.len()).then_with(|| a.nodes[0].0.cmp(&b.nodes[0].0)));
        let mut lines = Vec::new();
        if let [largest, others @ ..] = &self.0[..]
            && !others.is_empty()
        {
            let differ: Vec<&str> = others.iter().flat_map(Group::names).collect();
            lines.push(format!(
                "{} identical: {}; {} differ: {}",
                nodes(largest.nodes.len()),
                largest.amount(),
                differ.len(),
                named(&differ)
            ));
        }
        for group in &self.0 {
            group.add_lines(&mut lines);
        }
        lines
    }
}

impl Group {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|(node, _)| node.as_str())
    }

    /// The plan that has the changes.
    fn plan(&self) -> &UpdatePlan {
        let first = self.nodes.iter().find(|(node, _)| *node == self.first);
        &first.unwrap_or(&self.nodes[0]).1
    }

    fn amount(&self) -> String {
        let plan = self.plan();
        match plan.changes.len() + plan.boot.len() {
            0 => "nothing to change".to_owned(),
            _ => {
                let most = self.nodes.iter().map(|(_, plan)| plan.fetch_bytes).max().unwrap_or_default();
                let (count, paths) =
                    (plan.changes.len(), if plan.changes.len() == 1 { "path" } else { "paths" });
                format!("{} {paths}, {} to fetch", grouped(count as u64), bytes(most))
            }
        }
    }

    fn add_lines(&self, lines: &mut Vec<String>) {
        let plan = self.plan();
        let names: Vec<&str> = self.names().collect();
        let count = match names.len() {
            1 => String::new(),
            many => format!(" ({})", nodes(many)),
        };
        let from = plan.from.as_ref().map(|from| format!("{from} to ")).unwrap_or_default();
        lines.push(format!("{}{count}: {from}{}: {}", named(&names), plan.to, self.amount()));
        for change in &plan.changes {
            lines.push(format!("  {}", change_line(change)));
            let diff = change.diff.as_deref().unwrap_or_default();
            lines.extend(diff.lines().map(|line| format!("      {line}")));
        }
        lines.extend(plan.boot.iter().map(|action| format!("  boot: {action}")));
        self.add_of_nodes(lines, |plan| {
            plan.kept.iter().map(|kept| format!("stays: {} ({})", kept.path, kept.reason)).collect()
        });
        self.add_of_nodes(lines, |plan| {
            plan.restart
                .iter()
                .map(|hint| format!("service: {} has {} open", hint.service, hint.file))
                .collect()
        });
        self.add_of_nodes(lines, |plan| {
            plan.reboot.iter().map(|reason| format!("restart of the machine: {reason}")).collect()
        });
    }

    /// What need not be the same on all nodes of the group: those are named that it is about.
    fn add_of_nodes(&self, lines: &mut Vec<String>, said: impl Fn(&UpdatePlan) -> Vec<String>) {
        let mut all: Vec<(String, Vec<&str>)> = Vec::new();
        for (node, plan) in &self.nodes {
            for text in said(plan) {
                match all.iter_mut().find(|(known, _)| *known == text) {
                    Some((_, nodes)) => nodes.push(node),
                    None => all.push((text, vec![node])),
                }
            }
        }
        lines.extend(all.into_iter().map(|(text, nodes)| match nodes.len() == self.nodes.len() {
            true => format!("  {text}"),
            false => format!("  {text}, on {}", named(&nodes)),
        }));
    }
}

fn change_line(change: &PlannedChange) -> String {
    let (letter, from) = match &change.change {
        ChangeKind::Create => ('+', None),
        ChangeKind::Rename { from } => ('>', Some(from)),
        ChangeKind::Content => ('c', None),
        ChangeKind::Metadata => ('m', None),
        ChangeKind::Type => ('t', None),
        ChangeKind::Delete => ('-', None),
    };
    let why = match change.why {
        Why::Golden => "golden client",
        Why::Node => "changed here",
        Why::Both => "changed here and on the golden client",
        Why::Unknown => "not known what it was",
    };
    let from = from.map(|from| format!(", is {from}")).unwrap_or_default();
    let size = if change.bytes > 0 { format!(", {}", bytes(change.bytes)) } else { String::new() };
    format!("{letter} {}  ({why}{from}{size})", change.path)
}

/// `1 node`, `312 nodes`.
pub(super) fn nodes(count: usize) -> String {
    match count {
        1 => "1 node".to_owned(),
        many => format!("{} nodes", grouped(many as u64)),
    }
}

/// Names, as far as one line can have them.
pub(super) fn named(names: &[&str]) -> String {
    match names {
        [first, .., last] if names.len() > NAMED => format!("{first}…{last}"),
        _ => names.join(","),
    }
}

#[cfg(test)]
mod tests {
    use sysclone_protocol::update::{KeptPath, ServiceHint};

    use super::*;

    fn change(path: &str, change: ChangeKind, why: Why) -> PlannedChange {
        PlannedChange { path: path.to_owned(), change, why, bytes: 0, diff: None }
    }

    fn plan(changes: Vec<PlannedChange>) -> UpdatePlan {
        let (from, to) = (Some("demo@3".to_owned()), "demo@4".to_owned());
        UpdatePlan { from, to, changes, fetch_bytes: 18_000_000, ..UpdatePlan::default() }
    }

    #[test]
    fn nodes_with_equal_changes_are_shown_once() {
        let mut plans = Plans::default();
        let kept = vec![KeptPath { path: "/etc/fstab".into(), reason: "identity".into() }];
        let restart = vec![ServiceHint { service: "cron.service".into(), file: "/lib/libc.so".into() }];
        // The one that says what changes may come later than the others.
        plans.add(
            "n2",
            Some("n1"),
            UpdatePlan { kept: kept.clone(), reboot: vec!["kernel".into()], ..plan(vec![]) },
        );
        let diff = Some("-a\n+b\n".to_owned());
        let changes = vec![
            PlannedChange { bytes: 1500, diff, ..change("/etc/a", ChangeKind::Content, Why::Both) },
            change("/etc/b", ChangeKind::Rename { from: "/etc/c".into() }, Why::Golden),
        ];
        let boot = vec!["grub.cfg is made anew".into()];
        plans.add(
            "n1",
            None,
            UpdatePlan { boot, kept, restart, reboot: vec!["kernel".into()], ..plan(changes) },
        );
        plans.add("n3", None, plan(vec![change("/x", ChangeKind::Delete, Why::Node)]));
        let expected = [
            "2 nodes identical: 2 paths, 18.0 MB to fetch; 1 differ: n3",
            "n1,n2 (2 nodes): demo@3 to demo@4: 2 paths, 18.0 MB to fetch",
            "  c /etc/a  (changed here and on the golden client, 1.5 kB)",
            "      -a",
            "      +b",
            "  > /etc/b  (golden client, is /etc/c)",
            "  boot: grub.cfg is made anew",
            "  stays: /etc/fstab (identity)",
            "  service: cron.service has /lib/libc.so open, on n1",
            "  restart of the machine: kernel",
            "n3: demo@3 to demo@4: 1 path, 18.0 MB to fetch",
            "  - /x  (changed here)",
        ];
        assert_eq!(plans.lines(), expected);
    }

    #[test]
    fn many_names_are_few_words() {
        let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(named(&names), "n0…n19");
        assert_eq!((nodes(1), nodes(1312)), ("1 node".to_owned(), "1,312 nodes".to_owned()));
    }
}
