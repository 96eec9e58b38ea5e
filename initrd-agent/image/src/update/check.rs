//! The look at the result. What an update does not touch was as it was to be when it was planned; what it touches is
//! looked at again, and read again.

use std::os::fd::AsFd as _;

use hashbrown::{HashMap, HashSet};

use super::cache::Cache;
use super::error::UpdateError;
use super::judge::{Verdict, judge};
use super::look::{Look, View, tree_paths};
use super::plan::{Act, Planned};
use crate::entry::display;

impl Planned<'_> {
    /// Looks at everything that the update was about. Answers the paths that are not as they were to be: a service may
    /// have written to them since. What was read is remembered; without that the next plan reads more.
    ///
    /// # Errors
    /// The machine's files cannot be read.
    pub fn check(&self, now: i64) -> Result<Vec<String>, UpdateError> {
        let steps = self.steps.iter().map(|step| &step.path[..]);
        let touched: HashSet<&[u8]> = steps.chain(self.touched.iter().map(Vec::as_slice)).collect();
        let mut paths: Vec<&[u8]> = touched.iter().copied().collect();
        paths.sort_unstable();
        let nothing = Cache::default();
        let view = View {
            root: self.root.as_fd(),
            mount_points: tree_paths(self.job.mount_points),
            excludes: self.job.keep.excludes(),
            wanted: &self.wanted,
            base: None,
            cache: &nothing,
            threads: self.job.threads,
        };
        let look = Look::at_paths(&view, &paths)?;
        let before = self.look.known().filter(|(path, _)| !touched.contains(path));
        if let Err(error) = Cache::save(self.job.state, before.chain(look.known()), now) {
            tracing::debug!(%error, "what was read is not remembered");
        }
        let mut wrong: Vec<&[u8]> =
            paths.iter().copied().filter(|path| !self.is_right(&look, path)).collect();
        wrong.extend(self.wrong_links(&look));
        wrong.sort_unstable();
        wrong.dedup();
        Ok(wrong.into_iter().map(display).collect())
    }

    fn is_right(&self, look: &Look, path: &[u8]) -> bool {
        match self.wanted.by_path.get(path) {
            Some(index) => judge(look, path, (&self.wanted, self.wanted.described(*index))) == Verdict::Same,
            // A directory that was missing is left alone from now on, so that it is not looked at.
            None => !look.has(path),
        }
    }

    /// Names that are one inode, or are not, other than they were to be.
    fn wrong_links(&self, look: &Look) -> Vec<&[u8]> {
        let put = self.steps.iter().filter_map(|step| match step.act {
            Act::Put { entry, .. } => Some((&step.path[..], self.wanted.inode(entry))),
            Act::Remove { .. } | Act::Meta { .. } => None,
        });
        let (mut wanted, mut here) = (HashMap::new(), HashMap::new());
        let wrong = put.filter(|(path, inode)| {
            let Some((_, node)) = look.at(path) else { return false };
            let live = (node.status.device, node.status.inode);
            *wanted.entry(*inode).or_insert(live) != live || *here.entry(live).or_insert(*inode) != *inode
        });
        wrong.map(|(path, _)| path).collect()
    }
}
