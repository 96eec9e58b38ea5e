//! Prometheus' text format, version 0.0.4. Names and labels are the server's own words, which need no escapes.

use std::fmt::Write as _;

/// Metrics, as they are added.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// A number that only grows, by the values of one label.
    pub(super) fn counter<'a>(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.family((name, help), "counter", label, values);
    }

    /// A number that goes up and down, by the values of one label.
    pub(super) fn gauge<'a>(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.family((name, help), "gauge", label, values);
    }

    /// One number.
    pub(super) fn single(&mut self, (name, help): (&str, &str), kind: &str, value: u64) {
        self.family((name, help), kind, "", [("", value)]);
    }

    fn family<'a>(
        &mut self,
        (name, help): (&str, &str),
        kind: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        let written = write!(self.0, "# HELP sysclone_{name} {help}\n# TYPE sysclone_{name} {kind}\n");
        written.expect("a text takes all");
        for (word, value) in values {
            let labels = if label.is_empty() { String::new() } else { format!("{{{label}=\"{word}\"}}") };
            writeln!(self.0, "sysclone_{name}{labels} {value}").expect("a text takes all");
        }
    }

    /// All of it.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_says_what_it_is_before_its_values() {
        let mut text = Text::default();
        text.gauge(("nodes", "Nodes."), "state", [("armed", 2), ("booted", 0)]);
        text.single(("captures_running", "Captures."), "gauge", 1);
        let expected = "# HELP sysclone_nodes Nodes.\n# TYPE sysclone_nodes gauge\n\
                        sysclone_nodes{state=\"armed\"} 2\nsysclone_nodes{state=\"booted\"} 0\n\
                        # HELP sysclone_captures_running Captures.\n# TYPE sysclone_captures_running gauge\n\
                        sysclone_captures_running 1\n";
        assert_eq!(text.finish(), expected);
    }
}
