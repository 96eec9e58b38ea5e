//! The table that watch draws on a terminal.

use std::fmt::Write;

use super::super::console::plain;
use super::super::status::{percent, phase_word};
use crate::wire::NodeStatus;

/// The size that is assumed where the terminal does not tell.
const DEFAULT_SIZE: (usize, usize) = (24, 80);

/// Characters of a full progress bar.
const BAR: usize = 20;

/// States in the order of how much they want to be seen.
const ORDER: [&str; 11] = [
    "failed",
    "resuming",
    "installing",
    "finishing",
    "rebooting",
    "running",
    "booting",
    "armed",
    "defined",
    "done",
    "booted",
];

/// What is drawn now.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// Lines of the table that stands there.
    lines: usize,
}

impl Screen {
    /// The table, and before it what removes the one that stands there.
    pub(super) fn redraw(&mut self, nodes: &[NodeStatus]) -> String {
        let (rows, columns) = size();
        let table = draw(nodes, rows, columns);
        let up = match self.lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        };
        self.lines = table.lines().count();
        up + &table
    }
}

/// Rows and columns of the terminal.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        // Not a terminal that knows its size, such as a serial console.
        Ok(_) | Err(_) => DEFAULT_SIZE,
    }
}

/// A table that fits into so many rows and columns: the counts, then the nodes that matter most.
fn draw(nodes: &[NodeStatus], rows: usize, columns: usize) -> String {
    let mut ordered: Vec<&NodeStatus> = nodes.iter().collect();
    ordered.sort_by_key(|node| (rank(&node.state), node.node.clone()));
    // One row for the counts, one for the cursor, and perhaps one for what is left out.
    let room = rows.saturating_sub(2).max(1);
    let shown = if ordered.len() <= room { ordered.len() } else { room - 1 };
    let width = ordered.iter().take(shown).map(|node| node.node.chars().count()).max().unwrap_or(0);
    let mut lines = vec![counts(nodes)];
    lines.extend(ordered.iter().take(shown).map(|node| row(node, width)));
    if shown < ordered.len() {
        lines.push(format!("… and {} more", ordered.len() - shown));
    }
    let cut = |line: &String| plain(line).replace('\n', " ").chars().take(columns).collect::<String>() + "\n";
    lines.iter().map(cut).collect()
}

fn rank(state: &str) -> usize {
    ORDER.iter().position(|known| *known == state).unwrap_or(ORDER.len())
}

/// `4 nodes: 1 failed, 2 installing, 1 booted`.
fn counts(nodes: &[NodeStatus]) -> String {
    let count = |state: &str| nodes.iter().filter(|node| node.state == state).count();
    let mut parts: Vec<String> = ORDER
        .into_iter()
        .map(|state| (state, count(state)))
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let other = nodes.iter().filter(|node| rank(&node.state) == ORDER.len()).count();
    if other > 0 {
        parts.push(format!("{other} other"));
    }
    let noun = if nodes.len() == 1 { "node" } else { "nodes" };
    format!("{} {noun}: {}", nodes.len(), parts.join(", "))
}

fn row(node: &NodeStatus, width: usize) -> String {
    let mut line = format!("{:<width$}  {:<10}", node.node, node.state);
    let mut put = |text: &str| write!(line, "  {text}").expect("a string takes any text");
    if let Some(image) = &node.image {
        put(image);
    }
    if let Some(phase) = node.phase {
        put(&format!("{:<10}", phase_word(phase)));
    }
    if let Some(percent) = percent(node) {
        let full = usize::try_from(percent).expect("at most 100") * BAR / 100;
        put(&format!("[{}{}] {percent:>3} %", "#".repeat(full), ".".repeat(BAR - full)));
    }
    if let Some(reason) = &node.reason {
        put(reason);
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use sysclone_protocol::agent::Phase;

    use super::*;
    use crate::cli::status::tests::node;

    fn nodes() -> Vec<NodeStatus> {
        let reason = |text: &str| Some(text.to_owned());
        vec![
            node("n1", "booted", None),
            NodeStatus { progress: Some((450, 1000)), ..node("n2", "installing", Some(Phase::Pull)) },
            node("n3", "installing", Some(Phase::Probe)),
            NodeStatus { reason: reason("no disk\nfits"), ..node("n10", "failed", Some(Phase::Plan)) },
            NodeStatus { image: None, reason: reason("not armed"), ..node("n4", "defined", None) },
        ]
    }

    #[test]
    fn failed_nodes_come_first_and_booted_ones_last() {
        insta::assert_snapshot!(draw(&nodes(), 24, 80), @r"
        5 nodes: 1 failed, 2 installing, 1 defined, 1 booted
        n10  failed      demo@3  plan        no disk fits
        n2   installing  demo@3  pull        [#########...........]  45 %
        n3   installing  demo@3  probe
        n4   defined     not armed
        n1   booted      demo@3
        ");
    }

    #[test]
    fn a_small_terminal_shows_what_matters_most() {
        insta::assert_snapshot!(draw(&nodes(), 5, 30), @r"
        5 nodes: 1 failed, 2 installin
        n10  failed      demo@3  plan 
        n2   installing  demo@3  pull 
        … and 3 more
        ");
    }

    #[test]
    fn the_table_before_is_removed_by_as_many_lines_as_it_had() {
        let mut screen = Screen::default();
        assert!(screen.redraw(&nodes()).starts_with("5 nodes: "));
        assert!(screen.redraw(&nodes()[..1]).starts_with("\x1b[6A\r\x1b[J1 node: "));
        assert!(screen.redraw(&nodes()[..1]).starts_with("\x1b[2A\r\x1b[J1 node: "));
    }

    #[test]
    fn no_size_is_too_small() {
        for rows in 0..4 {
            for columns in 0..4 {
                draw(&nodes(), rows, columns);
            }
        }
    }
}
