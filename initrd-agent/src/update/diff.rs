//! How text files differ: what the image has is fetched, what the machine has is read.

use std::path::Path;

use sysclone_image::{ImageKey, Manifest, PackSource, read_file};
use sysclone_protocol::update::{ChangeKind, PlannedChange};

/// Larger files are not shown.
const MAX_BYTES: u64 = 256 << 10;
/// Longest difference that is shown of one file.
const MAX_LINES: usize = 200;
/// Equal lines around what differs.
const CONTEXT: usize = 3;

/// Adds to every changed text file how it differs.
pub(super) fn add(
    changes: &mut [PlannedChange],
    (root, manifest): (&Path, &Manifest),
    (key, source): (&ImageKey, &dyn PackSource),
) {
    for change in changes.iter_mut().filter(|change| change.change == ChangeKind::Content) {
        if change.bytes > MAX_BYTES {
            continue;
        }
        let path = change.path.trim_start_matches('/');
        let here = root.join(path);
        // Not followed: a link is no text file, whatever it points to.
        let is_small = here.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_BYTES);
        let Some(index) = manifest.find(path.as_bytes()).filter(|_| is_small) else { continue };
        let mut wanted = Vec::new();
        let read = read_file((manifest, key), source, index, &mut |bytes| {
            wanted.extend_from_slice(bytes);
            Ok(())
        });
        let (Ok(()), Ok(now)) = (read, std::fs::read(&here)) else { continue };
        if let (Ok(now), Ok(wanted)) = (std::str::from_utf8(&now), std::str::from_utf8(&wanted)) {
            change.diff = Some(unified(&change.path, now, wanted));
        }
    }
}

fn unified(path: &str, now: &str, wanted: &str) -> String {
    let diff = similar::TextDiff::from_lines(now, wanted);
    let text = diff.unified_diff().context_radius(CONTEXT).header(path, path).to_string();
    let lines = text.lines().count();
    if lines <= MAX_LINES {
        return text;
    }
    let shown: String = text.split_inclusive('\n').take(MAX_LINES).collect();
    format!("{shown}({} more lines)\n", lines - MAX_LINES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_unified_and_cut_when_long() {
        let text = unified("/etc/motd", "one\ntwo\n", "one\n2\n");
        assert_eq!(text, "--- /etc/motd\n+++ /etc/motd\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n");
        let long: String = (0..1000).map(|n| format!("{n}\n")).collect();
        assert!(unified("/x", "", &long).ends_with("more lines)\n"));
    }
}
