//! Counts what was written and gathers what was refused.

use std::collections::BTreeMap;

use super::job::{ApplyReport, ApplyWarning};
use crate::entry::display;

/// The report in the making; every worker has one, they are added up at the end.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub report: ApplyReport,
    warnings: BTreeMap<String, (String, u64)>,
}

impl Tally {
    /// Notes that the target refused something. Equal refusals are counted, not listed.
    pub(super) fn warn(&mut self, what: String, path: &[u8]) {
        self.warnings.entry(what).or_insert_with(|| (display(path), 0)).1 += 1;
    }

    /// Adds another's counts.
    pub(super) fn add(&mut self, other: Self) {
        let (ours, theirs) = (&mut self.report, other.report);
        ours.directories += theirs.directories;
        ours.files += theirs.files;
        ours.symlinks += theirs.symlinks;
        ours.hard_links += theirs.hard_links;
        ours.specials += theirs.specials;
        ours.bytes += theirs.bytes;
        for (what, (path, count)) in other.warnings {
            let known = self.warnings.entry(what).or_insert_with(|| (path.clone(), 0));
            // The first by name, so that the report does not depend on which worker was faster.
            known.0 = std::cmp::min(std::mem::take(&mut known.0), path);
            known.1 += count;
        }
    }

    /// The finished report.
    pub(crate) fn into_report(self) -> ApplyReport {
        let warning = |(what, (example, count))| ApplyWarning { what, example, count };
        ApplyReport { warnings: self.warnings.into_iter().map(warning).collect(), ..self.report }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_refusals_are_counted_whoever_met_them() {
        let (mut a, mut b) = (Tally::default(), Tally::default());
        a.warn("x".into(), b"b");
        b.warn("x".into(), b"a");
        b.warn("x".into(), b"c");
        b.report.files = 2;
        a.add(b);
        let report = a.into_report();
        assert_eq!(report.files, 2);
        assert_eq!(report.warnings, [ApplyWarning { what: "x".into(), example: "/a".into(), count: 3 }]);
    }
}
