//! What has to be done to a machine, decided before anything is written.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::FileType;

use super::cache::Cache;
use super::decide::decide;
use super::error::{UpdateError, call};
use super::job::{Preview, UpdateJob};
use super::look::{Look, View, tree_paths};
use super::side::Side;
use crate::entry::FileData;
use crate::tree::open_root;

/// What is done with one path. Numbers are indices of the wanted generation's entries, and of the machine's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// The entry comes into its place, over what is there.
    Put { entry: usize, over: Option<usize> },
    /// What is there goes away.
    Remove { node: usize },
    /// It gets the entry's metadata.
    Meta { entry: usize, node: usize },
}

/// One step; their order is that of the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) path: Vec<u8>,
    pub(super) act: Act,
    pub(super) late: bool,
}

/// An update that was thought through and has changed nothing.
pub struct Planned<'a> {
    pub(super) job: UpdateJob<'a>,
    pub(super) root: OwnedFd,
    pub(super) wanted: Side<'a>,
    pub(super) base: Option<Side<'a>>,
    pub(super) look: Look,
    pub(super) steps: Vec<Step>,
    /// Directories whose times must be put right, as they are in the steps' end.
    pub(super) touched: Vec<Vec<u8>>,
    preview: Preview,
}

/// Looks at the machine and decides.
///
/// # Errors
/// The machine's files cannot be read.
pub fn plan_update<'a>(job: &UpdateJob<'a>) -> Result<Planned<'a>, UpdateError> {
    let root = open_root(job.root).map_err(call("opening", job.root.display().to_string()))?;
    let wanted = Side::new(job.wanted, job.keep);
    let same = |base| std::ptr::eq(base, job.wanted);
    let base = job.base.map(|base| if same(base) { wanted.clone() } else { Side::new(base, job.keep) });
    let cache = if job.read_all { Cache::default() } else { Cache::load(job.state) };
    let look = Look::take(&View {
        root: root.as_fd(),
        mount_points: tree_paths(job.mount_points),
        excludes: job.keep.excludes(),
        wanted: &wanted,
        base: base.as_ref(),
        cache: &cache,
        threads: job.threads,
    })?;
    let mut planned = Planned {
        job: *job,
        root,
        wanted,
        base,
        look,
        steps: Vec::new(),
        touched: Vec::new(),
        preview: Preview::default(),
    };
    let (steps, touched, preview) = decide(&planned)?;
    planned.steps = steps;
    planned.touched = touched;
    let (fetch_bytes, write_bytes) = planned.amount();
    let read_bytes = planned.look.read_bytes;
    planned.preview = Preview { fetch_bytes, write_bytes, read_bytes, ..preview };
    Ok(planned)
}

impl Planned<'_> {
    /// What it does.
    #[must_use]
    pub fn preview(&self) -> &Preview {
        &self.preview
    }

    /// Device and inode of every file that is replaced or removed, for finding out who uses it.
    #[must_use]
    pub fn replaced(&self) -> HashMap<(u64, u64), Vec<u8>> {
        let old = self.steps.iter().filter_map(|step| match step.act {
            Act::Put { over: Some(node), .. } | Act::Remove { node } => Some((node, &step.path)),
            Act::Put { over: None, .. } | Act::Meta { .. } => None,
        });
        let files =
            old.filter(|(node, _)| self.look.nodes[*node].status.file_type() == FileType::RegularFile);
        files
            .map(|(node, path)| {
                let status = &self.look.nodes[node].status;
                ((status.device, status.inode), path.clone())
            })
            .collect()
    }

    /// Remembers what was read, so that the next plan need not read it again.
    ///
    /// # Errors
    /// The cache could not be written.
    pub fn remember(&self, now: i64) -> std::io::Result<()> {
        Cache::save(self.job.state, self.look.known(), now)
    }

    /// The regular files that are put into place, with their contents; each inode once.
    pub(super) fn contents(&self) -> impl Iterator<Item = (usize, &FileData)> {
        let mut seen = HashSet::new();
        self.steps.iter().filter_map(move |step| {
            let Act::Put { entry, .. } = step.act else { return None };
            let inode = self.wanted.inode(entry);
            let data = crate::apply::file_data(&self.wanted.manifest.entries[inode].kind)?;
            seen.insert(inode).then_some((inode, data))
        })
    }
}
