//! What a build made, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::contents::Group;
use crate::output::Index;

/// Result of a build.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Architecture.
    pub arch: String,
    /// Kernel release.
    pub kernel_release: String,
    /// Number of kernel modules.
    pub modules: usize,
    /// Files and bytes in the initrd per group, before compression.
    pub groups: BTreeMap<Group, (usize, u64)>,
    /// Bytes of the archive before compression.
    pub archive_bytes: u64,
    /// Listed modules, programs and firmware files that were optional and not there.
    pub absent: Vec<String>,
    /// How long the build took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
    /// Everything in the boot directory.
    pub index: Index,
}

fn seconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64())
}

impl Report {
    /// The size table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!("{} kernel {}, {} modules\n\n", self.arch, self.kernel_release, self.modules);
        let mut row = |name: &str, files: Option<usize>, bytes: u64| {
            let files = files.map(|f| f.to_string()).unwrap_or_default();
            writeln!(text, "{name:<28}{files:>7}{:>12.2} MB", bytes as f64 / 1e6)
                .expect("writing to a String does not fail");
        };
        for (group, (files, bytes)) in &self.groups {
            row(&format!("  {}", format!("{group:?}").to_lowercase()), Some(*files), *bytes);
        }
        row("initrd before compression", None, self.archive_bytes);
        for file in &self.index.files {
            row(&file.file, None, file.size);
        }
        if !self.absent.is_empty() {
            writeln!(text, "\noptional, not there: {}", self.absent.join(" "))
                .expect("writing to a String does not fail");
        }
        write!(text, "\nbuilt in {:.1} s\n", self.took.as_secs_f64())
            .expect("writing to a String does not fail");
        text
    }
}
